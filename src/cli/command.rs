//! What a command is, the list of them, and how one ends.
//! Java: `cli.CliCommand`, `cli.CommandFactory`, `cli.CliException`, `cli.CliWrapperException`.

use super::args::{self, Args, Group, Opt};
use super::{acls, ensemble, nodes, quota, watches};
use crate::client::{Client, Error};
use crate::wire::ErrorCode;

/// Why a command failed: what to print, and the exit code when it was the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub text: String,
    pub exit_code: u8,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code: 1 }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(wording(&error))
    }
}

pub type Outcome = Result<(), Failure>;

/// The shell's words for an error.
fn wording(error: &Error) -> String {
    let Error::Code { code, path } = error else { return error.to_string() };
    let path = path.as_deref().unwrap_or("null");
    const WORDS: [(ErrorCode, &str); 10] = [
        (ErrorCode::NoNode, "Node does not exist: "),
        (ErrorCode::NoChildrenForEphemerals, "Ephemerals cannot have children: "),
        (ErrorCode::NodeExists, "Node already exists: "),
        (ErrorCode::NotEmpty, "Node not empty: "),
        (ErrorCode::NotReadOnly, "Not a read-only call: "),
        (ErrorCode::InvalidAcl, "Acl is not valid : "),
        (ErrorCode::NoAuth, "Insufficient permission : "),
        (ErrorCode::BadArguments, "Arguments are not valid : "),
        (ErrorCode::BadVersion, "version No is not valid : "),
        (ErrorCode::QuotaExceeded, "Quota has exceeded : "),
    ];
    if *code == ErrorCode::ReconfigInProgress.code() {
        return "Another reconfiguration is in progress -- concurrent reconfigs not supported \
                (yet)"
            .into();
    }
    if *code == ErrorCode::NewConfigNoQuorum.code() {
        return "No quorum of new config is connected and up-to-date with the leader of last \
                commmitted config - try invoking reconfiguration after new servers are connected \
                and synced"
            .into();
    }
    match WORDS.iter().find(|(known, _)| known.code() == *code) {
        Some((_, words)) => format!("{words}{path}"),
        None => error.to_string(),
    }
}

/// One command that needs a session.
pub struct Command {
    pub name: &'static str,
    /// Options and operands, as the help shows them.
    pub synopsis: &'static str,
    pub options: &'static [Opt],
    pub group: Group,
    /// Words that must be there, the name included.
    pub words: usize,
    /// The usage has a table of the options.
    pub explains: bool,
    /// `name path watch` of old stands for `-w`.
    pub old_watch: Option<&'static str>,
    pub run: fn(&Client, &Args) -> Outcome,
}

impl Command {
    /// The common case: options in any combination, no table, one operand.
    pub const fn new(
        name: &'static str,
        synopsis: &'static str,
        run: fn(&Client, &Args) -> Outcome,
    ) -> Self {
        let (options, group, words, explains, old_watch) = (&[], Group::Free, 2, false, None);
        Self { name, synopsis, options, group, words, explains, old_watch, run }
    }

    pub fn usage(&self) -> String {
        let table = if self.explains { args::table(self.options) } else { String::new() };
        let line_end = if self.explains { "\n" } else { "" };
        format!("{} {}{line_end}{table}", self.name, self.synopsis)
    }

    /// Understands the words of the command; `warn` gets advice.
    pub fn parse(&self, words: &[String], warn: impl FnOnce(String)) -> Result<Args, Failure> {
        let parse =
            |words: &[String]| args::parse(self.options, self.group, words).map_err(Failure::new);
        let mut parsed = parse(words)?;
        if let Some(instead) = self.old_watch
            && parsed.words.len() > 2
        {
            // As Java does it: whatever word stands there.
            let mut words = words.to_vec();
            words[2] = "-w".into();
            let name = self.name;
            warn(format!(
                "'{name} path [watch]' has been deprecated. Please use '{instead}' instead."
            ));
            parsed = parse(&words)?;
        }
        if parsed.words.len() < self.words {
            return Err(Failure::new(self.usage()));
        }
        Ok(parsed)
    }
}

/// All commands that need a session.
pub const COMMANDS: [&[Command]; 5] =
    [&nodes::COMMANDS, &acls::COMMANDS, &quota::COMMANDS, &watches::COMMANDS, &ensemble::COMMANDS];

/// Commands of the shell itself, and what the help says about them.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("close", ""),
    ("connect", "host:port"),
    ("history", ""),
    ("printwatches", "on|off"),
    ("quit", ""),
    ("redo", "cmdno"),
];

pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().copied().flatten().find(|command| command.name == name)
}

/// What an unknown command is answered with.
pub fn help() -> String {
    let commands = COMMANDS.iter().copied().flatten().map(|c| (c.name, c.synopsis));
    let mut all: Vec<_> = commands.chain(BUILT_IN).collect();
    all.sort_unstable();
    let mut text =
        String::from("ZooKeeper -server host:port -client-configuration properties-file cmd args");
    for (name, synopsis) in all {
        text.push_str(&format!("\n\t{name} {synopsis}"));
    }
    text
}

/// A number given with an option, or the default.
pub fn number<T: std::str::FromStr>(text: Option<&str>, default: T) -> Result<T, Failure> {
    match text {
        None => Ok(default),
        Some(text) => {
            text.parse().map_err(|_| Failure::new(format!("For input string: \"{text}\"")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn errors_are_worded_for_people() {
        let word = |code: i32| wording(&Error::new(code, "/a"));
        assert_eq!(word(-101), "Node does not exist: /a");
        assert_eq!(word(-103), "version No is not valid : /a");
        assert_eq!(word(-121), "KeeperErrorCode = No such watcher for /a");
        assert!(word(-14).starts_with("Another reconfiguration"));
        let no_path = Error::Code { code: -114, path: None };
        assert_eq!(wording(&no_path), "Acl is not valid : null");
        assert_eq!(wording(&Error::Argument("x".into())), "x");
    }

    #[test]
    fn every_command_is_in_the_help_once() {
        let help = help();
        assert_eq!(help.lines().count(), 1 + 28);
        assert!(help.contains("\n\taddWatch [-m mode]"), "{help}");
        assert!(help.ends_with("\n\twhoami "), "{help}");
    }

    #[test]
    fn too_few_words_show_the_usage() {
        let parse = |line: &str| {
            let words = words(line);
            find(&words[0]).unwrap().parse(&words, |_| {}).unwrap_err().text
        };
        assert_eq!(parse("delete"), "delete [-v version] path");
        assert_eq!(
            parse("set /a"),
            "set path data [-s] [-v version] [-b]\n -b         Supply data in base64 format\n \
             -s         Print znode stats additionally\n -v <arg>   Set with an expected version\n"
        );
    }

    #[test]
    fn the_old_way_to_watch_still_works() {
        let mut advice = String::new();
        let args = find("get").unwrap().parse(&words("get /a true"), |text| advice = text).unwrap();
        assert!(args.has("w") && args.words == ["get", "/a"]);
        assert_eq!(
            advice,
            "'get path [watch]' has been deprecated. Please use 'get [-s] [-w] path' instead."
        );
    }
}
