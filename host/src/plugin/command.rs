//! Commands that an operator has named: what may be run, and which arguments fit.

mod place;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use self::place::{Pattern, Place};
use super::ports::Argument;
use crate::task::Digest;

/// Arguments that a guest may give at most, and the bytes of one.
const MAX_ARGUMENTS: usize = 512;
const MAX_ARGUMENT_BYTES: usize = 8 * 1024;

/// One command that a plugin may run: `[grant.command.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandGrant {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// SHA-256 of the program's file: nothing else is run.
    pub sha256: Option<Digest>,
    /// What follows the program, in order.
    pub arguments: Vec<Place>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    pub directory: PathBuf,
    /// Wall time of one run, in milliseconds.
    pub timeout_ms: u64,
    /// Bytes that a guest may hand over as standard input.
    pub stdin_bytes: u64,
    /// Bytes that are kept of the end of each output stream.
    pub output_bytes: u64,
    /// Runs at the same time.
    pub jobs: u32,
    /// What the operating system lets it use.
    pub bounds: Bounds,
}

/// What the operating system lets each process of a command use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// CPU time, in milliseconds; what all cores do within the timeout when absent.
    pub cpu_ms: Option<u64>,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// The largest file that it may write, in bytes.
    pub file_bytes: u64,
    /// Open files.
    pub open_files: u32,
}

impl Default for CommandGrant {
    fn default() -> Self {
        const KIB: u64 = 1 << 10;
        const GIB: u64 = 1 << 30;
        Self {
            program: PathBuf::new(),
            sha256: None,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: "/".into(),
            timeout_ms: 10 * 60 * 1000,
            stdin_bytes: 0,
            output_bytes: 64 * KIB,
            jobs: 4,
            bounds: Bounds { cpu_ms: None, memory_bytes: 8 * GIB, file_bytes: 16 * GIB, open_files: 1024 },
        }
    }
}

impl CommandGrant {
    /// The whole list of arguments for what a guest gave, which fills the open places in order; or why it does not fit.
    pub(super) fn fit(&self, name: &str, given: Vec<String>) -> Result<Vec<Argument>, String> {
        if given.len() > MAX_ARGUMENTS {
            return Err(format!("{} arguments, at most {MAX_ARGUMENTS} may be given", given.len()));
        }
        let count = given.len();
        let mut given = given.into_iter().enumerate().peekable();
        let mut fitted = Vec::with_capacity(self.arguments.len());
        for place in &self.arguments {
            if let Some(word) = &place.word {
                fitted.push(Argument::Text(word.clone()));
                continue;
            }
            let (least, most) = place.bounds();
            for taken in 0..most {
                let Some((index, value)) = given.next() else {
                    if taken >= least {
                        break;
                    }
                    return Err(format!("{} is missing: {}", place.call(count), self.usage(name)));
                };
                fitted.push(place.take(value).map_err(|why| format!("{}: {why}", place.call(index)))?);
            }
        }
        match given.next() {
            None => Ok(fitted),
            Some((index, _)) => {
                let room = if index == 0 { "no argument".to_owned() } else { format!("only {index} of them") };
                Err(format!("{count} arguments are given, but there is a place for {room}: {}", self.usage(name)))
            }
        }
    }

