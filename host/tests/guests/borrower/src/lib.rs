//! A plugin for tests. `borrow.ffmpeg` asks for one operation of ffmpeg, `borrow.queue` creates tasks, `borrow.nothing` does
//! nothing, `borrow.trouble` panics. What the host answers becomes the task's end, as the SDK has it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use taskhost_sdk::{Context, Descriptor, Executor, Kind, NewTask, Plugin, TaskError, ffmpeg, queue};

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct Borrower;

/// What is asked of ffmpeg.
#[derive(Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
enum Tool {
    Probe { media: String },
    Cut { media: String, end_ms: u64 },
    Transcode { media: String, preset: String },
    Concat { media: Vec<String> },
    ExtractAudio { media: String },
    Thumbnail { media: String },
}

/// Tasks of the kind `borrow.nothing`, whose inputs are `{"number": 0}`, `{"number": 1}` and so on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    tasks: u64,
    /// Of one call.
    at_once: u64,
    /// Wait as long as the host says when there were too many; fail otherwise.
    #[serde(default)]
    patient: bool,
}

impl Plugin for Borrower {
    fn describe() -> Descriptor {
        Descriptor::new("borrower", "1.0.0", "Asks the host for what its input says")
            .with(Kind::new("borrow.ffmpeg", "Asks for one operation of ffmpeg"))
            .with(Kind::new("borrow.queue", "Creates tasks"))
            .with(Kind::new("borrow.nothing", "Does nothing"))
            .with(Kind::new("borrow.trouble", "Panics"))
    }
}

impl Executor for Borrower {
    type Input = Box<RawValue>;
    type Output = Value;

    fn execute(input: Box<RawValue>, context: &Context) -> Result<Value, TaskError> {
        let wrong = |error: serde_json::Error| TaskError::invalid_input("bad-input", error.to_string());
        match context.task().kind.as_str() {
            "borrow.ffmpeg" => tool(serde_json::from_str(input.get()).map_err(wrong)?),
            "borrow.queue" => create(&serde_json::from_str(input.get()).map_err(wrong)?, context),
            "borrow.trouble" => Ok(ask_for_trouble(input.get())),
            _ => Ok(Value::Null),
        }
    }
}

/// Has a name of its own in a backtrace.
#[inline(never)]
fn ask_for_trouble(input: &str) -> Value {
    panic!("no such luck with {input}")
}

fn tool(tool: Tool) -> Result<Value, TaskError> {
    let media = match tool {
        Tool::Probe { media } => return Ok(json!({ "size": ffmpeg::probe(&media)?.size })),
        Tool::Cut { media, end_ms } => {
            let range = ffmpeg::Range { start: 0, end: end_ms };
            ffmpeg::cut(&media, range, ffmpeg::Accuracy::Exact, None)?
        }
        Tool::Transcode { media, preset } => ffmpeg::transcode(&media, &preset, None)?,
        Tool::Concat { media } => ffmpeg::concat(&media, None)?,
        Tool::ExtractAudio { media } => ffmpeg::extract_audio(&media, ffmpeg::AudioFormat::Wav, None)?,
        Tool::Thumbnail { media } => ffmpeg::thumbnail(&media, 0, ffmpeg::ImageFormat::Png, None)?,
    };
    Ok(json!({ "media": media }))
}

/// Answers for how long it was told to wait, each time.
fn create(wish: &Wish, context: &Context) -> Result<Value, TaskError> {
    let mut waits = Vec::new();
    let mut number = 0;
    while number < wish.tasks {
        let end = wish.tasks.min(number + wish.at_once.max(1));
        let tasks: Vec<_> =
            (number..end).map(|number| NewTask::new("borrow.nothing", &json!({ "number": number }))).collect();
        match queue::enqueue(&tasks) {
            Err(queue::Error::RateExceeded(after_ms)) if wish.patient => {
                waits.push(after_ms);
                context.sleep(Duration::from_millis(after_ms))?;
            }
            created => {
                created?;
                number = end;
            }
        }
    }
    Ok(json!({ "waits": waits }))
}

taskhost_sdk::export!(Borrower, executor);
