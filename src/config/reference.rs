//! The reference of all settings, printed from the table. Pure.

use std::fmt::Write as _;

use super::rule::Place;
use super::table::{Config, FAMILIES, IGNORED, Setting, TABLE};

/// What `ironkeeper config-reference` prints, in Markdown.
pub fn reference() -> String {
    let defaults = Config::defaults();
    let mut out = String::from("# Settings\n");
    for section in TABLE {
        out.push_str(&format!("\n## {}\n\n", section.title));
        for setting in section.settings {
            describe(&mut out, setting, &defaults);
        }
    }
    out.push_str("\n## Families of keys\n\n");
    for (name, meaning) in FAMILIES {
        out.push_str(&format!("- **{name}** – {meaning}.\n"));
    }
    out.push_str("\n## Accepted and ignored (they mean nothing here)\n\n");
    for name in IGNORED {
        out.push_str(&format!("- {name}\n"));
    }
    out
}

fn describe(out: &mut String, setting: &Setting, defaults: &Config) {
    let name = setting.name;
    let place = match setting.place {
        Place::File => "zoo.cfg".to_owned(),
        Place::FileOrProperty | Place::Property => format!("zoo.cfg or -Dzookeeper.{name}"),
        Place::PropertyOrBare => format!("zoo.cfg, -Dzookeeper.{name} or -D{name}"),
        Place::Bare => format!("only -D{name}"),
    };
    let (meaning, allowed, default) =
        (setting.meaning, (setting.allowed)(), (setting.show)(defaults));
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "- **{name}** – {meaning}.\n  Default: {default}. Allowed: {allowed}. In: {place}."
    );
}
