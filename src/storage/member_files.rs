//! The files in which a server keeps the ensemble's configurations: what is in force in
//! `<configuration file>.dynamic.<hex version>`, to which the configuration file points, and what
//! was proposed last in `.dynamic.next` (D-51, D-52, K-4). Knows no quorum: it is told what
//! to keep.
//! Java: `QuorumPeer.setQuorumVerifier`, `QuorumPeerConfig.writeDynamicConfig`, `editStaticConfig`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, SharedDisk};
use super::error::{Result, StorageError};
use crate::config::{QuorumConfig, point_to_dynamic_file, properties};

/// What to do with the files; part of the order of the log's commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberOrder {
    /// Keep a configuration that may come into force.
    Propose(Arc<QuorumConfig>),
    /// What was proposed is not any more.
    Withdraw,
    /// This configuration is in force.
    Activate {
        config: Arc<QuorumConfig>,
        /// It names the client address of this server, so that the configuration file does no more.
        erase_client_address: bool,
    },
}

/// See the module.
pub struct MemberFiles {
    disk: SharedDisk,
    config_file: PathBuf,
}

impl MemberFiles {
    /// `config_file` is the configuration file, by an absolute path: it will be pointed to its
    /// neighbour by one.
    pub fn new(disk: SharedDisk, config_file: impl Into<PathBuf>) -> Self {
        Self { disk, config_file: config_file.into() }
    }

    pub fn carry_out(&self, order: &MemberOrder) -> Result<()> {
        match order {
            MemberOrder::Propose(config) => {
                self.write(&self.next(), config.dynamic_file_text(true).as_bytes())
            }
            MemberOrder::Withdraw => self.withdraw(),
            MemberOrder::Activate { config, erase_client_address } => {
                self.activate(config, *erase_client_address)
            }
        }
    }

    /// Keeps the configuration file as it is, membership and all, as `<configuration file>.bak`.
    pub fn back_up(&self) -> Result<()> {
        let bytes = self.read_config_file()?;
        self.write(&self.beside(".bak"), &bytes)
    }

    /// New file first, then the pointer to it: whatever a crash leaves, the configuration file
    /// names a whole one.
    fn activate(&self, config: &QuorumConfig, erase_client_address: bool) -> Result<()> {
        let dynamic = self.beside(&format!(".dynamic.{:x}", config.version));
        self.write(&dynamic, config.dynamic_file_text(false).as_bytes())?;
        let text = properties::latin1(&self.read_config_file()?);
        let pointer = dynamic.to_string_lossy();
        let text = point_to_dynamic_file(&text, &pointer, erase_client_address).map_err(|_| {
            let why = "\\u must be followed by four hexadecimal digits";
            StorageError::corrupt(&self.config_file, 0, why)
        })?;
        self.write(&self.config_file, &properties::to_latin1(&text))
    }

    fn withdraw(&self) -> Result<()> {
        let next = self.next();
        match self.disk.remove(&next) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(StorageError::io("removing", &next)(e)),
            Ok(()) => {
                let dir = disk::parent(&next);
                self.disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
            }
        }
    }

    fn next(&self) -> PathBuf {
        self.beside(".dynamic.next")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.config_file.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    fn read_config_file(&self) -> Result<Vec<u8>> {
        let path = &self.config_file;
        disk::read_all(&*self.disk, path).map_err(StorageError::io("reading", path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        disk::write_atomically(&*self.disk, path, bytes).map_err(StorageError::io("writing", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem_disk::{MemDisk, Unsynced};

    const FILE: &str = "/conf/zoo.cfg";
    const STATIC: &str = "# ours\ntickTime=2000\nclientPort=2181\nserver.1=h:1:2\nserver.2=h:3:4\n";

    fn config(text: &str) -> Arc<QuorumConfig> {
        Arc::new(QuorumConfig::parse(text, false).unwrap())
    }

    fn files(disk: &MemDisk) -> MemberFiles {
        let shared = disk.shared();
        shared.create_dir_all(Path::new("/conf")).unwrap();
        disk::write_atomically(&*shared, Path::new(FILE), STATIC.as_bytes()).unwrap();
        MemberFiles::new(shared, FILE)
    }

    fn text(disk: &MemDisk, path: &str) -> Option<String> {
        let bytes = disk::read_all(&*disk.shared(), Path::new(path)).ok()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn proposed_then_in_force() {
        let disk = MemDisk::default();
        let files = files(&disk);
        let new = config("server.2=h:3:4:participant\nserver.1=h:1:2:observer;h:5\nversion=1a");
        files.back_up().unwrap();
        files.carry_out(&MemberOrder::Propose(Arc::clone(&new))).unwrap();
        disk.crash(Unsynced::Lost);
        let next = "server.1=h:1:2:observer;h:5\nserver.2=h:3:4:participant\nversion=1a";
        assert_eq!(text(&disk, "/conf/zoo.cfg.dynamic.next").as_deref(), Some(next));
        assert_eq!(text(&disk, FILE).as_deref(), Some(STATIC));

        let activate = MemberOrder::Activate { config: new, erase_client_address: true };
        files.carry_out(&activate).unwrap();
        files.carry_out(&MemberOrder::Withdraw).unwrap();
        files.carry_out(&MemberOrder::Withdraw).unwrap();
        disk.crash(Unsynced::Lost);
        assert_eq!(text(&disk, "/conf/zoo.cfg.dynamic.next"), None);
        let dynamic = "server.1=h:1:2:observer;h:5\nserver.2=h:3:4:participant";
        assert_eq!(text(&disk, "/conf/zoo.cfg.dynamic.1a").as_deref(), Some(dynamic));
        let pointing = "# ours\ntickTime=2000\ndynamicConfigFile=/conf/zoo.cfg.dynamic.1a\n";
        assert_eq!(text(&disk, FILE).as_deref(), Some(pointing));
        assert_eq!(text(&disk, "/conf/zoo.cfg.bak").as_deref(), Some(STATIC));
    }

    #[test]
    fn the_client_address_stays_where_only_the_configuration_file_has_it() {
        let disk = MemDisk::default();
        let config = config("server.1=h:1:2:participant\nversion=100000000");
        let activate = MemberOrder::Activate { config, erase_client_address: false };
        files(&disk).carry_out(&activate).unwrap();
        let text = text(&disk, FILE).unwrap();
        assert!(text.contains("clientPort=2181\n"), "{text}");
        assert!(text.ends_with("dynamicConfigFile=/conf/zoo.cfg.dynamic.100000000\n"), "{text}");
    }

    /// Wherever the power goes, the configuration file is whole and what it names is there.
    #[test]
    fn a_crash_at_any_step_leaves_one_or_the_other() {
        let new = config("server.1=h:1:2:participant\nversion=5");
        let activate = MemberOrder::Activate { config: new, erase_client_address: false };
        for op in 1.. {
            let disk = MemDisk::default();
            let files = files(&disk);
            disk.fail(op, crate::storage::mem_disk::Fault::PowerCut);
            let done = files.carry_out(&activate).is_ok();
            disk.crash(Unsynced::Some(op));
            let now = text(&disk, FILE).unwrap();
            if now != STATIC {
                assert!(now.contains("dynamicConfigFile=/conf/zoo.cfg.dynamic.5\n"), "{now}");
                let dynamic = text(&disk, "/conf/zoo.cfg.dynamic.5");
                assert_eq!(dynamic.as_deref(), Some("server.1=h:1:2:participant"));
            }
            if done {
                assert!(now != STATIC);
                return;
            }
        }
    }
}
