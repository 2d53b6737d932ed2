//! Clears the library: finds trashed media whose grace has passed (dispatcher), and purges one of them a task
//! (executor of `video.clear`).
//!
//! One task each, so that a file that cannot be purged now is tried again without holding up the others.

use serde::{Deserialize, Serialize};
use serde_json::json;
use taskhost_sdk::{
    Batch, Context, Descriptor, Dispatcher, Executor, Failure, Kind, NewTask, Plugin, TaskError, library,
};

/// What `video.clear` executes.
const KIND: &str = "video.clear";

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct VideoClear;

impl Plugin for VideoClear {
    fn describe() -> Descriptor {
        let kind = Kind::new(KIND, "Deletes one trashed file for good")
            .input(include_str!("input.schema.json"))
            .output(include_str!("output.schema.json"));
        Descriptor::new("video-clear", env!("CARGO_PKG_VERSION"), "Purges trashed media after their grace").with(kind)
    }
}

impl Dispatcher for VideoClear {
    fn dispatch(limit: u32, cursor: Option<Vec<u8>>) -> Result<Batch, Failure> {
        // A cursor that another version left behind is no reason to stop: begin again.
        let after = cursor.and_then(|bytes| String::from_utf8(bytes).ok());
        let page = library::list_purgeable(after.as_deref(), limit).map_err(|error| failure(&error))?;
        Ok(batch(page))
    }
}

/// One task a file. The cursor is the last file of a page that has a next one; at the end there is none, so that
/// the next pass begins again and finds what was trashed meanwhile.
fn batch(page: library::Page) -> Batch {
    let next = page.next.filter(|_| !page.items.is_empty());
    let tasks = page.items.iter().map(|media| clear(&media.id)).collect();
    Batch { tasks, more: next.is_some(), cursor: next.map(String::into_bytes) }
}

/// A pass may see a file again while its task still waits: the key keeps it to one task.
fn clear(media: &str) -> NewTask {
    NewTask::new(KIND, &json!({ "media": media })).unique(format!("video-clear:{media}"))
}

/// Why a pass ended early.
fn failure(error: &library::Error) -> Failure {
    use library::Error;
    match error {
        Error::Denied(why) => Failure::new("denied", why),
        Error::Unavailable(why) => Failure::new("unavailable", why),
        Error::Other(why) => Failure::new("library-failed", why),
        Error::NotFound | Error::InUse | Error::TooLarge(_) | Error::QuotaExceeded(_) => {
            Failure::new("library-failed", format!("the library did not list purgeable files: {error:?}"))
        }
    }
}

/// Which file to purge.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    media: String,
}

/// Whether the file is gone now.
#[derive(Debug, PartialEq, Serialize)]
pub struct Output {
    purged: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Executor for VideoClear {
    type Input = Input;
    type Output = Output;

    fn execute(input: Input, _: &Context) -> Result<Output, TaskError> {
        settle(library::purge(&input.media))
    }
}

/// A file that is gone is what was wanted, and one that is in use again (restored meanwhile) is nobody's fault.
fn settle(purged: Result<(), library::Error>) -> Result<Output, TaskError> {
    match purged {
        Ok(()) | Err(library::Error::NotFound) => Ok(Output { purged: true, reason: None }),
        Err(library::Error::InUse) => {
            Ok(Output { purged: false, reason: Some("the file is in use: it was restored or is being read") })
        }
        Err(error) => Err(error.into()),
    }
}

taskhost_sdk::export!(VideoClear, dispatcher, executor);

#[cfg(test)]
mod tests {
    use super::{Output, TaskError, batch, library, settle};

    fn page(ids: &[&str], next: Option<&str>) -> library::Page {
        let media = |id: &&str| library::Media {
            id: (*id).to_owned(),
            name: "a.mp4".to_owned(),
            content_type: "video/mp4".to_owned(),
            size: 1,
            status: library::Status::Trashed,
            created_at: 0,
            purge_after: Some(1),
        };
        library::Page { items: ids.iter().map(media).collect(), next: next.map(str::to_owned) }
    }

    #[test]
    fn a_page_becomes_one_task_a_file_and_a_cursor() {
        let batch = batch(page(&["a", "b"], Some("b")));
        let tasks: Vec<_> = batch.tasks.iter().map(|t| (t.input.as_str(), t.unique_key.as_deref())).collect();
        let wanted = [(r#"{"media":"a"}"#, Some("video-clear:a")), (r#"{"media":"b"}"#, Some("video-clear:b"))];
        assert_eq!(tasks, wanted);
        assert_eq!((batch.cursor, batch.more), (Some(b"b".to_vec()), true));
    }

    #[test]
    fn the_last_page_leaves_no_cursor_so_that_the_next_pass_starts_over() {
        let last = batch(page(&["c"], None));
        assert_eq!((last.tasks.len(), last.cursor, last.more), (1, None, false));
        let empty = batch(page(&[], Some("c")));
        assert_eq!((empty.tasks.len(), empty.cursor, empty.more), (0, None, false), "an empty page ends the pass");
    }

    #[test]
    fn purging_is_idempotent_and_a_restored_file_is_left_alone() {
        let gone = Output { purged: true, reason: None };
        assert_eq!(settle(Ok(())).unwrap(), gone);
        assert_eq!(settle(Err(library::Error::NotFound)).unwrap(), gone);
        let kept = settle(Err(library::Error::InUse)).unwrap();
        assert!(!kept.purged && kept.reason.is_some());
        let denied = settle(Err(library::Error::Denied("x".to_owned())));
        assert!(matches!(denied, Err(TaskError::Fatal(_))));
        let later = settle(Err(library::Error::Unavailable("x".to_owned())));
        assert!(matches!(later, Err(TaskError::Retry(_))));
    }
}
