//! `[grant.command.NAME]`: programs that a plugin may run by name.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::place::Source;
use super::quantity::{Millis, Size};
use super::{HOUR_MS, KIB, MIB, ManifestError, SECOND_MS, parse_pin};
use crate::plugin::command::{Bounds, CommandGrant, Count, Pattern, Place, Takes};
use crate::plugin::names;
use crate::quantity::{show_bytes, show_millis};

const GIB: u64 = 1024 * MIB;
const DAY_MS: u64 = 24 * HOUR_MS;

const MAX_COMMANDS: usize = 64;
const MAX_PLACES: usize = 64;
const MAX_VARIABLES: usize = 64;
const REST: RangeInclusive<u64> = 1..=256;
const TIMEOUT_MS: RangeInclusive<u64> = 1..=7 * DAY_MS;
const STDIN_BYTES: RangeInclusive<u64> = 0..=8 * MIB;
const OUTPUT_BYTES: RangeInclusive<u64> = 0..=4 * MIB;
const JOBS: RangeInclusive<u64> = 1..=1024;
const CPU_MS: RangeInclusive<u64> = SECOND_MS..=365 * DAY_MS;
const MEMORY_BYTES: RangeInclusive<u64> = 16 * MIB..=16 * 1024 * GIB;
const FILE_BYTES: RangeInclusive<u64> = 0..=64 * 1024 * GIB;
const OPEN_FILES: RangeInclusive<u64> = 16..=65_536;

/// What is said of the places when one is none.
const PLACES: &str = "a fixed word, or a table with `pattern` or `media = true`";

/// Every command, by its name.
#[derive(Default)]
pub(super) struct Commands(BTreeMap<Spanned<String>, Spanned<CommandTable>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandTable {
    program: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    #[serde(default)]
    arguments: Vec<Spanned<Written>>,
    #[serde(default)]
    environment: BTreeMap<Spanned<String>, Spanned<String>>,
    directory: Option<Spanned<String>>,
    timeout: Option<Spanned<Millis>>,
    stdin_bytes: Option<Spanned<Size>>,
    output_bytes: Option<Spanned<Size>>,
    jobs: Option<Spanned<u32>>,
    cpu: Option<Spanned<Millis>>,
    memory: Option<Spanned<Size>>,
    file_bytes: Option<Spanned<Size>>,
    open_files: Option<Spanned<u32>>,
}

/// An entry of `arguments` as it was written.
enum Written {
    Word(String),
    Table(Box<PlaceTable>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceTable {
    name: Option<Spanned<String>>,
    pattern: Option<Spanned<String>>,
    #[serde(default)]
    media: bool,
    #[serde(default)]
    dash: bool,
    #[serde(default)]
    optional: bool,
    rest: Option<Spanned<u32>>,
}

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandsVisitor;

        impl<'de> Visitor<'de> for CommandsVisitor {
            type Value = Commands;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("commands by their names: a section [grant.command.NAME] each, with its `program`")
            }

            /// `command = false` grants nothing, as everywhere.
            fn visit_bool<E: Error>(self, granted: bool) -> Result<Commands, E> {
                if granted {
                    return Err(E::invalid_value(serde::de::Unexpected::Bool(true), &self));
                }
                Ok(Commands::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Commands, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Commands)
            }
        }

        deserializer.deserialize_any(CommandsVisitor)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WrittenVisitor;

        impl<'de> Visitor<'de> for WrittenVisitor {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PLACES)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written::Word(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                PlaceTable::deserialize(MapAccessDeserializer::new(map)).map(|table| Written::Table(Box::new(table)))
            }
        }

        deserializer.deserialize_any(WrittenVisitor)
    }
}

impl Commands {
    pub(super) fn check(self, source: Source<'_>) -> Result<BTreeMap<String, CommandGrant>, ManifestError> {
        if self.0.len() > MAX_COMMANDS {
            return Err(source.at_start(format!("more than {MAX_COMMANDS} commands")));
        }
        let mut commands = BTreeMap::new();
        for (name, table) in self.0 {
            if !names::is_plugin(name.get_ref()) {
                let message = format!(
                    "{:?} is not a command's name: 1 to 64 of a-z, 0-9 and -, not starting with a dash",
                    name.get_ref()
                );
                return Err(source.at(name.span().start, message));
            }
            let at = table.span().start;
            let command = table.into_inner().check(source, name.get_ref(), at)?;
            commands.insert(name.into_inner(), command);
        }
        Ok(commands)
    }
}

