//! From text to [`Config`], in two steps, because the first says which files the second needs:
//! [`Draft::from_file`] reads zoo.cfg and the `-D` properties, [`Draft::finish`] adds the
//! dynamic file and `myid`, and checks what only the whole can show.
//!
//! Pure: the files come in as text. Answers to Java's `QuorumPeerConfig`.

use std::collections::BTreeMap;
use std::path::Path;

use super::address::{Address, WILDCARD};
use super::error::{ConfigError, Note, Origin};
use super::membership::{self, QuorumConfig, Role, is_membership_key};
use super::properties::{self, Entry};
use super::protection::missing;
use super::rule::Place;
use super::table::{self, Config, IGNORED, Setting};

/// What lies around the configuration file, as far as it exists.
#[derive(Debug, Default, Clone)]
pub struct Surroundings {
    /// Content of the file that `dynamicConfigFile` names.
    pub dynamic: Option<Vec<u8>>,
    /// Content of `<config file>.dynamic.next`.
    pub next_dynamic: Option<Vec<u8>>,
    /// Content of `dataDir/myid`.
    pub my_id: Option<String>,
}

/// A configuration file that was read, and checked line by line.
#[derive(Debug)]
pub struct Draft {
    config: Config,
    entries: Vec<Entry>,
    /// Full property name → where it was set last.
    origins: BTreeMap<String, Origin>,
    ignored: Vec<String>,
}

/// Prefix that Java puts before a key it does not know to make it a system property.
const PREFIX: &str = "zookeeper.";

impl Draft {
    /// Reads the bytes of the file `path`, after the properties in `defines` (the later of two
    /// of one name counts), which the file overwrites.
    pub fn from_file(
        path: &str,
        bytes: &[u8],
        defines: &[(String, String)],
    ) -> Result<Draft, ConfigError> {
        let entries = parse_properties(path, bytes)?;
        let mut draft = Draft::from_defines(defines);
        draft.config.config_path = path.to_owned();
        draft.config.config_text = String::from_utf8_lossy(bytes).into_owned();
        let last = properties::last_of_each(&entries);
        for entry in last.values() {
            draft.take_line(path, entry, last.contains_key("dynamicConfigFile"))?;
        }
        draft.entries = last.into_values().cloned().collect();
        draft.entries.sort_by_key(|entry| entry.line);
        draft.take_properties()?;
        Ok(draft)
    }

    /// Java's second form of the command line: port, directory, and perhaps the length of a
    /// tick and the limit of connections an address.
    pub fn from_words(
        words: &[String],
        defines: &[(String, String)],
    ) -> Result<Draft, ConfigError> {
        let mut draft = Draft::from_defines(defines);
        draft.config.max_client_cnxns = 0;
        let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        if !(2..=keys.len()).contains(&words.len()) {
            return Err(ConfigError::other(format!(
                "Invalid number of arguments: {words:?}; allowed: a configuration file, or \
                 port, directory, and perhaps tickTime and maxClientCnxns"
            )));
        }
        for (key, word) in keys.into_iter().zip(words) {
            draft.set(key, word, &Origin::Define)?;
        }
        draft.take_properties()?;
        Ok(draft)
    }

    fn from_defines(defines: &[(String, String)]) -> Draft {
        let mut draft = Draft {
            config: Config::defaults(),
            entries: Vec::new(),
            origins: BTreeMap::new(),
            ignored: Vec::new(),
        };
        for (name, value) in defines {
            draft.keep_property(name.clone(), value, Origin::Define);
        }
        draft
    }

    /// The file that holds the membership, when it is not the configuration file.
    pub fn dynamic_config_file(&self) -> Option<&str> {
        self.config.dynamic_config_file.as_deref()
    }

    /// Where `myid` lies.
    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    fn keep_property(&mut self, name: String, value: &str, origin: Origin) {
        let known = name.strip_prefix(PREFIX).unwrap_or(&name);
        if is_ignored(known) {
            self.ignored.push(known.to_owned());
        }
        self.config.properties.insert(name.clone(), value.to_owned());
        self.origins.insert(name, origin);
    }

