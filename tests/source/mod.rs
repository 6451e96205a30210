//! A Rust source as `tests/tidy.rs` looks at it: its text, and its code, which is the text with
//! comments, literals and unit tests blanked out, so that every line keeps its number. Relies on
//! rustfmt's layout: an item ends with a line that is indented like its first.

use std::fs;
use std::path::Path;

pub struct Source {
    /// From the repository's root.
    pub path: String,
    pub text: String,
    /// Without comments and literals.
    bare: String,
    /// Without unit tests, too.
    code: String,
}

impl Source {
    pub fn read(root: &Path, path: String) -> Source {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        Source::new(path, text)
    }

    pub fn new(path: String, text: String) -> Source {
        let bare = without_comments_and_literals(&text);
        let code = without_unit_tests(&bare);
        Source { path, text, bare, code }
    }

    /// The folder of src that it is in.
    pub fn layer(&self) -> Option<&str> {
        let (layer, _) = self.path.strip_prefix("src/")?.split_once('/')?;
        Some(layer)
    }

    /// Whether the whole file is part of tests only.
    pub fn is_test(&self) -> bool {
        let path = &self.path;
        path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("tests/")
    }

    /// How many modules it lies in, itself included: 1 for src/wire/mod.rs.
    pub fn depth(&self) -> usize {
        let folders = self.path.split('/').count() - 2;
        if self.path.ends_with("/mod.rs") { folders } else { folders + 1 }
    }

    /// Lines of the text, with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// Identifiers of the production code, those of macros with their `!`.
    pub fn words(&self) -> Vec<(usize, &str)> {
        let mut found = Vec::new();
        for (i, line) in self.code.lines().enumerate() {
            let mut rest = line;
            while let Some(at) = rest.find(is_of_word) {
                rest = &rest[at..];
                let mut end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
                if rest[end..].starts_with('!') && !rest[end..].starts_with("!=") {
                    end += 1;
                }
                found.push((i + 1, &rest[..end]));
                rest = &rest[end..];
            }
        }
        found
    }

    /// Paths that the production code names, those in the braces of a `use` in full.
    pub fn paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let (mut line, mut rest) = (1, self.code.as_str());
        while let Some(at) = rest.find(is_of_word) {
            line += newlines(&rest[..at]);
            rest = &rest[at..];
            let end = match rest.starts_with("use ") {
                true => rest.find(';'),
                false => rest.find(|c| !is_of_word(c) && c != ':'),
            };
            let (tree, after) = rest.split_at(end.unwrap_or(rest.len()));
            let tree = tree.strip_prefix("use ").unwrap_or(tree);
            found.extend(expand(tree).into_iter().map(|path| (line, path)));
            line += newlines(tree);
            rest = after;
        }
        found.retain(|(_, path)| path.contains("::"));
        found
    }

    /// First line, name and number of lines of every function.
    pub fn functions(&self) -> Vec<(usize, &str, usize)> {
        let lines: Vec<&str> = self.bare.lines().collect();
        let mut found = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            let mut words = line.split_whitespace().skip_while(|word| {
                ["const", "unsafe", "extern"].contains(word) || word.starts_with("pub")
            });
            if words.next() == Some("fn") {
                let name = words.next().unwrap_or_default();
                let name = name.split(['(', '<']).next().unwrap_or_default();
                found.push((i + 1, name, end_of_item(&lines, i) + 1 - i));
            }
        }
        found
    }
}

/// Whether `path` is `outer` or something in it.
pub fn is_under(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The paths of a `use` tree.
fn expand(tree: &str) -> Vec<String> {
    let (Some(open), Some(close)) = (tree.find('{'), tree.rfind('}')) else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let prefix = tree[..open].trim();
    let mut branches = vec![String::new()];
    let mut depth = 0;
    for c in tree[open + 1..close].chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match branches.last_mut() {
            Some(branch) if c != ',' || depth > 0 => branch.push(c),
            _ => branches.push(String::new()),
        }
    }
    branches
        .iter()
        .filter(|branch| !branch.trim().is_empty())
        .flat_map(|branch| expand(&format!("{prefix}{}", branch.trim())))
        .collect()
}

