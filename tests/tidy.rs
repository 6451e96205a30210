//! The house rules, enforced: layers, purity, `unsafe`, the crate budget, lengths, and what a
//! module must open with. `src/ARCHITECTURE.md` says what the rules are for.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use source::{Source, is_under};

/// Each may use those before it, and [`EVERYBODYS`].
const LAYERS: [&str; 14] = [
    "wire", "config", "tree", "storage", "session", "auth", "quorum", "pipeline", "net", "server",
    "admin", "client", "cli", "tools",
];
const EVERYBODYS: [&str; 4] = ["metrics", "hash", "mailbox", "sys"];
const PURE: [&str; 7] = ["wire", "config", "tree", "session", "auth", "quorum", "pipeline"];
/// The file of a pure layer that is its shell.
const SHELLS: [&str; 1] = ["src/config/load.rs"];
/// The file of the storage layer that touches files and the clock.
const DISK: &str = "src/storage/disk.rs";

/// What a pure module may name of `std::net`: addresses are data.
const ADDRESSES: [&str; 7] = [
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::net::SocketAddrV4",
    "std::net::SocketAddrV6",
    "std::net::AddrParseError",
];
/// Paths into the world outside, and to threads. A table that is made by `new` has a random hash;
/// those of `hash` are made by `with_hasher`. (What libc does is unsafe, so `sys` alone does it.)
const WORLD: [&str; 17] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "crossbeam_channel",
    "mio",
    "crate::mailbox",
    "crate::sys",
    "HashMap::new",
    "HashMap::with_capacity",
    "HashSet::new",
    "HashSet::with_capacity",
];
/// Names that give away a clock, randomness or talk.
const WORLDLY_WORDS: [&str; 9] = [
    "Instant",
    "SystemTime",
    "RandomState",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "println!",
    "eprintln!",
    "print!",
];

const FILE_LINES: usize = 1_000;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;
const CRATES: usize = 16;
const TOP_LEVEL: [&str; 8] =
    ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "bin", "conf", "src", "tests"];

/// Fails with all complaints, one a line.
#[track_caller]
fn none(rule: &str, complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}

/// What `complain` says about each of the sources.
fn complaints(
    sources: impl IntoIterator<Item = &'static Source>,
    complain: impl Fn(&Source) -> Vec<String>,
) -> Vec<String> {
    let complain = |source: &Source| -> Vec<String> {
        complain(source).iter().map(|what| format!("{}{what}", source.path)).collect()
    };
    sources.into_iter().flat_map(complain).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under version control.
fn repository_files() -> Vec<String> {
    let out = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(out.status.success(), "git ls-files: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let there = |path: &&str| root().join(path).is_file();
    text.split_terminator('\0').filter(there).map(str::to_owned).collect()
}

fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let mut paths = repository_files();
        paths.retain(|path| path.ends_with(".rs"));
        assert!(paths.len() > 100, "only {} Rust files found", paths.len());
        paths.into_iter().map(|path| Source::read(root(), path)).collect()
    });
    &SOURCES
}

/// The sources of production code in these layers.
fn sources_of(layers: &[&str]) -> impl Iterator<Item = &'static Source> {
    let in_them = |s: &&Source| s.layer().is_some_and(|layer| layers.contains(&layer));
    sources().iter().filter(in_them).filter(|s| !s.is_test())
}

#[test]
fn a_layer_uses_only_those_above_it() {
    let found = complaints(sources_of(&LAYERS), |source| {
        let own = source.layer().and_then(|l| LAYERS.iter().position(|x| *x == l)).unwrap();
        let allowed = |layer: &str| LAYERS[..=own].contains(&layer) || EVERYBODYS.contains(&layer);
        let paths = source.paths().into_iter();
        paths
            .filter_map(|(line, path)| {
                let layer = path.strip_prefix("crate::")?.split("::").next()?.to_owned();
                (!allowed(&layer)).then(|| format!(":{line}: uses {layer}"))
            })
            .collect()
    });
    none("layers", found);
}

#[test]
fn nobody_leaves_a_layer_by_super() {
    let found = complaints(sources_of(&LAYERS), |source| {
        let leaves = |path: &str| {
            path.split("::").take_while(|part| *part == "super").count() >= source.depth()
        };
        let paths = source.paths().into_iter().filter(|(_, path)| leaves(path));
        paths.map(|(line, path)| format!(":{line}: {path}")).collect()
    });
    none("`super` that leads out of the layer", found);
}

#[test]
fn every_folder_of_src_is_a_layer() {
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            assert!(LAYERS.contains(&name.as_str()), "src/{name} is no layer");
        }
    }
}

#[test]
fn pure_modules_do_not_name_the_world() {
    let pure = sources_of(&PURE).filter(|s| !SHELLS.contains(&s.path.as_str()));
    none("pure modules", complaints(pure, worldly));
}

