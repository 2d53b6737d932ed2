//! Nothing of an attempt is left behind: no byte for the next one, no place, no memory, however it ends.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::time::Duration;

use super::bench::{Bench, hostile, job, text};
use crate::plugin::command::CommandGrant;
use crate::plugin::control::{Control, Directive};
use crate::plugin::limits::Limits;
use crate::plugin::link::{
    FfmpegGrant, Grants, HostPattern, HttpGrant, HttpRule, LibraryGrant, Linked, QueueGrant, StateGrant,
};
use crate::plugin::ports::LogSource;
use crate::task::Outcome;

/// Longer than anything here takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A guest that calls what it may, and how many calls that are, with a line in the log before each. The last one does
/// not return by itself.
struct Caller {
    linked: Arc<Linked>,
    calls: u32,
}

impl Caller {
    fn new(bench: &Bench, fixture: &str, grants: Grants) -> Self {
        let limits = Limits { cpu_ms: 60_000, ..Limits::default() };
        let linked = bench.link(&hostile(fixture), limits, grants).unwrap();
        // One more line before it spins; a file is three calls of which two are one function's.
        let text = String::from_utf8(text(&format!("hostile/{fixture}"))).unwrap();
        let (lines, files) = (text.matches("(call $line)").count(), text.matches("(call $add)").count());
        let calls = lines - 1 + 2 * files.saturating_sub(1);
        Self { linked, calls: u32::try_from(calls).unwrap() }
    }

    /// State, queue, library and ffmpeg; a cut is last.
    fn of_everything(bench: &Bench) -> Self {
        let grants = Grants {
            state: Some(StateGrant { quota_bytes: 1 << 20 }),
            queue: Some(QueueGrant { kinds: vec!["*".to_owned()], per_second: None, burst: None }),
            library: Some(LibraryGrant { add: false, write: true }),
            ffmpeg: Some(FfmpegGrant::default()),
            ..Grants::default()
        };
        Self::new(bench, "calls-everything", grants)
    }

    /// Files, a command and the web; a request is last.
    fn of_the_rest(bench: &Bench) -> Self {
        let host = HostPattern::parse("example.test").unwrap();
        let rule = HttpRule { host, methods: vec![http::Method::POST], ..HttpRule::default() };
        let tool = CommandGrant { program: "/bin/end".into(), ..CommandGrant::default() };
        let grants = Grants {
            library: Some(LibraryGrant { add: true, write: false }),
            command: [("tool".to_owned(), tool)].into(),
            http: HttpGrant { rules: vec![rule], ..HttpGrant::default() },
            ..Grants::default()
        };
        Self::new(bench, "calls-the-rest", grants)
    }

    fn all(bench: &Bench) -> [Self; 2] {
        [Self::of_everything(bench), Self::of_the_rest(bench)]
    }
}

