//! Opens sled in spite of what it does about damage.
//!
//! sled 1.0.0-alpha.124 asserts where it could answer an error, and an assertion in the middle of
//! an opening never returns: on its way out, the half-open database asks a flusher that was not
//! started yet to stop, and waits for its answer for ever. So the opening has a thread of its own,
//! and the panic is heard of before it unwinds.

use std::cell::RefCell;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::STACK_BYTES;

thread_local! {
    /// Who hears of a panic of this thread.
    static LISTENER: RefCell<Option<SyncSender<String>>> = const { RefCell::new(None) };
}

/// Runs `open` on a thread of its own. A panic there is an error here; its thread may stay behind.
pub(super) fn apart<T: Send + 'static>(open: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !tell(info) {
                usual(info);
            }
        }));
    });
    let (answer, answered) = sync_channel(1);
    let (listener, panicked) = sync_channel::<String>(1);
    let thread = std::thread::Builder::new().name("taskhost-store-open".to_owned()).stack_size(STACK_BYTES);
    let thread = thread.spawn(move || {
        LISTENER.set(Some(listener));
        let opened = open();
        // Nobody waits any more only when the opener has panicked.
        let _ = answer.send(opened);
        LISTENER.set(None);
    })?;
    // The listener goes away with the thread, or speaks; until then the database is being opened.
    if let Ok(panic) = panicked.recv() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, panic));
    }
    let ended = thread.join();
    let opened = answered.recv().map_err(|_| io::Error::other("the opening of the database panicked"));
    ended.map_err(|_| io::Error::other("the opening of the database panicked"))?;
    opened?
}

/// Whether somebody listens to this thread's panics.
fn tell(info: &PanicHookInfo<'_>) -> bool {
    let listener = LISTENER.try_with(RefCell::take).ok().flatten();
    let Some(listener) = listener else { return false };
    let text = info.payload_as_str().unwrap_or("an assertion failed");
    let line = text.lines().next().unwrap_or_default();
    let place = info.location().map_or_else(String::new, |at| format!(" ({}:{})", file_name(at.file()), at.line()));
    listener.try_send(format!("{line}{place}")).is_ok()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn an_opening_that_panics_and_never_returns_is_an_error() {
        struct Stuck;
        impl Drop for Stuck {
            fn drop(&mut self) {
                loop {
                    std::thread::park();
                }
            }
        }
        let error = apart(|| -> std::io::Result<()> {
            let _stuck = Stuck;
            panic!("no such {}\nmore", "leaf");
        });
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("no such leaf (apart.rs:"), "{text}");
        assert_eq!(apart(|| Ok(7)).unwrap(), 7);
        let error = apart(|| -> std::io::Result<()> { Err(std::io::ErrorKind::NotFound.into()) });
        assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