    fn take_line(&mut self, path: &str, entry: &Entry, dynamic: bool) -> Result<(), ConfigError> {
        let origin = Origin::Line { file: path.to_owned(), line: entry.line };
        let (key, value) = (entry.key.trim(), entry.value.trim());
        let row = table::all().find(|row| row.name == key);
        if row.is_some_and(|row| row.place.is_strict()) {
            return self.set(key, value, &origin);
        }
        if is_membership_key(key) {
            if dynamic {
                let reason = format!("parameter: {key} must be in a separate dynamic config file");
                return Err(ConfigError::value(&origin, key, value, reason));
            }
        } else if let Some(option) = key.strip_prefix("metricsProvider.") {
            self.config.metrics_options.insert(option.to_owned(), value.to_owned());
        } else {
            if row.is_some_and(|row| row.place == Place::Bare) {
                self.config.notes.push(Note::warning(format!(
                    "{origin}: {key} has no effect in a configuration file, as with Java; \
                     put -D{key}={value} into SERVER_JVMFLAGS"
                )));
            }
            self.keep_property(format!("{PREFIX}{key}"), value, origin);
        }
        Ok(())
    }

    /// Sets the row of one of the file's own keys.
    fn set(&mut self, key: &str, value: &str, origin: &Origin) -> Result<(), ConfigError> {
        let row = table::all().find(|row| row.name == key && row.place.is_strict());
        // Callers name keys of the table; an unknown one would be a slip of ours.
        let row = row.ok_or_else(|| ConfigError::value(origin, key, value, "no such key"))?;
        self.apply(row, value, origin)
    }

    fn apply(&mut self, row: &Setting, value: &str, origin: &Origin) -> Result<(), ConfigError> {
        if !(row.set)(&mut self.config, value) {
            let reason = format!("not allowed; allowed: {}", (row.allowed)());
            return Err(ConfigError::value(origin, row.name, value, reason));
        }
        if !(row.is_documented)(value) {
            self.config.notes.push(Note::warning(format!(
                "{origin}: {}={value} is taken for {}, as Java takes it; allowed: {}",
                row.name,
                (row.show)(&self.config),
                (row.allowed)()
            )));
        }
        Ok(())
    }

    /// Sets the rows that are system properties, wherever these came from.
    fn take_properties(&mut self) -> Result<(), ConfigError> {
        for row in table::all() {
            let full = format!("{PREFIX}{}", row.name);
            let names = match row.place {
                Place::File => continue,
                Place::Property => vec![full],
                // The file has set the row already if it names it.
                Place::FileOrProperty if self.file_has(row.name) => continue,
                Place::FileOrProperty => vec![full],
                Place::PropertyOrBare => vec![full, row.name.to_owned()],
                Place::Bare => vec![row.name.to_owned()],
            };
            let Some(name) = names.into_iter().find(|n| self.config.properties.contains_key(n))
            else {
                continue;
            };
            let value = self.config.properties[&name].trim().to_owned();
            let origin = self.origins[&name].clone();
            self.apply(row, &value, &origin)?;
        }
        Ok(())
    }

