//! `[grant.command.NAME]`: programs that a plugin may run by name.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::plugin::command::{Bounds, CommandGrant, Pattern, Place};
use crate::plugin::manifest::SHA256;
use crate::plugin::manifest::table::{Conflict, Key, Table, Text, Words};
use crate::plugin::names;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const SECOND_MS: u64 = 1000;
const DAY_MS: u64 = 24 * 3600 * SECOND_MS;

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

const PATH: Words = Words::Like {
    what: "an absolute path such as \"/usr/bin/rsync\"",
    pattern: r"^/[^\x00]*$",
    fits: |path| Path::new(path).is_absolute() && !path.contains('\0'),
};
const NAME: Words = Words::Like {
    what: "the name of a place such as \"target\": a-z, 0-9 and -, not starting with a dash, at most 64",
    pattern: "^[a-z0-9][a-z0-9-]{0,63}$",
    fits: names::is_plugin,
};
const PATTERN: Words = Words::Read {
    what: "a regular expression such as \"[a-z]+\"",
    pattern: "",
    check: |text| Pattern::new(text).error().map_or(Ok(()), |why| Err(why.to_owned())),
};

impl Table for CommandGrant {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self {
            program,
            sha256,
            arguments,
            environment,
            directory,
            timeout_ms,
            stdin_bytes,
            output_bytes,
            jobs,
            bounds: Bounds { cpu_ms, memory_bytes, file_bytes, open_files },
        } = self;
        vec![
            Key::text("program", program, &PATH, "Absolute path of the program.").required(),
            Key::text("sha256", sha256, &SHA256, "SHA-256 of the program's file: nothing else is run."),
            Key::list("arguments", arguments, MAX_PLACES, "What follows the program: fixed words and open places."),
            Key::free("environment", environment, MAX_VARIABLES, "The whole environment."),
            Key::text("directory", directory, &PATH, "Working directory."),
            Key::millis("timeout", timeout_ms, TIMEOUT_MS, "Wall time of one run."),
            Key::bytes("stdin_bytes", stdin_bytes, STDIN_BYTES, "Standard input that may be handed over, at most."),
            Key::bytes("output_bytes", output_bytes, OUTPUT_BYTES, "What is kept of the end of each output stream."),
            Key::count("jobs", jobs, JOBS, "How many run at the same time."),
            Key::millis(
                "cpu",
                cpu_ms,
                CPU_MS,
                "CPU time of each process. All cores for the timeout when it is not said.",
            ),
            Key::bytes("memory", memory_bytes, MEMORY_BYTES, "Address space of each process."),
            Key::bytes("file_bytes", file_bytes, FILE_BYTES, "The largest file that a process may write."),
            Key::count("open_files", open_files, OPEN_FILES, "Open files of each process."),
        ]
    }

    /// That each argument can only belong to one place, and that the system takes what is said.
    fn check(&self) -> Result<(), Conflict> {
        let refuse = |key, message: &str| Err(Conflict { key, message: message.to_owned() });
        let wrong =
            |(name, value): (&String, &String)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
        if self.environment.iter().any(wrong) {
            return refuse("environment", "a variable of `environment` has no `=` in its name, and no NUL");
        }
        let mut before = None;
        for place in &self.arguments {
            if let Some(word) = &place.word {
                if word.contains('\0') {
                    return refuse("arguments", "an argument cannot contain NUL");
                }
                continue;
            }
            if before.is_some_and(|before: &Place| before.rest.is_some()) {
                return refuse("arguments", "a place with `rest` is the last one");
            }
            let always = place.rest.is_none() && !place.optional;
            if always && before.is_some_and(|before| before.optional) {
                return refuse("arguments", "after a place that is optional, all are");
            }
            before = Some(place);
        }
        Ok(())
    }
}

