//! Options of a command, understood and refused as Apache Commons CLI's `DefaultParser` does for
//! Java's shell: short names, some of several letters, values, groups of which one may be given.
//! Pure.

/// One option of a command.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    pub name: &'static str,
    pub takes_value: bool,
    pub text: &'static str,
}

/// An option without a value.
pub const fn flag(name: &'static str, text: &'static str) -> Opt {
    Opt { name, takes_value: false, text }
}

/// An option with a value.
pub const fn value(name: &'static str, text: &'static str) -> Opt {
    Opt { name, takes_value: true, text }
}

/// Whether a command's options may be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Any number of them.
    Free,
    /// At most one.
    One,
    /// Exactly one.
    Required,
}

/// The words of a command, sorted into options and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    given: Vec<(&'static str, Option<String>)>,
    /// The command's name and its operands.
    pub words: Vec<String>,
}

impl Args {
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The first value given with an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name).and_then(|(_, v)| v.as_deref())
    }

    /// The operand with this number, counted from 1; the command's name is number 0.
    pub fn word(&self, number: usize) -> Option<&str> {
        self.words.get(number).map(String::as_str)
    }
}

/// Sorts the words of a command. The error is the text that Java prints.
pub fn parse(options: &[Opt], group: Group, words: &[String]) -> Result<Args, String> {
    let mut parser = Parser { options, group, args: Args::default(), awaiting: None };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            parser.args.words.extend(rest.cloned());
            break;
        }
        parser.word(word)?;
    }
    parser.finish()
}

struct Parser<'a> {
    options: &'a [Opt],
    group: Group,
    args: Args,
    /// The option whose value comes next.
    awaiting: Option<&'static str>,
}

impl Parser<'_> {
    fn find(&self, name: &str) -> Option<Opt> {
        self.options.iter().find(|o| o.name == name).copied()
    }

    fn first_letter(&self, letters: &str) -> Option<Opt> {
        letters.char_indices().next().and_then(|(_, c)| self.find(&letters[..c.len_utf8()]))
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        let letters = word.trim_start_matches('-');
        let dashed = word.starts_with('-') && word.len() > 1;
        let name = letters.split('=').next().unwrap_or_default();
        let known = dashed && (self.find(name).is_some() || self.first_letter(name).is_some());
        let negative_number = dashed && word.parse::<f64>().is_ok();
        if let Some(name) = self.awaiting
            && (!known || negative_number)
        {
            self.awaiting = None;
            self.set_value(name, word);
            return Ok(());
        }
        if !dashed {
            self.args.words.push(word.to_owned());
            return Ok(());
        }
        if word.starts_with("--") {
            return Err(unrecognized(word));
        }
        match letters.split_once('=') {
            Some((name, value)) => {
                let option = self.find(name).filter(|o| o.takes_value);
                let option = option.ok_or_else(|| unrecognized(word))?;
                self.give(option)?;
                self.awaiting = None;
                self.set_value(option.name, value);
                Ok(())
            }
            None => match self.find(letters) {
                Some(option) => self.give(option),
                None => self.letters(word),
            },
        }
    }

    /// Several options in one word, `-sw`, the last perhaps with its value, `-v5`.
    fn letters(&mut self, word: &str) -> Result<(), String> {
        for (at, c) in word.char_indices().skip(1) {
            let end = at + c.len_utf8();
            let option = self.find(&word[at..end]).ok_or_else(|| unrecognized(word))?;
            self.give(option)?;
            if option.takes_value && end < word.len() {
                self.awaiting = None;
                self.set_value(option.name, &word[end..]);
                break;
            }
        }
        Ok(())
    }

    fn give(&mut self, option: Opt) -> Result<(), String> {
        self.check_awaiting()?;
        if self.group != Group::Free
            && let Some((other, _)) = self.args.given.iter().find(|(name, _)| *name != option.name)
        {
            return Err(java(
                "AlreadySelectedException",
                &format!(
                    "The option '{}' was specified but an option from this group has already \
                     been selected: '{other}'",
                    option.name
                ),
            ));
        }
        self.args.given.push((option.name, None));
        self.awaiting = option.takes_value.then_some(option.name);
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &str) {
        let given = self.args.given.iter_mut().rev().find(|(given, _)| *given == name);
        if let Some((_, slot)) = given {
            *slot = Some(value.to_owned());
        }
    }

    fn check_awaiting(&self) -> Result<(), String> {
        match self.awaiting {
            None => Ok(()),
            Some(name) => Err(java(
                "MissingArgumentException",
                &format!("Missing argument for option: {name}"),
            )),
        }
    }

    fn finish(self) -> Result<Args, String> {
        self.check_awaiting()?;
        if self.group == Group::Required && self.args.given.is_empty() {
            let all: Vec<_> =
                self.options.iter().map(|o| format!("-{} {}", o.name, o.text)).collect();
            return Err(java(
                "MissingOptionException",
                &format!("Missing required option: [{}]", all.join(", ")),
            ));
        }
        Ok(self.args)
    }
}