    fn file_has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.trim() == key)
    }

    fn origin_of(&self, key: &str) -> Origin {
        let file = self.file();
        match self.entries.iter().find(|entry| entry.key.trim() == key) {
            Some(entry) => Origin::Line { file, line: entry.line },
            None => Origin::Whole { file },
        }
    }

    fn file(&self) -> String {
        match self.config.config_path.as_str() {
            "" => "command line".to_owned(),
            path => path.to_owned(),
        }
    }

    fn error(&self, key: &str, reason: impl std::fmt::Display) -> ConfigError {
        ConfigError::at(&self.origin_of(key), reason)
    }

    /// Adds what lies around the file, and checks the whole.
    pub fn finish(mut self, around: &Surroundings) -> Result<Config, ConfigError> {
        self.check_quorum_sasl()?;
        self.settle_directories()?;
        self.settle_numbers()?;
        self.settle_client_addresses()?;
        self.read_my_id(around)?;
        self.read_membership(around)?;
        self.check_membership()?;
        self.settle_own_server()?;
        self.check_ensemble()?;
        self.note_ignored();
        let missing = missing(&self.config).into_iter().map(Note::warning);
        self.config.notes.extend(missing);
        Ok(self.config)
    }

    fn check_quorum_sasl(&self) -> Result<(), ConfigError> {
        let config = &self.config;
        let [enable, learner, server] = [
            "quorum.auth.enableSasl",
            "quorum.auth.learnerRequireSasl",
            "quorum.auth.serverRequireSasl",
        ];
        let disabled = |off: &str, on: &str| {
            Err(self.error(on, format!("{off} is disabled, so cannot enable {on}")))
        };
        if !config.quorum_enable_sasl && config.quorum_server_require_sasl {
            return disabled(enable, server);
        }
        if !config.quorum_enable_sasl && config.quorum_learner_require_sasl {
            return disabled(enable, learner);
        }
        if !config.quorum_learner_require_sasl && config.quorum_server_require_sasl {
            return disabled(learner, server);
        }
        Ok(())
    }

    fn settle_directories(&mut self) -> Result<(), ConfigError> {
        if self.config.data_dir.as_os_str().is_empty() {
            return Err(self.error("dataDir", "dataDir is not set"));
        }
        let config = &mut self.config;
        let paths = [Path::new(&config.config_path), &config.data_dir, &config.data_log_dir];
        for path in paths.into_iter().filter(|path| is_carelessly_relative(path)) {
            let path = path.display();
            config.notes.push(Note::warning(format!(
                "{path} is relative. Prepend ./ to indicate that you're sure!"
            )));
        }
        if config.data_log_dir.as_os_str().is_empty() {
            config.data_log_dir = config.data_dir.clone();
        }
        Ok(())
    }

    fn settle_numbers(&mut self) -> Result<(), ConfigError> {
        let config = &mut self.config;
        if config.snap_retain_count < 3 {
            config.notes.push(Note::warning(format!(
                "Invalid autopurge.snapRetainCount: {}. Defaulting to 3",
                config.snap_retain_count
            )));
            config.snap_retain_count = 3;
        }
        if config.snap_count < 2 {
            config.notes.push(Note::warning("snapCount should be 2 or more; it is now 2"));
            config.snap_count = 2;
        }
        if config.connect_to_learner_master_limit == 0 {
            config.connect_to_learner_master_limit = config.init_limit;
        }
        let ticks = |n: u32| config.tick_time_ms.saturating_mul(n).min(i32::MAX as u32) as i32;
        let (two, twenty) = (ticks(2), ticks(20));
        if config.min_session_timeout_ms == -1 {
            config.min_session_timeout_ms = two;
        }
        if config.max_session_timeout_ms == -1 {
            config.max_session_timeout_ms = twenty;
        }
        let (min, max) = (config.min_session_timeout_ms, config.max_session_timeout_ms);
        if min > max {
            return Err(self.error(
                "minSessionTimeout",
                format!(
                    "minSessionTimeout must not be larger than maxSessionTimeout (they are {min} \
                 and {max} ms)"
                ),
            ));
        }
        Ok(())
    }

    fn settle_client_addresses(&mut self) -> Result<(), ConfigError> {
        let config = &self.config;
        let plain = (config.client_port, &config.client_port_address);
        let secure = (config.secure_client_port, &config.secure_client_port_address);
        let client_address = self.listener("clientPort", plain)?;
        let secure_client_address = self.listener("secureClientPort", secure)?;
        self.config.client_address = client_address;
        self.config.secure_client_address = secure_client_address;
        Ok(())
    }

    fn listener(
        &self,
        key: &str,
        (port, host): (Option<u16>, &Option<String>),
    ) -> Result<Option<Address>, ConfigError> {
        match (port, host) {
            (None, Some(_)) => {
                let address = format!("{key}Address");
                Err(self.error(&address, format!("{address} is set but {key} is not set")))
            }
            (Some(port), host) => {
                let host = host.as_deref().unwrap_or(WILDCARD);
                Ok(Some(Address::new(host.trim_matches(['[', ']']), port)))
            }
            (None, None) => Ok(None),
        }
    }

    fn read_my_id(&mut self, around: &Surroundings) -> Result<(), ConfigError> {
        let Some(text) = &around.my_id else {
            return Ok(());
        };
        let line = text.lines().next().unwrap_or_default();
        let id = line.parse().map_err(|_| {
            let file = self.config.data_dir.join("myid").display().to_string();
            ConfigError::at(
                &Origin::Line { file, line: 1 },
                format!("serverid {line} is not a number"),
            )
        })?;
        self.config.server_id = Some(id);
        Ok(())
    }

    fn read_membership(&mut self, around: &Surroundings) -> Result<(), ConfigError> {
        let dynamic_path = self.config.dynamic_config_file.clone();
        let (file, entries) = match (&dynamic_path, &around.dynamic) {
            (Some(path), Some(bytes)) => (path.clone(), parse_properties(path, bytes)?),
            (Some(path), None) => {
                return Err(self.error("dynamicConfigFile", format!("{path} cannot be read")));
            }
            (None, _) => (self.file(), self.entries.clone()),
        };
        if dynamic_path.is_some() {
            check_dynamic_keys(&file, &entries)?;
        }
        let version = dynamic_path.as_deref().and_then(membership::version_from_file_name);
        let mut quorum = membership_of(&file, &entries, self.config.multi_address_enabled)?;
        if let Some(version) = version {
            quorum.version = version;
        }
        if self.config.oracle_path.is_some() {
            // With an oracle Java counts heads and has no groups.
            quorum.hierarchy = None;
        }
        self.config.quorum = quorum;
        if let (Some(_), Some(bytes)) = (&dynamic_path, &around.next_dynamic) {
            let file = self.config.next_dynamic_file();
            let entries = parse_properties(&file, bytes)?;
            let next = membership_of(&file, &entries, self.config.multi_address_enabled)?;
            self.config.last_seen_quorum = Some(next);
        }
        Ok(())
    }

    /// Java's `parseDynamicConfig`: enough participants, and which mode that makes.
    fn check_membership(&mut self) -> Result<(), ConfigError> {
        let participants = self.config.quorum.participants().count();
        let standalone = self.config.standalone_enabled;
        let whole = Origin::Whole {
            file: self.config.dynamic_config_file.clone().unwrap_or_else(|| self.file()),
        };
        let checked = self.config.quorum.check_roles(standalone);
        checked.map_err(|reason| ConfigError::at(&whole, reason))?;
        let notes = &mut self.config.notes;
        match participants {
            0 => {}
            1 if standalone => notes
                .push(Note::error("Invalid configuration, only one server specified (ignoring)")),
            1 | 2 => notes.push(Note::warning(
                "No server failure will be tolerated. You need at least 3 servers.",
            )),
            n if n % 2 == 0 => notes.push(Note::warning(
                "Non-optimal configuration, consider an odd number of servers.",
            )),
            _ => {}
        }
        self.config.distributed = !standalone || participants > 1;
        Ok(())
    }

    /// Brings the client port and the role of the static file together with this server's own
    /// membership line.
    fn settle_own_server(&mut self) -> Result<(), ConfigError> {
        let Some(id) = self.config.server_id else {
            return Ok(());
        };
        let static_address = self.config.client_address.clone();
        if let Some(own) = self.config.quorum.servers.get_mut(&id) {
            match (&static_address, &own.client) {
                (Some(fixed), Some(agreed)) if contradicts(fixed, agreed) => {
                    let reason = format!(
                        "client address for this server (id = {id}) in static config file is \
                         {fixed} is different from client address found in dynamic file: {agreed}"
                    );
                    return Err(self.error("clientPort", reason));
                }
                (_, Some(agreed)) => self.config.client_address = Some(agreed.clone()),
                (_, None) => {
                    own.client = static_address;
                    own.client_from_static = true;
                }
            }
        }
        let listed = match self.config.quorum.servers.get(&id) {
            Some(own) if own.role == Role::Observer => Role::Observer,
            _ => Role::Participant,
        };
        if listed != self.config.peer_type {
            self.config.notes.push(Note::warning(format!(
                "Peer type from servers list ({listed}) doesn't match peerType ({}). \
                 Defaulting to servers list.",
                self.config.peer_type
            )));
            self.config.peer_type = listed;
        }
        Ok(())
    }

    fn check_ensemble(&self) -> Result<(), ConfigError> {
        let config = &self.config;
        if !config.distributed {
            return Ok(());
        }
        if config.init_limit == 0 {
            return Err(self.error("initLimit", "initLimit is not set"));
        }
        if config.sync_limit == 0 {
            return Err(self.error("syncLimit", "syncLimit is not set"));
        }
        if config.server_id.is_none() {
            let path = config.data_dir.join("myid");
            return Err(self.error(
                "dataDir",
                format!("myid file is missing: write this server's number into {}", path.display()),
            ));
        }
        Ok(())
    }

    fn note_ignored(&mut self) {
        self.ignored.sort_unstable();
        self.ignored.dedup();
        if !self.ignored.is_empty() {
            self.config.notes.push(Note::info(format!(
                "accepted and ignored, having no meaning here: {}",
                self.ignored.join(", ")
            )));
        }
    }
}