impl CommandTable {
    fn check(self, source: Source<'_>, name: &str, at: usize) -> Result<CommandGrant, ManifestError> {
        let size = |value, key, range| source.in_range(value, |size: &Size| size.0, key, (range, show_bytes));
        let millis = |value, key, range| source.in_range(value, |time: &Millis| time.0, key, (range, show_millis));
        let count = |value, key, range| {
            let number = source.in_range(value, |count: &u32| u64::from(*count), key, (range, |n| n.to_string()));
            // The ranges end far below the type's end.
            number.map(|number| number.and_then(|number| u32::try_from(number).ok()))
        };
        let Some(program) = self.program else {
            let message = format!("the command `{name}` has no `program`: give its absolute path");
            return Err(source.at(at, message));
        };
        Ok(CommandGrant {
            sha256: self.sha256.map(|pin| parse_pin(source, &pin)).transpose()?,
            arguments: places(source, self.arguments, at)?,
            environment: environment(source, self.environment, at)?,
            directory: match self.directory {
                Some(directory) => absolute(source, &directory, "directory")?,
                None => "/".into(),
            },
            timeout_ms: millis(self.timeout, "timeout", TIMEOUT_MS)?.unwrap_or(600 * SECOND_MS),
            stdin_bytes: size(self.stdin_bytes, "stdin_bytes", STDIN_BYTES)?.unwrap_or(0),
            output_bytes: size(self.output_bytes, "output_bytes", OUTPUT_BYTES)?.unwrap_or(64 * KIB),
            jobs: count(self.jobs, "jobs", JOBS)?.unwrap_or(4),
            bounds: Bounds {
                cpu_ms: millis(self.cpu, "cpu", CPU_MS)?,
                memory_bytes: size(self.memory, "memory", MEMORY_BYTES)?.unwrap_or(8 * GIB),
                file_bytes: size(self.file_bytes, "file_bytes", FILE_BYTES)?.unwrap_or(16 * GIB),
                open_files: count(self.open_files, "open_files", OPEN_FILES)?.unwrap_or(1024),
            },
            program: absolute(source, &program, "program")?,
        })
    }
}

fn absolute(source: Source<'_>, path: &Spanned<String>, key: &str) -> Result<std::path::PathBuf, ManifestError> {
    let text = path.get_ref();
    if Path::new(text).is_absolute() && !text.contains('\0') {
        return Ok(text.into());
    }
    Err(source.at(path.span().start, format!("`{key}` is an absolute path such as \"/usr/bin/rsync\", not {text:?}")))
}

fn environment(
    source: Source<'_>,
    variables: BTreeMap<Spanned<String>, Spanned<String>>,
    at: usize,
) -> Result<Vec<(String, String)>, ManifestError> {
    if variables.len() > MAX_VARIABLES {
        return Err(source.at(at, format!("more than {MAX_VARIABLES} variables in `environment`")));
    }
    let variable = |(name, value): (Spanned<String>, Spanned<String>)| {
        let text = name.get_ref();
        if text.is_empty() || text.contains(['=', '\0']) || value.get_ref().contains('\0') {
            let message = format!("{text:?} cannot be a variable of the environment: no `=` in its name, and no NUL");
            return Err(source.at(name.span().start, message));
        }
        Ok((name.into_inner(), value.into_inner()))
    };
    variables.into_iter().map(variable).collect()
}

/// The places, and that each argument can only belong to one of them.
fn places(source: Source<'_>, written: Vec<Spanned<Written>>, at: usize) -> Result<Vec<Place>, ManifestError> {
    if written.len() > MAX_PLACES {
        return Err(source.at(at, format!("`arguments` has more than {MAX_PLACES} places")));
    }
    let mut places = Vec::with_capacity(written.len());
    let mut before = Count::One;
    for entry in written {
        let at = entry.span().start;
        let refuse = |message: &str| Err(source.at(at, message.to_owned()));
        let place = match entry.into_inner() {
            Written::Word(word) if word.contains('\0') => return refuse("an argument cannot contain NUL"),
            Written::Word(word) => Place::Literal(word),
            Written::Table(table) => table.check(source, at)?,
        };
        if let Place::Open { count, .. } = &place {
            match (before, count) {
                (Count::Rest(_), _) => return refuse("a place with `rest` is the last one"),
                (Count::Optional, Count::One) => return refuse("after a place that is optional, all are"),
                (Count::One, _) | (Count::Optional, Count::Optional | Count::Rest(_)) => before = *count,
            }
        }
        places.push(place);
    }
    Ok(places)
}

