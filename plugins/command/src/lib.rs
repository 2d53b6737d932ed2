//! Executes `command.run`: runs a program that the operator has named, with arguments that fit.
//!
//! The host does what matters: it knows the programs, checks the arguments, ends the whole tree of processes, and writes
//! what they print to the task's log as it comes. This plugin says what an exit code means.

mod settings;
mod timeout;

use std::time::Instant;

use serde::{Deserialize, Serialize};
use settings::{OnFailure, Settings};
use taskhost_sdk::command::{self, Command};
use taskhost_sdk::{Context, Descriptor, Executor, Failure, Kind, Plugin, TaskError, config};
use timeout::Timeout;

/// Bytes of each stream in the details of a failure, which are bounded as a whole.
const DETAIL_BYTES: usize = 2 * 1024;

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct CommandRun;

impl Plugin for CommandRun {
    fn describe() -> Descriptor {
        let kind = Kind::new("command.run", "Runs a command that the operator has named")
            .input(include_str!("input.schema.json"))
            .output(include_str!("output.schema.json"));
        Descriptor::new("command", env!("CARGO_PKG_VERSION"), "Runs commands").with(kind)
    }

    fn validate_config(config: &[(String, String)]) -> Result<(), Vec<Failure>> {
        Settings::read(config).map(drop)
    }
}

/// What to run. The schema beside this file says the same to those who create tasks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    command: String,
    #[serde(default)]
    arguments: Vec<String>,
    stdin: Option<String>,
    timeout: Option<Timeout>,
    #[serde(default = "zero")]
    success_codes: Vec<i32>,
    on_failure: Option<OnFailure>,
}

fn zero() -> Vec<i32> {
    vec![0]
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    command: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    stdout: String,
    stderr: String,
    truncated: bool,
    duration_ms: u64,
}

impl Executor for CommandRun {
    type Input = Input;
    type Output = Output;

    fn execute(input: Input, _: &Context) -> Result<Output, TaskError> {
        let settings = Settings::read(&config::all()).unwrap_or_default();
        let on_failure = input.on_failure.unwrap_or(settings.on_failure);
        let name = input.command;
        let mut command = Command::new(&name).arguments(input.arguments);
        if let Some(stdin) = input.stdin {
            command = command.stdin(stdin);
        }
        if let Some(Timeout(timeout)) = input.timeout {
            command = command.timeout(timeout);
        }
        let began = now();
        let done = command.run().map_err(|error| refused(&name, on_failure, error))?;
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let output = output(name, done, duration_ms, settings.tail_bytes);
        if output.exit_code.is_some_and(|code| input.success_codes.contains(&code)) {
            return Ok(output);
        }
        Err(on_failure.error(failure(output)))
    }
}

#[expect(clippy::disallowed_methods, reason = "a plugin has its own clock, and its attempt measures itself")]
fn now() -> Instant {
    Instant::now()
}

/// Why it was not run to its end. What the client chose is the client's to mend.
fn refused(name: &str, on_failure: OnFailure, error: command::Error) -> TaskError {
    match error {
        command::Error::UnknownCommand(why) => TaskError::invalid_input("unknown-command", why),
        command::Error::BadArgument(why) => TaskError::invalid_input("bad-argument", why),
        command::Error::TimedOut => {
            on_failure.error(Failure::new("timed-out", format!("{name} was not done in time and was stopped")))
        }
        error @ (command::Error::Denied(_)
        | command::Error::Cancelled
        | command::Error::Limit(_)
        | command::Error::Unavailable(_)
        | command::Error::Other(_)) => error.into(),
    }
}

fn output(command: String, done: command::Output, duration_ms: u64, tail_bytes: usize) -> Output {
    let command::Output { exit_code, signal, stdout, stderr, mut truncated } = done;
    let mut tail = |bytes: &[u8]| {
        let (text, cut) = tail(&String::from_utf8_lossy(bytes), tail_bytes);
        truncated |= cut;
        text
    };
    let (stdout, stderr) = (tail(&stdout), tail(&stderr));
    Output { command, exit_code, signal, stdout, stderr, truncated, duration_ms }
}

