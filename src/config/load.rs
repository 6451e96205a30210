//! Reads the configuration: the one file of this layer that touches the file system and the
//! environment. It decides nothing; [`Draft`] says what is needed and judges it.

use std::io::ErrorKind;
use std::path::Path;
use std::{env, fs, io};

use super::draft::{Draft, Surroundings};
use super::error::{ConfigError, Note};
use super::launch::Words;
use super::next_dynamic_file;
use super::table::Config;

/// Environment variables that hold JVM options, `-Dname=value` words among them; the later
/// counts.
const FLAG_VARIABLES: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];

/// The words of the command line (`arguments`) and of the flag variables, sorted.
pub fn words(arguments: &[String]) -> Words {
    let flags: Vec<String> =
        FLAG_VARIABLES.iter().map(|name| env::var(name).unwrap_or_default()).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Words::sort(arguments, &flags)
}

/// Reads a file whole.
type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// The configuration for a server started with these words: one names a configuration file,
/// two to four are port, data directory, `tickTime` and `maxClientCnxns`.
pub fn config(words: &Words) -> Result<Config, ConfigError> {
    config_read_by(words, &|path| fs::read(path))
}

/// As [`config`], off whatever `read` reads.
pub fn config_read_by(words: &Words, read: Read<'_>) -> Result<Config, ConfigError> {
    let draft = match words.rest.as_slice() {
        [path] => Draft::from_file(path, &read_config(path, read)?, &words.defines)?,
        rest => Draft::from_words(rest, &words.defines)?,
    };
    let around = surroundings(&draft, words, read)?;
    let mut config = draft.finish(&around)?;
    if !words.jvm_options.is_empty() {
        config.notes.push(Note::info(format!(
            "accepted and ignored, being options of a JVM: {}",
            words.jvm_options.join(" ")
        )));
    }
    Ok(config)
}

fn read_config(path: &str, read: Read<'_>) -> Result<Vec<u8>, ConfigError> {
    read(Path::new(path)).map_err(|error| {
        ConfigError::other(format!("Error processing {path}: it cannot be read: {error}"))
    })
}

fn surroundings(draft: &Draft, words: &Words, read: Read<'_>) -> Result<Surroundings, ConfigError> {
    let mut around = Surroundings::default();
    if let Some(path) = draft.dynamic_config_file() {
        around.dynamic = Some(read_config(path, read)?);
    }
    if let [path] = words.rest.as_slice() {
        around.next_dynamic = read_if_present(Path::new(&next_dynamic_file(path)), read)?;
        let id = read_if_present(&draft.data_dir().join("myid"), read)?;
        around.my_id = id.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(around)
}

fn read_if_present(path: &Path, read: Read<'_>) -> Result<Option<Vec<u8>>, ConfigError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(ConfigError::other(format!(
            "Error processing {}: it cannot be read: {error}",
            path.display()
        ))),
    }
}
