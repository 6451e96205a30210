//! Words: the shell's own options, and a typed line taken apart. Pure.
//! Java: `ZooKeeperMain.MyCommandOptions`.

/// What the command line of the shell asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    pub server: String,
    /// Milliseconds.
    pub timeout: i32,
    pub read_only: bool,
    pub wait_for_connection: bool,
    /// Properties of the client: TLS and SASL, which this shell does not speak.
    pub client_configuration: Option<String>,
    /// One command instead of a prompt.
    pub command: Vec<String>,
}

impl Startup {
    /// Options come first; the first word that is none begins the command. Unknown options are
    /// passed over, as Java does.
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let mut startup = Self {
            server: "localhost:2181".into(),
            timeout: 30_000,
            read_only: false,
            wait_for_connection: false,
            client_configuration: None,
            command: Vec::new(),
        };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let mut value = || {
                rest.next().cloned().ok_or(format!("Error: no argument found for option {word}"))
            };
            match word.as_str() {
                "-server" => startup.server = value()?,
                "-timeout" => {
                    let text = value()?;
                    startup.timeout = text
                        .parse()
                        .map_err(|_| format!("-timeout {text}: not a number of milliseconds"))?;
                }
                "-client-configuration" => startup.client_configuration = Some(value()?),
                "-r" => startup.read_only = true,
                "-waitforconnection" => startup.wait_for_connection = true,
                option if option.starts_with('-') => {}
                _ => {
                    startup.command = [word].into_iter().chain(rest).cloned().collect();
                    break;
                }
            }
        }
        Ok(startup)
    }
}

/// Splits a typed line at white space; quotes hold words together and go away. A quote that is
/// never closed is dropped.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' || first == '\'' {
            rest = &rest[1..];
            if let Some(end) = rest.find(first) {
                words.push(rest[..end].to_owned());
                rest = rest[end + 1..].trim_start();
            }
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(line: &str) -> Result<Startup, String> {
        Startup::parse(&split(line))
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let s = startup("-server h:1 -timeout 5 -r -x ls -R /").unwrap();
        assert_eq!((s.server.as_str(), s.timeout, s.read_only), ("h:1", 5, true));
        assert_eq!(s.command, ["ls", "-R", "/"]);
        assert_eq!(startup("").unwrap().server, "localhost:2181");
        assert_eq!(startup("-server").unwrap_err(), "Error: no argument found for option -server");
        assert!(startup("-timeout x").is_err());
    }

    #[test]
    fn lines_are_split_as_java_does() {
        for (line, words) in [
            ("ls  /a ", &["ls", "/a"][..]),
            ("  set /a 'b c' \"d  e\"", &["set", "/a", "b c", "d  e"]),
            ("a\"b c", &["a\"b", "c"]),
            ("\"a\"b", &["a", "b"]),
            ("'a b", &["a", "b"]),
            ("x \"\"", &["x", ""]),
            ("   ", &[]),
        ] {
            assert_eq!(split(line), words, "{line}");
        }
    }
}