/// The end of a text, and whether there was more.
fn tail(text: &str, bytes: usize) -> (String, bool) {
    let start = text.len().saturating_sub(bytes);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    (text[start..].to_owned(), start > 0)
}

/// An end that is no success, with the last line that says why.
fn failure(mut output: Output) -> Failure {
    let how = match (output.exit_code, output.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    };
    let last = |text: &str| text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    let why = last(&output.stderr).or_else(|| last(&output.stdout)).map(|line| format!(": {line}"));
    let message = format!("{} ended with {how}{}", output.command, why.unwrap_or_default());
    for stream in [&mut output.stdout, &mut output.stderr] {
        let (text, cut) = tail(stream, DETAIL_BYTES);
        *stream = text;
        output.truncated |= cut;
    }
    Failure { details: serde_json::to_string(&output).ok(), ..Failure::new("command-failed", message) }
}

taskhost_sdk::export!(CommandRun, executor);

#[cfg(test)]
mod tests {
    use super::*;

    fn done(exit_code: Option<i32>, stdout: &str, stderr: &str) -> command::Output {
        let (stdout, stderr) = (stdout.as_bytes().to_vec(), stderr.as_bytes().to_vec());
        command::Output { exit_code, signal: None, stdout, stderr, truncated: false }
    }

    #[test]
    fn the_end_of_each_stream_is_kept_at_a_character() {
        let kept = output("c".to_owned(), done(Some(0), "aäb", "err"), 5, 3);
        assert_eq!((kept.stdout.as_str(), kept.stderr.as_str(), kept.truncated), ("äb", "err", true));
        let kept = output("c".to_owned(), done(Some(0), "aäb", ""), 5, 2);
        assert_eq!(kept.stdout, "b", "never half a character");
        assert!(!output("c".to_owned(), done(Some(0), "aäb", ""), 5, 4).truncated);
    }

    #[test]
    fn a_failure_says_how_and_why() {
        let of = |done| failure(output("backup".to_owned(), done, 1, 100));
        let failed = of(done(Some(3), "started\n", "first\nno space left\n\n"));
        assert_eq!(
            (failed.code.as_str(), failed.message.as_str()),
            ("command-failed", "backup ended with exit code 3: no space left")
        );
        let details: serde_json::Value = serde_json::from_str(&failed.details.unwrap()).unwrap();
        assert_eq!((&details["exit_code"], &details["stdout"]), (&3.into(), &"started\n".into()));
        let killed = command::Output { signal: Some(9), ..done(None, "last words\n", "") };
        assert_eq!(of(killed).message, "backup ended with signal 9: last words");
        let silent = of(done(Some(1), "", ""));
        assert_eq!(silent.message, "backup ended with exit code 1");
        // What is escaped in JSON grows sixfold, and still fits into a failure's 64 KiB.
        let loud = of(done(Some(1), &"\u{1}".repeat(50_000), &"\u{1}".repeat(50_000)));
        assert!(loud.details.unwrap().len() < 64 * 1024);
    }

    #[test]
    fn what_the_client_chose_is_the_clients_mistake() {
        use command::Error;
        let error = |error| refused("c", OnFailure::Fatal, error);
        assert!(matches!(error(Error::BadArgument(String::new())), TaskError::InvalidInput(_)));
        assert!(matches!(error(Error::UnknownCommand(String::new())), TaskError::InvalidInput(_)));
        assert!(matches!(error(Error::TimedOut), TaskError::Fatal(_)));
        assert!(matches!(refused("c", OnFailure::Retry, Error::TimedOut), TaskError::Retry(_)));
        assert!(matches!(error(Error::Cancelled), TaskError::Cancelled));
        assert!(matches!(error(Error::Unavailable(String::new())), TaskError::Retry(_)));
    }
}
