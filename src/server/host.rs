//! What the process and the machine under it look like, for reports. What cannot be found out is
//! not an error. Java: `OSMXBean`, `Environment`, `FileTxnSnapLog`'s directory sizes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Open file descriptors of this process; −1 if nobody knows.
pub fn open_files() -> i64 {
    // One of them is the directory being read.
    fs::read_dir("/proc/self/fd").map_or(-1, |entries| entries.count() as i64 - 1)
}

/// How many it may have; −1 if nobody knows.
pub fn max_open_files() -> i64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|rest| rest.split_whitespace().next()) {
        Some("unlimited") => i64::MAX,
        Some(limit) => limit.parse().unwrap_or(-1),
        None => -1,
    }
}

/// Bytes of all files below a directory, or of the file; files that vanish meanwhile count nothing.
pub fn directory_size(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| directory_size(&entry.path())).sum(),
        Err(_) => fs::metadata(path).map_or(0, |file| file.len()),
    }
}

/// Who and where the process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    pub host_name: String,
    pub kernel: String,
    pub user: String,
    pub home: String,
    pub directory: PathBuf,
}

/// Answers with `?` what it cannot find out.
pub fn surroundings() -> Surroundings {
    let kernel_says = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or("?".to_owned(), |text| text.trim().to_owned())
    };
    let (user, home) = user().unwrap_or(("?".to_owned(), "?".to_owned()));
    Surroundings {
        host_name: kernel_says("hostname"),
        kernel: kernel_says("osrelease"),
        user,
        home,
        directory: std::env::current_dir().unwrap_or_else(|_| "?".into()),
    }
}

/// Name and home of the user that the process runs as.
fn user() -> Option<(String, String)> {
    let uid = fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mine = fields.find(|fields| fields.get(2) == Some(&uid.as_str()))?;
    Some((mine.first()?.to_string(), mine.get(5)?.to_string()))
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine, for whoever asks for it.
    pub available: u64,
    /// Of the machine.
    pub total: u64,
    /// Of this process.
    pub resident: u64,
}

pub fn memory() -> Memory {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let process = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Memory {
        available: kilobytes(&machine, "MemAvailable:"),
        total: kilobytes(&machine, "MemTotal:"),
        resident: kilobytes(&process, "VmRSS:"),
    }
}

/// The value of a line `Name:   123 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let number = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        assert!((3..=max_open_files()).contains(&open_files()));
        let memory = memory();
        assert!(memory.resident > 0 && memory.available <= memory.total, "{memory:?}");
        let here = surroundings();
        assert!(here.directory.is_absolute() && !here.kernel.is_empty(), "{here:?}");
    }

    #[test]
    fn sizes_add_up_over_sub_directories() {
        let dir = std::env::temp_dir().join(format!("ironkeeper-host-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("x"), [0; 5]).unwrap();
        fs::write(dir.join("a/b/y"), [0; 37]).unwrap();
        let size = directory_size(&dir);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(size, 42);
        assert_eq!(directory_size(&dir), 0);
    }
}