/// The last line of the item that begins at a line.
fn end_of_item(lines: &[&str], first: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let ends = |i: &usize| {
        let line = lines[*i];
        let like_first = !line.trim().is_empty() && indent(line) == indent(lines[first]);
        let closed = line.trim_end().ends_with(';') || line.trim_end().ends_with('}');
        like_first && closed
    };
    (first..lines.len()).find(ends).unwrap_or(lines.len() - 1)
}

fn without_unit_tests(code: &str) -> String {
    let lines: Vec<&str> = code.lines().collect();
    let mut kept = String::new();
    let mut i = 0;
    while i < lines.len() {
        let mut next = i + 1;
        if lines[i].trim() == "#[cfg(test)]" {
            let item = (next..lines.len()).find(|j| !lines[*j].trim_start().starts_with("#["));
            next = end_of_item(&lines, item.unwrap_or(i)) + 1;
            kept.extend(std::iter::repeat_n('\n', next - i));
        } else {
            kept.push_str(lines[i]);
            kept.push('\n');
        }
        i = next;
    }
    kept
}

/// Rust's text with a blank for every character of comments and of what stands in quotes.
fn without_comments_and_literals(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(c) = rest.chars().next() {
        let hidden = if is_of_word(previous) && matches!(c, 'r' | 'b') { 0 } else { hidden(rest) };
        let length = hidden.max(c.len_utf8());
        if hidden > 0 {
            bare.extend(rest[..hidden].chars().map(|c| if c == '\n' { c } else { ' ' }));
            previous = ' ';
        } else {
            bare.push(c);
            previous = c;
        }
        rest = &rest[length..];
    }
    bare
}

/// How many bytes of comment or literal `rest` begins with.
fn hidden(rest: &str) -> usize {
    let to = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return to(rest.find('\n'));
    }
    if rest.starts_with("/*") {
        return to(rest.find("*/").map(|at| at + 2));
    }
    let quoted = rest.strip_prefix('b').unwrap_or(rest);
    let prefix = rest.len() - quoted.len();
    if let Some(raw) = quoted.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let from = prefix + 1 + hashes + 1;
            return to(rest[from..].find(&end).map(|at| from + at + end.len()));
        }
        return 0;
    }
    let char_literal = quoted.starts_with('\'')
        && (quoted.starts_with("'\\") || quoted.chars().nth(2) == Some('\''));
    match quoted.chars().next() {
        Some('"') => prefix + string_length(quoted, '"'),
        Some('\'') if char_literal => prefix + string_length(quoted, '\''),
        _ => 0,
    }
}

/// Bytes of the literal that `quoted` begins with, both quotes included.
fn string_length(quoted: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in quoted.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    quoted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(path.to_owned(), text.to_owned())
    }

    #[test]
    fn paths_of_uses_and_of_expressions() {
        let text = "use std::{fs, net::{self, IpAddr as Ip}};\n// std::env\nfn f<'a>() {\n    \
                    g('\"', \"std::thread\", r#\"std::os \"x\" \"#, b'\\'', mio::Poll::new());\n}\n\
                    #[cfg(test)]\nmod tests {\n    use std::process;\n}\n";
        let paths = source("src/wire/mod.rs", text).paths();
        let paths: Vec<(usize, &str)> = paths.iter().map(|(l, p)| (*l, p.as_str())).collect();
        let std = [(1, "std::fs"), (1, "std::net::self"), (1, "std::net::IpAddr")];
        assert_eq!(paths, [std.as_slice(), &[(4, "mio::Poll::new")]].concat());
    }

    #[test]
    fn lengths_of_functions() {
        let text = r"
impl X {
    pub fn a(
        b: u8,
    ) {
        if b {
        }
    }

    fn c() {}
}
trait Y {
    fn d(
        e: u8,
    );
}
";
        let source = source("src/wire/mod.rs", text);
        assert_eq!(source.functions(), [(3, "a", 6), (10, "c", 1), (13, "d", 3)]);
    }

    #[test]
    fn depths() {
        assert_eq!(source("src/wire/mod.rs", "").depth(), 1);
        assert_eq!(source("src/net/connection.rs", "").depth(), 2);
        assert_eq!(source("src/pipeline/node/leading.rs", "").depth(), 3);
    }
}
