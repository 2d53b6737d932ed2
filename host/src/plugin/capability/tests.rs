//! What a guest is answered, asked the way that its component would ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::Store;

use crate::plugin::command::CommandGrant;
use crate::plugin::contract::{command, config, context, ffmpeg, library, queue, state, wire};
use crate::plugin::control::{Control, Directive};
use crate::plugin::guest::tests::bench::{Bench, text};
use crate::plugin::guest::{Guest, Purpose};
use crate::plugin::limits::Limits;
use crate::plugin::link::{FfmpegGrant, Grants, HttpGrant, LibraryGrant, QueueGrant, StateGrant};
use crate::plugin::manifest::Manifest;
use crate::task::{Source, TaskId};

struct Asked {
    bench: Bench,
    control: Arc<Control>,
    store: Store<Guest>,
}

fn task() -> TaskId {
    TaskId::from_u128(7)
}

fn asked(purpose: Purpose) -> Asked {
    let bench = Bench::new();
    let grants = Grants {
        state: Some(StateGrant { quota_bytes: 100 }),
        queue: Some(QueueGrant { kinds: vec!["ok".to_owned(), "other.*".to_owned()], per_second: None, burst: None }),
        library: Some(LibraryGrant { add: false, write: false }),
        ffmpeg: Some(FfmpegGrant::default()),
        command: commands(),
        http: HttpGrant::default(),
    };
    let linked = bench.link(&text("ok"), Limits::default(), grants).unwrap();
    let control = Arc::new(Control::default());
    let call = linked.code.call(purpose, control.clone(), 60_000);
    Asked { store: linked.code.store(call), bench, control }
}

/// `end` takes a word and ends at once, `never` takes nothing and does not end; each once at a time.
fn commands() -> BTreeMap<String, CommandGrant> {
    let text = "[grant.command.end]\nprogram = \"/end\"\nstdin_bytes = 4\njobs = 1\narguments = [\"-v\", { pattern = \".*\" }]\n\
                [grant.command.never]\nprogram = \"/never\"\njobs = 1\n";
    Manifest::parse("x.toml", text).unwrap().grants.command
}

fn executing() -> Asked {
    asked(Purpose::Execute { task: task(), attempt: 1 })
}

fn wish(kind: &str, input: &str) -> wire::NewTask {
    let (kind, input) = (kind.to_owned(), input.to_owned());
    wire::NewTask {
        kind,
        input,
        unique_key: None,
        priority: None,
        run_at: None,
        attributes: Vec::new(),
        queue: None,
        delay: None,
        deadline: None,
        timeout: None,
        max_attempts: None,
        backoff: None,
        unique: None,
    }
}

#[tokio::test]
async fn tasks_wait_in_the_outbox() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    queue::Host::enqueue(guest, vec![wish("ok", "{}"), wire::NewTask { priority: Some(9), ..wish("ok", "1") }])
        .unwrap();
    let kept: Vec<_> = guest.outbox.iter().map(|new| (&*new.input, new.priority)).collect();
    assert_eq!(kept, [("{}", 4), ("1", 9)]);
    assert_eq!(guest.outbox[0].source, Source::Task(task()));
}

#[tokio::test]
async fn a_wish_that_is_not_granted_or_wrong_leaves_the_outbox_as_it_is() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    let mut refused = |new| queue::Host::enqueue(guest, vec![wish("ok", "{}"), new]).unwrap_err();
    let denied = refused(wish("video.cut", "{}"));
    assert!(matches!(&denied, queue::Error::Denied(why) if why.contains("plugins/x.toml")), "{denied:?}");
    assert!(matches!(refused(wish("other.kind", "{}")), queue::Error::UnknownKind(_)));
    assert!(matches!(refused(wish("ok", "bad")), queue::Error::Invalid(_)));
    assert!(matches!(refused(wire::NewTask { priority: Some(10), ..wish("ok", "{}") }), queue::Error::Invalid(_)));
    assert!(guest.outbox.is_empty());
}

#[tokio::test]
async fn the_outbox_is_bounded() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    queue::Host::enqueue(guest, vec![wish("ok", "{}"); 1000]).unwrap();
    assert!(matches!(queue::Host::enqueue(guest, vec![wish("ok", "{}")]), Err(queue::Error::QuotaExceeded(1000))));
    let mut asked = executing();
    let big = vec![wish("ok", &"1".repeat(1 << 20)); 5];
    let refused = queue::Host::enqueue(asked.store.data_mut(), big);
    assert!(matches!(refused, Err(queue::Error::QuotaExceeded(4_194_304))), "{refused:?}");
}