fn unrecognized(word: &str) -> String {
    java("UnrecognizedOptionException", &format!("Unrecognized option: {word}"))
}

fn java(class: &str, text: &str) -> String {
    format!("org.apache.commons.cli.{class}: {text}")
}

/// The table of a command's options, sorted, one line each.
pub fn table(options: &[Opt]) -> String {
    let left = |o: &Opt| format!(" -{}{}", o.name, if o.takes_value { " <arg>" } else { "" });
    let width = options.iter().map(|o| left(o).len()).max().unwrap_or(0);
    let mut sorted: Vec<_> = options.iter().collect();
    sorted.sort_by_key(|o| o.name.to_lowercase());
    sorted.iter().map(|o| format!("{:width$}   {}\n", left(o), o.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [Opt; 4] =
        [flag("s", "stats"), value("v", "version"), flag("w", "watch"), value("file", "path")];

    fn parsed(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        parse(&OPTIONS, Group::Free, &words)
    }

    #[test]
    fn options_may_stand_anywhere() {
        let args = parsed("get -s /a -v 5 b").unwrap();
        assert_eq!(args.words, ["get", "/a", "b"]);
        assert!(args.has("s") && !args.has("w"));
        assert_eq!(args.value("v"), Some("5"));
        for line in ["get -v -1 /a", "get -v-1 /a", "get -v=-1 /a", "get -sv -1 /a"] {
            assert_eq!(parsed(line).unwrap().value("v"), Some("-1"), "{line}");
        }
        assert!(parsed("get -sw").unwrap().has("w"));
        assert_eq!(parsed("get -file x").unwrap().value("file"), Some("x"));
        assert_eq!(parsed("get -- -s").unwrap().words, ["get", "-s"]);
        assert_eq!(parsed("get -").unwrap().words, ["get", "-"]);
    }

    #[test]
    fn refusals_are_in_commons_cli_words() {
        let class = "org.apache.commons.cli.";
        for (line, text) in [
            ("get -q", "UnrecognizedOptionException: Unrecognized option: -q"),
            ("get -sq", "UnrecognizedOptionException: Unrecognized option: -sq"),
            ("get -q=1", "UnrecognizedOptionException: Unrecognized option: -q=1"),
            ("get --s", "UnrecognizedOptionException: Unrecognized option: --s"),
            ("get -5", "UnrecognizedOptionException: Unrecognized option: -5"),
            ("get /a -v", "MissingArgumentException: Missing argument for option: v"),
            ("get -v -s", "MissingArgumentException: Missing argument for option: v"),
        ] {
            assert_eq!(parsed(line), Err(format!("{class}{text}")), "{line}");
        }
    }

    #[test]
    fn groups_allow_one() {
        const GROUP: [Opt; 2] = [value("n", "num soft quota"), value("b", "bytes soft quota")];
        let run = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(String::from).collect();
            parse(&GROUP, Group::Required, &words)
        };
        assert_eq!(
            run("q").unwrap_err(),
            "org.apache.commons.cli.MissingOptionException: Missing required option: \
             [-n num soft quota, -b bytes soft quota]"
        );
        assert_eq!(
            run("q -n 1 -b 2").unwrap_err(),
            "org.apache.commons.cli.AlreadySelectedException: The option 'b' was specified but \
             an option from this group has already been selected: 'n'"
        );
        assert_eq!(run("q -b 2 /a").unwrap().value("b"), Some("2"));
    }

    #[test]
    fn the_table_is_aligned() {
        assert_eq!(
            table(&[flag("s", "Stats"), value("v", "Version"), flag("b", "Base64")]),
            " -b         Base64\n -s         Stats\n -v <arg>   Version\n"
        );
    }
}