    /// `the command takes: backup SOURCE [TARGET]`.
    fn usage(&self, name: &str) -> String {
        let places = self.arguments.iter().filter_map(Place::shown).map(|shown| format!(" {shown}"));
        format!("the command takes `{name}{}`; fixed words are not given", places.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(word: &str) -> Place {
        Place { word: Some(word.to_owned()), ..Place::default() }
    }

    fn text(pattern: &str) -> Place {
        Place { name: Some("any".to_owned()), pattern: Some(Pattern::new(pattern)), ..Place::default() }
    }

    fn media() -> Place {
        Place { name: Some("input".to_owned()), media: true, ..Place::default() }
    }

    fn grant(arguments: Vec<Place>) -> CommandGrant {
        CommandGrant { arguments, ..CommandGrant::default() }
    }

    fn fit(grant: &CommandGrant, given: &[&str]) -> Result<Vec<String>, String> {
        let fitted = grant.fit("c", given.iter().map(|given| (*given).to_owned()).collect())?;
        Ok(fitted.into_iter().map(|argument| format!("{argument:?}")).collect())
    }

    #[test]
    fn places_are_filled_in_order_around_the_fixed_words() {
        let grant = grant(vec![
            word("-v"),
            Place { name: Some("level".to_owned()), ..text("[0-9]+") },
            word("--"),
            Place { optional: true, ..media() },
            Place { name: Some("more".to_owned()), rest: Some(2), ..text("[a-z]*") },
        ]);
        assert_eq!(fit(&grant, &["3"]).unwrap(), [r#"Text("-v")"#, r#"Text("3")"#, r#"Text("--")"#]);
        let whole = fit(&grant, &["3", "id", "", "b"]).unwrap();
        assert_eq!(whole[3..], [r#"Media("id")"#, r#"Text("")"#, r#"Text("b")"#]);
        let usage = "the command takes `c LEVEL [INPUT] [MORE…]`; fixed words are not given";
        assert_eq!(fit(&grant, &[]).unwrap_err(), format!("argument 1 (LEVEL) is missing: {usage}"));
        let many = "5 arguments are given, but there is a place for only 4 of them";
        assert_eq!(fit(&grant, &["3", "id", "a", "b", "c"]).unwrap_err(), format!("{many}: {usage}"));
        let none = self::grant(vec![word("x")]);
        assert!(fit(&none, &["x"]).unwrap_err().contains("there is a place for no argument: the command takes `c`;"));
    }

    #[test]
    fn an_argument_cannot_become_an_option_a_line_or_a_second_argument() {
        let any = grant(vec![text("[^/]*")]);
        for (given, why) in [
            ("-x", "begins with a dash"),
            ("--", "begins with a dash"),
            ("a\nb", "control character"),
            ("a\0b", "control character"),
            ("a\rb", "control character"),
            ("a\u{85}b", "control character"),
            ("a/b", "does not match"),
        ] {
            let refused = fit(&any, &[given]).unwrap_err();
            assert!(refused.starts_with("argument 1 (ANY): ") && refused.contains(why), "{given:?}: {refused}");
            assert!(!refused.contains('\n') && !refused.contains('\0'), "{refused:?}");
        }
        assert!(fit(&any, &["a b; $(c) `d` *"]).is_ok(), "there is no shell");
        assert!(fit(&any, &["–"]).is_ok(), "an en dash is no dash");
        assert!(fit(&any, &[&"x".repeat(MAX_ARGUMENT_BYTES + 1)]).unwrap_err().contains("8193 bytes"));
        assert!(fit(&any, &["x"; MAX_ARGUMENTS + 1]).unwrap_err().contains("at most 512"));
        // Patterns cover the whole argument, whatever they are made of.
        let both = grant(vec![text("a|b")]);
        assert!(fit(&both, &["a"]).is_ok() && fit(&both, &["ac"]).is_err() && fit(&both, &["cb"]).is_err());
        let lines = grant(vec![text("(?m)^a$")]);
        assert!(fit(&lines, &["a"]).is_ok() && fit(&lines, &["a\nb"]).is_err());
        let dashed = grant(vec![Place { dash: true, ..text("-[0-9]") }]);
        assert!(fit(&dashed, &["-9"]).is_ok() && fit(&dashed, &["-x"]).is_err());
        let media = grant(vec![media()]);
        assert!(fit(&media, &["../../etc/passwd"]).is_ok(), "an id that nobody has");
        assert!(fit(&media, &[&"x".repeat(129)]).is_err() && fit(&media, &[""]).is_err());
    }
}
