//! `taskhost plugin test`

mod show;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::show::{Sheet, Teller};
use super::announce;
use crate::cli::signals::Signals;
use crate::cli::{ConfigFile, Exit, complain, config, print};
use crate::config::{Config, Flags};
use crate::host::rehearsal::{Performed, Rehearsal, Setup};
use crate::host::this_program;
use crate::task::{NewTask, Outcome, State};

/// Calls of a dispatcher at most.
const MAX_CALLS: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TestArguments {
    /// The component; its manifest is the file beside it with the extension `toml`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The kind of the task; may be left out when the plugin has one only
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// The task's input: JSON, or @FILE. A text that is the name of a file in --media stands for its id
    #[arg(long, value_name = "JSON", default_value = "null")]
    input: String,
    /// A folder whose files are the media library
    #[arg(long, value_name = "DIR")]
    media: Option<PathBuf>,
    /// Where files that the task makes are kept; without it they are only listed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A JSON file of what the plugin keeps (grant `state`): read first, written in the end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How often the task is tried; waiting in between is skipped. Of a dispatcher: how often it is asked
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    attempts: u32,
    /// Ask the dispatcher for tasks
    #[arg(long, conflicts_with_all = ["kind", "input", "out"])]
    dispatch: bool,
    /// Tasks that the dispatcher is asked for
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "dispatch")]
    limit: u32,
    /// One JSON document in the end in place of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs one task, or one pass of a dispatcher, without a server.
pub(in crate::cli) fn test(arguments: TestArguments) -> Exit {
    let mut loaded = match config::load(arguments.config.config.clone(), Flags::default()) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    loaded.config.plugins.compiler = Some(this_program());
    loaded.config.plugins.dev = true;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start threads: {error}")),
    };
    match runtime.block_on(rehearse(&loaded.config, arguments)) {
        Ok(exit) => exit,
        Err(error) => failed(&format!("{error:#}")),
    }
}

fn failed(text: &str) -> Exit {
    complain(text);
    Exit::Failed
}

async fn rehearse(config: &Config, arguments: TestArguments) -> anyhow::Result<Exit> {
    let teller = Arc::new(Teller::new(!arguments.json));
    let input = if arguments.dispatch { Value::Null } else { read_input(&arguments.input)? };
    let setup = Setup { file: arguments.file.clone(), media: arguments.media.clone(), state: arguments.state.clone() };
    if !arguments.json {
        announce(&arguments.file);
    }
    let listener = Arc::clone(&teller);
    let rehearsal = Rehearsal::open(config, setup, Arc::new(move |told| listener.hear(told))).await?;
    teller.introduce(&rehearsal);
    let done = if arguments.dispatch {
        dispatch(&rehearsal, &teller, &arguments).await
    } else {
        perform(&rehearsal, &teller, &arguments, input).await
    };
    let exit = done.map(|(exit, sheet)| {
        if arguments.json {
            print(&format!("{sheet}\n"));
        }
        exit
    });
    rehearsal.close().await;
    exit
}

fn read_input(given: &str) -> anyhow::Result<Value> {
    let (text, origin) = match given.strip_prefix('@') {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("cannot read {path}: {error}"))?;
            (text, path)
        }
        None => (given.to_owned(), "--input"),
    };
    serde_json::from_str(&text).map_err(|error| anyhow::anyhow!("{origin} is not JSON: {error}"))
}

/// Names of files become their ids.
fn with_ids(mut input: Value, media: &[(String, String)]) -> Value {
    match &mut input {
        Value::String(text) => {
            if let Some((_, id)) = media.iter().find(|(name, _)| name == text) {
                text.clone_from(id);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = with_ids(item.take(), media)),
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = with_ids(field.take(), media)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    input
}

async fn perform(
    rehearsal: &Rehearsal,
    teller: &Teller,
    arguments: &TestArguments,
    input: Value,
) -> anyhow::Result<(Exit, Sheet)> {
    let kinds: Vec<_> = rehearsal.info().kinds.into_iter().map(|kind| kind.name).collect();
    let kind = match (&arguments.kind, kinds.as_slice()) {
        (Some(kind), _) => kind.clone(),
        (None, [only]) => only.clone(),
        (None, []) => anyhow::bail!("the plugin executes nothing; a dispatcher is tried with --dispatch"),
        (None, several) => anyhow::bail!("--kind says which of its kinds: {}", several.join(", ")),
    };
    let input = with_ids(input, rehearsal.media()).to_string();
    let task = NewTask { max_attempts: arguments.attempts, ..NewTask::new(kind, input) };
    let (stop, _signals) = stop_by_signal()?;
    let performed = rehearsal.perform(task, arguments.attempts, arguments.out.as_deref(), stop).await?;
    teller.conclude(&performed);
    Ok((exit(&performed), teller.sheet(rehearsal, &performed)))
}

/// The first signal asks the guest to stop; the second ends the process. Signals are heard as long as the handle lives.
fn stop_by_signal() -> anyhow::Result<(CancellationToken, AbortOnDropHandle<()>)> {
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let hearing = tokio::runtime::Handle::current().spawn(async move {
        signals.next().await;
        asked.cancel();
        std::process::exit(signals.next().await.code().into());
    });
    Ok((stop, AbortOnDropHandle::new(hearing)))
}

fn exit(performed: &Performed) -> Exit {
    match (&performed.task.status.state, performed.last.as_ref().map(|last| &last.outcome)) {
        (State::Succeeded { .. }, _) => Exit::Done,
        (_, Some(Outcome::Crashed(_))) => Exit::Crashed,
        (State::Queued { .. }, _) | (_, Some(Outcome::Retry { .. })) => Exit::TryAgain,
        (State::Failed { .. } | State::Cancelled { .. } | State::Running { .. } | State::Waiting, _) => {
            Exit::TaskFailed
        }
    }
}

async fn dispatch(rehearsal: &Rehearsal, teller: &Teller, arguments: &TestArguments) -> anyhow::Result<(Exit, Sheet)> {
    let mut cursor = None;
    let mut batches = Vec::new();
    for _ in 0..arguments.attempts.min(MAX_CALLS) {
        let batch = rehearsal.dispatch(arguments.limit, cursor.take()).await?;
        teller.batch(&batch);
        cursor.clone_from(&batch.cursor);
        let more = batch.more;
        batches.push(batch);
        if !more {
            break;
        }
    }
    Ok((Exit::Done, teller.passes(rehearsal, &batches)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{read_input, with_ids};

    #[test]
    fn names_of_files_stand_for_their_ids_wherever_they_are() {
        let media = [("a.mp4".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        let input = json!({ "media": "a.mp4", "all": ["b", "c", { "x": "a.mp4" }], "b": 1 });
        assert_eq!(with_ids(input, &media), json!({ "media": "1", "all": ["2", "c", { "x": "1" }], "b": 1 }));
    }

    #[test]
    fn an_input_is_given_as_it_is_or_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input.json");
        std::fs::write(&path, "{\"a\": 1}").unwrap();
        assert_eq!(read_input("[1]").unwrap(), json!([1]));
        assert_eq!(read_input(&format!("@{}", path.display())).unwrap(), json!({ "a": 1 }));
        assert!(read_input("{a}").unwrap_err().to_string().starts_with("--input is not JSON"));
        assert!(read_input("@/nowhere").unwrap_err().to_string().contains("cannot read /nowhere"));
    }
}