#[tokio::test]
async fn state_is_kept_within_its_bounds() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    assert!(matches!(state::Host::set(guest, "k".to_owned(), vec![1], None).await, Ok(1)));
    assert_eq!(state::Host::get(guest, "k".to_owned()).await.unwrap().unwrap().value, [1]);
    assert_eq!(state::Host::scan(guest, String::new(), None, u32::MAX).await.unwrap().len(), 1);
    let over = state::Host::set(guest, "k".to_owned(), vec![0; 101], None).await;
    assert!(matches!(over, Err(state::Error::QuotaExceeded(100))));
    let large = state::Host::compare_and_set(guest, "k".to_owned(), None, vec![0; 256 * 1024 + 1], None).await;
    assert!(matches!(large, Err(state::Error::TooLarge(262_144))));
    assert!(matches!(state::Host::get(guest, "a\0b".to_owned()).await, Err(state::Error::InvalidKey(_))));
    assert!(state::Host::delete(guest, "k".to_owned()).await.unwrap());
}

#[tokio::test]
async fn the_library_is_read_in_pieces_and_changed_only_with_a_grant() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    assert_eq!(library::Host::read(guest, "m".to_owned(), 0, 8).await.unwrap().len(), 8);
    let large = library::Host::read(guest, "m".to_owned(), 0, (1 << 20) + 1).await;
    assert!(matches!(large, Err(library::Error::TooLarge(1_048_576))));
    let denied = library::Host::trash(guest, "m".to_owned()).await.unwrap_err();
    assert!(matches!(&denied, library::Error::Denied(why) if why.contains("write = true")), "{denied:?}");
}

#[tokio::test]
async fn a_conflict_of_the_library_is_a_typed_answer() {
    let bench = Bench::new();
    let grants = Grants { library: Some(LibraryGrant { add: false, write: true }), ..Grants::default() };
    let linked = bench.link(&text("ok"), Limits::default(), grants).unwrap();
    let mut store = linked.code.store(linked.code.call(Purpose::Dispatch, Arc::default(), 1000));
    library::Host::trash(store.data_mut(), "m".to_owned()).await.unwrap();
    assert!(matches!(library::Host::purge(store.data_mut(), "m".to_owned()).await, Err(library::Error::InUse)));
}

#[tokio::test]
async fn a_cut_reports_and_ends_when_it_is_cancelled() {
    let Asked { bench, control, mut store } = executing();
    let range = ffmpeg::Range { start: 0, end: 1000 };
    let cut = ffmpeg::Host::cut(store.data_mut(), "m".to_owned(), range, ffmpeg::Accuracy::Exact, None);
    let cancel = async {
        bench.recorder.cutting.notified().await;
        let progress = control.progress().unwrap();
        assert_eq!((progress.done, progress.total, &*progress.unit), (40, Some(100), "percent"));
        control.direct(Directive::Cancel);
    };
    let (end, ()) = tokio::join!(cut, cancel);
    assert!(matches!(end, Err(ffmpeg::Error::Cancelled)), "{end:?}");
    assert_eq!(*bench.recorder.cuts_dropped.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_cut_ends_before_the_deadline() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    guest.call.deadline = tokio::time::Instant::now();
    let range = ffmpeg::Range { start: 0, end: 1000 };
    let end = ffmpeg::Host::cut(guest, "m".to_owned(), range, ffmpeg::Accuracy::Keyframe, None).await;
    assert!(matches!(end, Err(ffmpeg::Error::TimedOut)), "{end:?}");
}

#[tokio::test]
async fn what_ffmpeg_cannot_do_is_a_typed_answer() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    let backwards = ffmpeg::Range { start: 5, end: 5 };
    let end = ffmpeg::Host::cut(guest, "m".to_owned(), backwards, ffmpeg::Accuracy::Exact, None).await;
    assert!(matches!(end, Err(ffmpeg::Error::BadInput(_))));
    assert!(matches!(ffmpeg::Host::probe(guest, "m".to_owned()).await, Err(ffmpeg::Error::NotFound)));
    assert!(matches!(ffmpeg::Host::concat(guest, vec!["m".to_owned()], None).await, Err(ffmpeg::Error::BadInput(_))));
    let long = Some("n".repeat(256));
    let end = ffmpeg::Host::extract_audio(guest, "m".to_owned(), ffmpeg::AudioFormat::Mp3, long).await;
    assert!(matches!(end, Err(ffmpeg::Error::BadInput(_))));
}