impl PlaceTable {
    fn check(self, source: Source<'_>, at: usize) -> Result<Place, ManifestError> {
        let refuse = |at: usize, message: &str| source.at(at, message.to_owned());
        let takes = match (self.pattern, self.media) {
            (Some(pattern), false) => {
                let text = pattern.get_ref();
                let wrong = |why: String| source.at(pattern.span().start, format!("`pattern` is not usable: {why}"));
                let dash = self.dash;
                if !dash && (text.starts_with('-') || text.starts_with("^-")) {
                    let message = "the pattern begins with a dash: say `dash = true` if the argument may, too";
                    return Err(refuse(pattern.span().start, message));
                }
                Takes::Text { pattern: Pattern::new(text).map_err(wrong)?, dash }
            }
            (None, true) if self.dash => return Err(refuse(at, "`dash` goes with `pattern`")),
            (None, true) => Takes::Media,
            (Some(_), true) | (None, false) => return Err(refuse(at, &format!("an argument's place is {PLACES}"))),
        };
        let rest = source.in_range(self.rest, |rest: &u32| u64::from(*rest), "rest", (REST, |n| n.to_string()))?;
        let count = match (rest.and_then(|rest| u32::try_from(rest).ok()), self.optional) {
            (Some(_), true) => return Err(refuse(at, "a place with `rest` is optional anyway")),
            (Some(rest), false) => Count::Rest(rest),
            (None, true) => Count::Optional,
            (None, false) => Count::One,
        };
        let name = match self.name {
            Some(name) if !names::is_plugin(name.get_ref()) => {
                let message = "a place's `name` is made of a-z, 0-9 and -";
                return Err(refuse(name.span().start, message));
            }
            name => name.map(Spanned::into_inner),
        };
        Ok(Place::Open { name, takes, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::manifest::Manifest;

    fn parse(text: &str) -> Result<BTreeMap<String, CommandGrant>, String> {
        let manifest = Manifest::parse("x.toml", text).map_err(|error| error.to_string())?;
        Ok(manifest.grants.command)
    }

    #[test]
    fn a_command_is_its_program_and_what_fits_it() {
        let commands = parse(
            r#"
            [grant.command.copy]
            program = "/usr/bin/rsync"
            sha256 = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
            arguments = ["-a", "--", { name = "from", pattern = "[a-z]+" }, { media = true, optional = true }, { pattern = "-.*", dash = true, rest = 3 }]
            environment = { LANG = "C.UTF-8" }
            directory = "/srv"
            timeout = "1h"
            stdin_bytes = "1KiB"
            output_bytes = 0
            jobs = 1
            cpu = "5m"
            memory = "1GiB"
            file_bytes = "2GiB"
            open_files = 64
            [grant.command.date]
            program = "/bin/date"
            "#,
        )
        .unwrap();
        let copy = &commands["copy"];
        assert_eq!((copy.arguments.len(), copy.timeout_ms, copy.jobs), (5, 3_600_000, 1));
        assert_eq!((copy.stdin_bytes, copy.output_bytes), (1024, 0));
        assert_eq!(copy.environment, [("LANG".to_owned(), "C.UTF-8".to_owned())]);
        let bounds = Bounds { cpu_ms: Some(300_000), memory_bytes: GIB, file_bytes: 2 * GIB, open_files: 64 };
        assert_eq!(copy.bounds, bounds);
        assert!(copy.sha256.is_some());
        let date = &commands["date"];
        assert_eq!((date.arguments.len(), date.environment.len(), date.stdin_bytes), (0, 0, 0));
        assert_eq!(parse("[grant]\ncommand = false\n").unwrap(), BTreeMap::new());
    }

    #[test]
    fn what_is_wrong_with_a_command_is_told_at_its_place() {
        let argument = |argument: &str| format!("[grant.command.a]\nprogram = \"/a\"\narguments = [{argument}]\n");
        for (text, place, why) in [
            ("[grant]\ncommand = true\n".to_owned(), "2:11", "[grant.command.NAME]"),
            ("[grant.command.a]\ntimeout = \"1s\"\n".to_owned(), "1:1", "has no `program`"),
            ("[grant.command.a]\nprogram = \"a\"\n".to_owned(), "2:11", "absolute path"),
            ("[grant.command.a]\nprogramm = \"/a\"\n".to_owned(), "2:1", "did you mean `program`?"),
            ("[grant.command.A_b]\nprogram = \"/a\"\n".to_owned(), "1:16", "not a command's name"),
            ("[grant.command.a]\nprogram = \"/a\"\njobs = 0\n".to_owned(), "3:8", "between 1 and 1024"),
            ("[grant.command.a]\nprogram = \"/a\"\nsha256 = \"1\"\n".to_owned(), "3:10", "64 hexadecimal"),
            ("[grant.command.a]\nprogram = \"/a\"\nenvironment = { \"a=b\" = \"\" }\n".to_owned(), "3:17", "no `=`"),
            (argument("1"), "3:14", "a fixed word, or a table"),
            (argument("{}"), "3:14", "a fixed word, or a table"),
            (argument("{ pattern = \"a\", media = true }"), "3:14", "a fixed word, or a table"),
            (argument("{ pattern = \"(\" }"), "3:26", "unclosed group"),
            (argument("{ pattern = \"-a\" }"), "3:26", "`dash = true`"),
            (argument("{ media = true, dash = true }"), "3:14", "`dash` goes with `pattern`"),
            (argument("{ patern = \"a\" }"), "3:16", "did you mean `pattern`?"),
            (argument("{ pattern = \"a\", rest = 257 }"), "3:38", "between 1 and 256"),
            (argument("{ pattern = \"a\", rest = 2 }, \"x\", { media = true }"), "3:48", "`rest` is the last one"),
            (argument("{ pattern = \"a\", optional = true }, { media = true }"), "3:50", "optional, all are"),
        ] {
            let message = parse(&text).unwrap_err();
            assert!(message.starts_with(&format!("x.toml:{place}: ")) && message.contains(why), "{text}: {message}");
        }
    }
}