/// Nothing of an attempt is there any more.
async fn nothing_is_left(bench: &Bench) {
    bench.all_places_are_free().await;
    assert_eq!(bench.sandbox.memory_used(), 0);
    assert_eq!(bench.recorder.files.load(Ordering::Relaxed), 0, "files");
    let all = async {
        // A request ends on a task of its own.
        while bench.recorder.cuts.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("something goes on in the host");
}

#[test]
fn everything_of_the_contract_is_called() {
    let frames = ["log", "context", "state"].map(|piece| format!("frame/{piece}.inc"));
    let fixtures = ["calls-everything.wat", "calls-the-rest.wat"].map(str::to_owned);
    let read = |path: &String| {
        std::fs::read_to_string(format!("{}/tests/fixtures/hostile/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let called: String = frames.iter().chain(&fixtures).map(read).collect();
    let contract = [
        include_str!("../../../../../wit/deps/host/host.wit"),
        include_str!("../../../../../wit/deps/media/media.wit"),
        include_str!("../../../../../wit/deps/exec/command.wit"),
    ];
    let mut functions = 0;
    for line in contract.iter().flat_map(|text| text.lines()) {
        let Some((name, _)) = line.trim().split_once(": func(").or_else(|| line.trim().split_once(": static func("))
        else {
            continue;
        };
        functions += 1;
        let is_called = called.contains(&format!(" \"{name}\")")) || called.contains(&format!(".{name}\")"));
        assert!(is_called, "no fixture calls `{name}`");
    }
    assert!(functions > 30, "{functions} functions only");
}

#[tokio::test]
async fn i7_no_byte_of_an_attempt_is_seen_by_the_next() {
    // Two memories each, so that there is one place for both plugins to take in turn.
    let bench = Bench::with(|settings| settings.max_instances = 2);
    let load = |name| bench.link(&hostile(name), Limits::default(), Grants::default()).unwrap();
    let (writes, looks) = (load("canary-writes"), load("canary-looks"));
    for round in 0..50 {
        let ends = bench.run(&writes).await;
        assert!(matches!(ends, Outcome::Succeeded { .. }), "{ends:?}");
        // The same plugin and another one.
        let found = bench.run(if round % 2 == 0 { &looks } else { &writes }).await;
        assert!(matches!(found, Outcome::Succeeded { .. }), "{found:?}");
        let found = bench.run(&looks).await;
        assert!(matches!(found, Outcome::Succeeded { .. }), "round {round}: {found:?}");
    }
    assert_eq!(bench.sandbox.memory_used(), 0);
}

#[tokio::test]
async fn an_attempt_that_is_cancelled_at_any_call_of_the_host_leaves_nothing() {
    let bench = Bench::with(|settings| settings.max_instances = 2);
    for Caller { linked, calls } in Caller::all(&bench) {
        for line in 0..=calls {
            let control = Arc::new(Control::default());
            bench.recorder.lines.lock().unwrap().clear();
            // Behind the last line it is cancelled while the call is under way.
            let last = Arc::new(Control::default());
            let at_line = if line < calls { (line, Arc::clone(&control)) } else { (calls - 1, Arc::clone(&last)) };
            *bench.recorder.at_line.lock().unwrap() = Some(at_line);
            let attempt = linked.execute(job("{}"), Arc::clone(&control), 60_000);
            let steer = async {
                if line == calls {
                    last.directed(|directive| directive == Directive::Cancel).await;
                    bench.recorder.cutting.notified().await;
                    control.direct(Directive::Cancel);
                }
            };
            let (outcome, ()) = tokio::join!(attempt, steer);
            // By itself, or by the host after the grace.
            assert!(matches!(outcome, Outcome::Cancelled | Outcome::Killed), "line {line}: {outcome:?}");
            nothing_is_left(&bench).await;
            let lines = bench.lines().iter().filter(|line| line.source == LogSource::Log).count();
            assert!(lines > usize::try_from(line.min(calls - 1)).unwrap(), "line {line}: {lines} calls only");
        }
    }
}

/// Polls a future until it has waited `waits` times, and drops it there. Whether it got that far.
async fn dropped_after<T>(future: impl Future<Output = T>, waits: u32) -> bool {
    let mut future = pin!(future);
    let mut left = waits;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if left == 0 => Poll::Ready(true),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn an_attempt_that_is_dropped_wherever_it_waits_leaves_nothing() {
    let bench = Bench::with(|settings| settings.max_instances = 2);
    for Caller { linked, calls } in Caller::all(&bench) {
        // Every call that may wait does.
        bench.recorder.waits.store(true, Ordering::Relaxed);
        let mut waits = 0;
        loop {
            let (attempt, last) = (Arc::clone(&linked), Arc::new(Control::default()));
            *bench.recorder.at_line.lock().unwrap() = Some((calls - 1, Arc::clone(&last)));
            // On the guests' own thread: there the attempt is no task of its own, and each of its waits is one of ours.
            let dropped = bench.sandbox.runtime().spawn(async move {
                tokio::select! {
                    biased;
                    dropped = dropped_after(attempt.execute(job("{}"), Arc::default(), 60_000), waits) => dropped,
                    // The last call runs until it is dropped: there is no later place.
                    _ = last.directed(|directive| directive == Directive::Cancel) => false,
                }
            });
            let dropped = dropped.await.unwrap();
            nothing_is_left(&bench).await;
            if !dropped {
                break;
            }
            waits += 1;
        }
        assert!(waits > 5, "{waits} waits only: the calls did not wait");
        // And it is as good as new.
        bench.recorder.waits.store(false, Ordering::Relaxed);
        let control = Arc::new(Control::default());
        control.direct(Directive::Cancel);
        let outcome = linked.execute(job("{}"), control, 60_000).await;
        assert!(matches!(outcome, Outcome::Cancelled | Outcome::Killed), "{outcome:?}");
    }
}