#[tokio::test]
async fn what_of_ffmpeg_is_not_granted_is_denied_with_the_line_that_would() {
    let bench = Bench::new();
    let text = "[grant]\nffmpeg = { operations = [\"transcode\", \"cut\"], presets = [\"web\"], jobs = 1 }\n\
                queue = { per_second = 1, burst = 2 }\n";
    let grants = Manifest::parse("x.toml", text).unwrap().grants;
    let linked = bench.link(&self::text("ok"), Limits::default(), grants).unwrap();
    let purpose = Purpose::Execute { task: task(), attempt: 1 };
    let mut store = linked.code.store(linked.code.call(purpose, Arc::default(), 60_000));
    let guest = store.data_mut();
    let denied = |end: Result<String, ffmpeg::Error>| match end {
        Err(ffmpeg::Error::Denied(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = denied(ffmpeg::Host::concat(guest, vec!["m".to_owned(); 2], None).await);
    assert!(why.ends_with("add \"concat\" to `operations` of `ffmpeg` under [grant] in plugins/x.toml"), "{why}");
    let preset = "4k".to_owned();
    let why = denied(ffmpeg::Host::transcode(guest, "m".to_owned(), preset, None).await);
    assert!(why.contains("the preset \"4k\": add it to `presets`"), "{why}");
    let granted = ffmpeg::Host::transcode(guest, "m".to_owned(), "web".to_owned(), None).await;
    assert!(matches!(granted, Err(ffmpeg::Error::Unsupported(_))), "as far as the port: {granted:?}");

    // A wish that is refused counts as nothing, and what fits counts whatever becomes of the attempt.
    assert!(queue::Host::enqueue(guest, vec![wish("ok", "bad")]).is_err());
    let large = queue::Host::enqueue(guest, vec![wish("ok", "{}"); 3]);
    assert!(matches!(large, Err(queue::Error::QuotaExceeded(2))), "{large:?}");
    queue::Host::enqueue(guest, vec![wish("ok", "{}"); 2]).unwrap();
    let over = queue::Host::enqueue(guest, vec![wish("ok", "{}"); 2]);
    assert!(matches!(over, Err(queue::Error::RateExceeded(1..=2_000))), "{over:?}");
    assert_eq!(guest.outbox.len(), 2);
}

async fn run(
    guest: &mut Guest,
    name: &str,
    arguments: &[&str],
    stdin: &[u8],
) -> Result<command::Output, command::Error> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    command::Host::run(guest, name.to_owned(), arguments, Some(stdin.to_vec()), None).await
}

#[tokio::test]
async fn a_command_gets_what_fits_and_its_output_is_logged() {
    let Asked { bench, mut store, .. } = executing();
    let guest = store.data_mut();
    let done = run(guest, "end", &["x y"], b"in").await.unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), r#"/end Text("-v") Text("x y")in"#);
    assert_eq!(bench.lines()[0].message, r#"/end Text("-v") Text("x y")"#);
    for (arguments, why) in [(&["-x"][..], "begins with a dash"), (&[], "is missing"), (&["a", "b"], "2 arguments")] {
        let refused = run(guest, "end", arguments, b"").await.unwrap_err();
        assert!(matches!(&refused, command::Error::BadArgument(text) if text.contains(why)), "{refused:?}");
    }
    let unknown = run(guest, "sh", &[], b"").await.unwrap_err();
    let remedy = "only end, never: write [grant.command.sh] with its `program` in plugins/x.toml";
    assert!(matches!(&unknown, command::Error::UnknownCommand(text) if text.ends_with(remedy)), "{unknown:?}");
    let large = run(guest, "end", &["a"], b"12345").await.unwrap_err();
    assert!(matches!(&large, command::Error::Limit(text) if text.contains("stdin_bytes")), "{large:?}");
}

#[tokio::test]
async fn a_command_ends_with_its_attempt_and_makes_room() {
    let Asked { bench, control, mut store } = executing();
    let cancel = async {
        bench.recorder.cutting.notified().await;
        control.direct(Directive::Cancel);
    };
    let (end, ()) = tokio::join!(run(store.data_mut(), "never", &[], b""), cancel);
    assert!(matches!(end, Err(command::Error::Cancelled)), "{end:?}");
    assert_eq!(*bench.recorder.cuts_dropped.lock().unwrap(), 1);
    // One that waits for its turn is ended, too.
    let gate = Arc::clone(&bench.sandbox.shared.gate);
    let turn = gate.enter("x/end".to_owned(), 1).await;
    let end = run(store.data_mut(), "end", &["a"], b"").await;
    assert!(matches!(end, Err(command::Error::Cancelled)), "{end:?}");
    drop(turn);
    let mut asked = executing();
    asked.store.data_mut().call.deadline = tokio::time::Instant::now();
    let end = run(asked.store.data_mut(), "never", &[], b"").await;
    assert!(matches!(end, Err(command::Error::TimedOut)), "{end:?}");
}

#[tokio::test]
async fn nothing_works_while_a_plugin_describes_itself() {
    let mut asked = asked(Purpose::Describe);
    let guest = asked.store.data_mut();
    assert!(matches!(queue::Host::enqueue(guest, vec![wish("ok", "{}")]), Err(queue::Error::Denied(_))));
    assert!(matches!(state::Host::get(guest, "k".to_owned()).await, Err(state::Error::Denied(_))));
    assert!(matches!(library::Host::get(guest, "m".to_owned()).await, Err(library::Error::Denied(_))));
    assert!(matches!(ffmpeg::Host::probe(guest, "m".to_owned()).await, Err(ffmpeg::Error::Denied(_))));
    assert!(matches!(run(guest, "end", &["a"], b"").await, Err(command::Error::Denied(_))));
    assert!(config::Host::all(guest).is_empty());
}

#[tokio::test]
async fn a_dispatcher_has_settings_but_no_outbox_and_no_checkpoint() {
    let mut asked = asked(Purpose::Dispatch);
    let guest = asked.store.data_mut();
    assert_eq!(config::Host::get(guest, "key".to_owned()).as_deref(), Some("value"));
    assert_eq!(config::Host::get(guest, "none".to_owned()), None);
    assert!(matches!(queue::Host::enqueue(guest, vec![wish("ok", "{}")]), Err(queue::Error::Denied(_))));
    let saved = context::Host::save_checkpoint(guest, vec![1]).await;
    assert!(matches!(saved, Err(context::CheckpointError::Unavailable(_))));
    assert!(context::Host::remaining(guest).unwrap() > 0);
}

#[tokio::test]
async fn a_report_tells_the_host_and_the_guest() {
    let Asked { control, mut store, .. } = executing();
    let progress = wire::Progress { done: 1, total: None, unit: "u".repeat(100), message: Some("m".repeat(1000)) };
    assert_eq!(context::Host::report(store.data_mut(), Some(progress)), context::Directive::Proceed);
    let kept = control.progress().unwrap();
    assert_eq!((kept.unit.len(), kept.message.unwrap().len()), (32, 256));
    control.direct(Directive::Yield);
    assert_eq!(context::Host::report(store.data_mut(), None), context::Directive::Yield);
    assert_eq!(store.data().told, Directive::Yield);
    // Already asked: it does not sleep over it.
    // tidy: the guest's own call, which must return at once.
    assert_eq!(context::Host::sleep(store.data_mut(), u64::MAX).await, context::Directive::Yield);
    let saved = context::Host::save_checkpoint(store.data_mut(), vec![0; (1 << 20) + 1]).await;
    assert!(matches!(saved, Err(context::CheckpointError::TooLarge(1_048_576))));
    assert!(context::Host::save_checkpoint(store.data_mut(), vec![0; 1 << 20]).await.is_ok());
}

#[tokio::test]
async fn the_results_of_parents_are_read_within_a_bound() {
    let mut asked = executing();
    let guest = asked.store.data_mut();
    let parents = context::Host::parents(guest).await.unwrap();
    assert_eq!(parents.len(), 3);
    assert_eq!((parents[1].state, parents[1].code.as_deref()), (context::ParentState::Failed, Some("busy")));
    let output = async |guest: &mut Guest, id: u128| {
        context::Host::parent_output(guest, TaskId::from_u128(id).to_string()).await
    };
    assert_eq!(output(guest, 1).await.unwrap(), "[1]");
    assert!(matches!(output(guest, 2).await, Err(context::ParentError::NoOutput)));
    assert!(matches!(output(guest, 9).await, Err(context::ParentError::NotAParent)));
    assert_eq!(output(guest, 3).await.unwrap().len(), 1_000);
    guest.call.limits.hostcall_bytes = 999;
    assert!(matches!(output(guest, 3).await, Err(context::ParentError::TooLarge(999))));
    let id = "one".to_owned();
    assert!(matches!(context::Host::parent_output(guest, id).await, Err(context::ParentError::NotAParent)));

    let mut asked = self::asked(Purpose::Dispatch);
    assert!(context::Host::parents(asked.store.data_mut()).await.unwrap().is_empty());
}
