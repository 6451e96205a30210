//! The words with which a server is started, and the `-D` words among them.
//! Pure: the words come in as text. Answers to `QuorumPeerMain`'s and the JVM's arguments.

/// What the words of a command line and of the flag variables hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// `-Dname=value` in the order in which they count: the later of two wins.
    pub defines: Vec<(String, String)>,
    /// JVM options that mean nothing here (`-Xmx1g`, `-XX:…`, `-javaagent:…`).
    pub jvm_options: Vec<String>,
    /// Everything else, in order.
    pub rest: Vec<String>,
}

impl Words {
    /// Sorts the arguments of the command, then the words of the flag variables, which are
    /// split at blanks as the shell splits them for Java. A word of a variable that does not
    /// begin with a dash belongs to the option before it, and is as meaningless.
    pub fn sort(arguments: &[String], flags: &[&str]) -> Words {
        let mut words = Words::default();
        for argument in arguments {
            if !words.take(argument) {
                words.rest.push(argument.clone());
            }
        }
        for flag in flags.iter().flat_map(|flags| flags.split_ascii_whitespace()) {
            if !words.take(flag) {
                words.jvm_options.push(flag.to_owned());
            }
        }
        words
    }

    /// Takes a word that is a define or another JVM option.
    fn take(&mut self, word: &str) -> bool {
        if let Some(define) = word.strip_prefix("-D") {
            let (name, value) = define.split_once('=').unwrap_or((define, ""));
            self.defines.push((name.to_owned(), value.to_owned()));
        } else if word.len() > 1 && word.starts_with('-') {
            self.jvm_options.push(word.to_owned());
        } else {
            return false;
        }
        true
    }
}