#[test]
fn the_storage_layer_touches_files_and_clocks_in_one_place() {
    let others = sources_of(&["storage"]).filter(|s| s.path != DISK);
    none("storage", complaints(others, worldly));
}

/// What of the world outside a source names.
fn worldly(source: &Source) -> Vec<String> {
    let paths = source
        .paths()
        .into_iter()
        .filter(|(_, path)| WORLD.iter().any(|outside| is_under(path, outside)))
        .filter(|(_, path)| !ADDRESSES.iter().any(|address| is_under(path, address)))
        .map(|(line, path)| format!(":{line}: {path}"));
    let words = source
        .words()
        .into_iter()
        .filter(|(_, word)| WORLDLY_WORDS.contains(word))
        .map(|(line, word)| format!(":{line}: {word}"));
    paths.chain(words).collect()
}

#[test]
fn unsafe_code_is_in_one_file() {
    let others = sources().iter().filter(|s| s.path != "src/sys.rs");
    let found = complaints(others, |source| {
        let words = source.words().into_iter().filter(|(_, word)| *word == "unsafe");
        words.map(|(line, _)| format!(":{line}: unsafe")).collect()
    });
    none("unsafe", found);
}

#[test]
fn nothing_is_left_to_do() {
    let marks = ["todo!", "unimplemented!", "dbg!"];
    let fix = concat!("FIX", "ME");
    let found = complaints(sources(), |source| {
        let macros = source
            .words()
            .into_iter()
            .filter(|(_, word)| marks.contains(word))
            .map(|(line, word)| format!(":{line}: {word}"));
        let notes = source.lines().filter(|(_, text)| text.contains(fix));
        macros.chain(notes.map(|(line, _)| format!(":{line}: {fix}"))).collect()
    });
    none("unfinished", found);
}

/// Whether a name is meant by a pattern, in which `*` stands for anything.
fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().any(|(i, _)| is_meant(rest, &tail[i..])) || is_meant(rest, "")
        }),
    }
}

#[test]
fn a_metric_is_counted_or_a_divergence() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let metrics = read("src/metrics.rs");
    let declared = metrics.split_once("\nmetrics! {").and_then(|(_, rest)| rest.split_once("\n}"));
    let names = declared.unwrap().0.split([' ', '\n', ';']);
    let names: BTreeSet<&str> =
        names.filter(|name| !name.is_empty() && !name.ends_with(':')).collect();
    let architecture = read("src/ARCHITECTURE.md");
    let rows = architecture.lines().filter(|l| l.starts_with("| `mntr`: ") && l.contains("| 0 |"));
    let patterns: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let counting = sources()
        .iter()
        .filter(|s| s.path.starts_with("src/") && s.path != "src/metrics.rs" && !s.is_test());
    let words: BTreeSet<&str> = counting.flat_map(Source::words).map(|(_, word)| word).collect();
    assert!(names.len() > 100 && patterns.len() > 20, "{} {}", names.len(), patterns.len());
    let found = names.into_iter().filter_map(|name| {
        let is_divergence = patterns.iter().any(|pattern| is_meant(pattern, name));
        match (words.contains(name), is_divergence) {
            (true, true) => Some(format!("{name} is counted and a divergence")),
            (false, false) => Some(format!("{name} is neither counted nor a divergence")),
            _ => None,
        }
    });
    none("metrics", found.collect());
}

#[test]
fn every_module_says_what_it_is_for() {
    let found = complaints(sources(), |source| match source.text.starts_with("//! ") {
        true => Vec::new(),
        false => vec![" does not begin with //!".to_owned()],
    });
    none("module documentation", found);
}

#[test]
fn files_functions_and_lines_are_short() {
    let found = complaints(sources(), |source| {
        let length = source.lines().count();
        let mut found = Vec::new();
        if length > FILE_LINES {
            found.push(format!(" has {length} lines"));
        }
        for (line, text) in source.lines() {
            let columns = text.chars().count();
            if columns > COLUMNS {
                found.push(format!(":{line}: {columns} columns"));
            }
        }
        for (line, name, length) in source.functions() {
            if length > FUNCTION_LINES {
                found.push(format!(":{line}: {name} has {length} lines"));
            }
        }
        found
    });
    let functions: usize = sources().iter().map(|source| source.functions().len()).sum();
    assert!(functions > 1_000, "only {functions} functions found");
    none("lengths", found);
}

#[test]
fn the_program_is_made_of_few_crates_each_in_the_readme() {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "cargo tree: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let crates: BTreeSet<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(crates.contains("ironkeeper"), "{crates:?}");
    assert!(crates.len() <= CRATES, "{} crates: {crates:?}", crates.len());

    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let missing = crates.iter().filter(|name| !readme.contains(&format!("`{name}`")));
    none("crates that the README does not name", missing.map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_top_level_holds_nothing_else() {
    let strays: BTreeSet<String> = repository_files()
        .iter()
        .filter_map(|path| path.split('/').next())
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name))
        .map(str::to_owned)
        .collect();
    none("top level", strays.into_iter().collect());
}