/// Whether a path depends on where the server is started, and does not say so.
fn is_carelessly_relative(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.is_relative() && !path.starts_with(".")
}

fn contradicts(fixed: &Address, agreed: &Address) -> bool {
    if fixed.is_wildcard() { fixed.port != agreed.port } else { fixed.surely_differs(agreed) }
}

fn is_ignored(key: &str) -> bool {
    IGNORED.iter().any(|name| match name.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == *name,
    })
}

fn parse_properties(file: &str, bytes: &[u8]) -> Result<Vec<Entry>, ConfigError> {
    properties::parse(&properties::latin1(bytes)).map_err(|malformed| {
        let origin = Origin::Line { file: file.to_owned(), line: malformed.line };
        ConfigError::at(&origin, "\\u must be followed by four hexadecimal digits")
    })
}

fn check_dynamic_keys(file: &str, entries: &[Entry]) -> Result<(), ConfigError> {
    for entry in entries {
        let key = entry.key.trim();
        let reason = match key {
            "version" => "dynamic file shouldn't have version inside".to_owned(),
            _ if is_membership_key(key) => continue,
            _ => format!("Unrecognised parameter: {key}"),
        };
        let origin = Origin::Line { file: file.to_owned(), line: entry.line };
        return Err(ConfigError::value(&origin, key, &entry.value, reason));
    }
    Ok(())
}

fn membership_of(
    file: &str,
    entries: &[Entry],
    multi_address: bool,
) -> Result<QuorumConfig, ConfigError> {
    let last = properties::last_of_each(entries);
    let pairs = last.values().map(|entry| (entry.key.as_str(), entry.value.as_str()));
    QuorumConfig::from_pairs(pairs, multi_address).map_err(|error| {
        let file = file.to_owned();
        let origin = match last.get(error.key.as_str()) {
            Some(entry) => Origin::Line { file, line: entry.line },
            None => Origin::Whole { file },
        };
        ConfigError::at(&origin, error)
    })
}