impl Table for Place {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { word: _, name, pattern, dash, media, optional, rest } = self;
        vec![
            Key::text("name", name, &NAME, "What messages call it."),
            Key::text("pattern", pattern, &PATTERN, "A regular expression that covers the whole argument."),
            Key::flag("dash", dash, "The argument may begin with a dash, and so be an option of the program."),
            Key::flag("media", media, "The id of a live file, which the program gets as a path."),
            Key::flag("optional", optional, "It may be left out, with all that follow."),
            Key::count("rest", rest, REST, "It takes none up to so many."),
        ]
    }

    fn word(&mut self) -> Option<&mut Option<String>> {
        Some(&mut self.word)
    }

    fn check(&self) -> Result<(), Conflict> {
        let refuse = |key, message: String| Err(Conflict { key, message });
        match &self.pattern {
            None if !self.media => {
                let message = "an argument's place is a fixed word, or a table with `pattern` or `media = true`";
                return refuse("", message.to_owned());
            }
            Some(_) if self.media => return refuse("media", "`pattern` and `media` exclude each other".to_owned()),
            None if self.dash => return refuse("dash", "`dash` goes with `pattern`".to_owned()),
            Some(pattern) if !self.dash && pattern.text().trim_start_matches('^').starts_with('-') => {
                let message = "the pattern begins with a dash: say `dash = true` if the argument may, too";
                return refuse("pattern", message.to_owned());
            }
            None | Some(_) => {}
        }
        if self.optional && self.rest.is_some() {
            return refuse("optional", "a place with `rest` is optional anyway".to_owned());
        }
        Ok(())
    }
}

impl Text for Option<Pattern> {
    fn get(&self) -> Option<String> {
        self.as_ref().map(|pattern| pattern.text().to_owned())
    }

    fn set(&mut self, value: &str) {
        *self = Some(Pattern::new(value));
    }
}

impl Text for PathBuf {
    fn get(&self) -> Option<String> {
        (!self.as_os_str().is_empty()).then(|| self.display().to_string())
    }

    fn set(&mut self, value: &str) {
        *self = value.into();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
        assert_eq!(copy.environment, BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]));
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
            ("[grant.command.a]\ntimeout = \"1s\"\n".to_owned(), "1:16", "`program` is missing"),
            ("[grant.command.a]\nprogram = \"a\"\n".to_owned(), "2:11", "absolute path"),
            ("[grant.command.a]\nprogramm = \"/a\"\n".to_owned(), "1:16", "did you mean `program`?"),
            ("[grant.command.A_b]\nprogram = \"/a\"\n".to_owned(), "1:16", "a command's name"),
            ("[grant.command.a]\nprogram = \"/a\"\njobs = 0\n".to_owned(), "3:8", "between 1 and 1024"),
            ("[grant.command.a]\nprogram = \"/a\"\nsha256 = \"1\"\n".to_owned(), "3:10", "64 hexadecimal"),
            ("[grant.command.a]\nprogram = \"/a\"\nenvironment = { \"a=b\" = \"\" }\n".to_owned(), "3:1", "no `=`"),
            (argument("1"), "3:14", "a string or a table"),
            (argument("{}"), "3:14", "a fixed word, or a table"),
            (argument("{ pattern = \"a\", media = true }"), "3:31", "exclude each other"),
            (argument("{ pattern = \"(\" }"), "3:26", "`pattern` is not usable: unclosed group; a regular"),
            (argument("{ pattern = \"a)|(b\" }"), "3:26", "unopened group"),
            (argument("{ pattern = \"(a{1000}){1000}\" }"), "3:26", "size limit"),
            (argument("{ pattern = \"-a\" }"), "3:16", "`dash = true`"),
            (argument("{ media = true, dash = true }"), "3:30", "`dash` goes with `pattern`"),
            (argument("{ patern = \"a\" }"), "3:16", "did you mean `pattern`?"),
            (argument("{ pattern = \"a\", rest = 257 }"), "3:38", "between 1 and 256"),
            (argument("{ pattern = \"a\", rest = 2 }, \"x\", { media = true }"), "3:1", "`rest` is the last one"),
            (argument("{ pattern = \"a\", optional = true }, { media = true }"), "3:1", "optional, all are"),
        ] {
            let message = parse(&text).unwrap_err();
            assert!(message.starts_with(&format!("x.toml:{place}: ")) && message.contains(why), "{text}: {message}");
        }
    }
}
