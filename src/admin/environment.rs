//! `envi`. Keys and their order are Java's; what only a JVM has says so. Clients take the
//! version from it, some by one read of 8 KiB. Java: `Environment`.

use super::full_version;
use crate::server::host;

/// What Java prints for a property that is not set.
const NONE: &str = "<NA>";

pub fn envi() -> String {
    let here = host::surroundings();
    let memory = host::memory();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    };
    let megabytes = |bytes: u64| format!("{}MB", bytes >> 20);
    let values = [
        ("zookeeper.version", full_version()),
        ("host.name", here.host_name),
        ("java.version", NONE.to_owned()),
        ("java.vendor", NONE.to_owned()),
        ("java.home", NONE.to_owned()),
        ("java.class.path", NONE.to_owned()),
        ("java.library.path", NONE.to_owned()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", NONE.to_owned()),
        ("os.name", "Linux".to_owned()),
        ("os.arch", arch.to_owned()),
        ("os.version", here.kernel),
        ("user.name", here.user),
        ("user.home", here.home),
        ("user.dir", here.directory.display().to_string()),
        ("os.memory.free", megabytes(memory.available)),
        ("os.memory.max", megabytes(memory.total)),
        ("os.memory.total", megabytes(memory.resident)),
    ];
    let lines = values.map(|(key, value)| format!("{key}={value}\n"));
    format!("Environment:\n{}", lines.concat())
}
