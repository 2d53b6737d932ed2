//! What a look at a schedule starts.

use super::{at, enqueue, every};
use crate::schedule::{
    Action, CatchUp, Declaration, Firing, Origin, Overlap, Schedule, ScheduleSpec, Start, Timetable, Trigger,
};
use crate::time::Timestamp;

fn declared(spec: ScheduleSpec, now: u64) -> Schedule {
    Schedule::declared(spec, Origin::Client, at(now))
}

fn runs(schedule: &mut Schedule, busy: bool, now: u64) -> Vec<u64> {
    let firings = schedule.look(busy, at(now)).firings;
    let run = |firing: &Firing| (firing.start == Start::Run).then(|| firing.nominal.as_millis());
    firings.iter().filter_map(run).collect()
}

#[test]
fn i12_each_nominal_time_fires_at_most_once_and_missed_ones_collapse() {
    let mut schedule = declared(every(1_000), 2_500);
    assert_eq!(schedule.next_at, Some(at(3_000)));
    assert_eq!(runs(&mut schedule, false, 2_999), [0; 0], "not due");
    assert_eq!(runs(&mut schedule, false, 3_000), [3_000]);
    assert_eq!(runs(&mut schedule, false, 3_001), [0; 0], "fired before");
    assert_eq!(runs(&mut schedule, false, 9_500), [9_000]);
    assert_eq!((schedule.next_at, schedule.fired, schedule.missed), (Some(at(10_000)), 2, 5));
    assert_eq!(runs(&mut schedule, false, 1_000), [0; 0], "the clock was set back");
    assert_eq!(runs(&mut schedule, false, 10_000), [10_000]);
}

#[test]
fn c3_catching_up_follows_the_policy_and_counts_what_is_left_out() {
    let caught_up = |catch_up| {
        let mut schedule = declared(ScheduleSpec { catch_up, ..every(60_000) }, 0);
        let runs = runs(&mut schedule, false, 615_000);
        (runs, schedule.missed, schedule.next_at.unwrap().as_millis())
    };
    assert_eq!(caught_up(CatchUp::Skip), (vec![], 10, 660_000));
    assert_eq!(caught_up(CatchUp::Latest), (vec![600_000], 9, 660_000));
    assert_eq!(caught_up(CatchUp::All(3)), (vec![480_000, 540_000, 600_000], 7, 660_000));
    assert_eq!(caught_up(CatchUp::Window(80_000)), (vec![540_000, 600_000], 8, 660_000));
    let mut punctual = declared(ScheduleSpec { catch_up: CatchUp::Skip, ..every(60_000) }, 0);
    assert_eq!(runs(&mut punctual, false, 69_000), [60_000], "on time");
}

#[test]
fn a_long_downtime_costs_little() {
    let year = 31_536_000_000;
    let mut often = declared(every(100), 0);
    assert_eq!(runs(&mut often, false, year), [year]);
    assert_eq!(often.missed, year / 100 - 1, "intervals are counted exactly");
    let trigger = Trigger::Cron {
        expression: "* * * * * *".to_owned(),
        zone: "UTC".to_owned(),
        dst: super::super::Dst::default(),
    };
    let spec = ScheduleSpec { catch_up: CatchUp::All(3), ..ScheduleSpec::new("s", trigger, enqueue()) };
    let mut seconds = declared(spec, 0);
    assert_eq!(runs(&mut seconds, false, year + 500), [year - 2_000, year - 1_000, year]);
    assert_eq!(seconds.next_at, Some(at(year + 1_000)));
    assert!(seconds.missed >= 900, "{}", seconds.missed);
}

#[test]
fn overlaps_follow_the_policy() {
    let with = |overlap| declared(ScheduleSpec { overlap, ..every(1_000) }, 0);
    let mut skip = with(Overlap::Skip);
    assert_eq!((runs(&mut skip, true, 1_000), skip.overlapped), (vec![], 1));
    let mut allow = with(Overlap::Allow);
    assert_eq!((runs(&mut allow, true, 1_000), allow.overlapped), (vec![1_000], 0));
    let mut one = with(Overlap::QueueOne);
    for now in [1_000, 2_000, 3_000] {
        assert_eq!(runs(&mut one, true, now), [0; 0]);
    }
    assert_eq!((one.waiting.len(), one.overlapped), (1, 2));
    assert_eq!(runs(&mut one, false, 3_500), [1_000]);
    let mut all = with(Overlap::QueueAll(2));
    for now in [1_000, 2_000, 3_000] {
        assert_eq!(runs(&mut all, true, now), [0; 0]);
    }
    assert_eq!(
        (runs(&mut all, false, 3_100), runs(&mut all, false, 3_200), all.overlapped),
        (vec![1_000], vec![2_000], 1)
    );
    let mut cancel = with(Overlap::CancelOther);
    assert!(cancel.look(true, at(1_000)).cancel);
    assert!(cancel.look(true, at(2_000)).cancel);
    assert_eq!((runs(&mut cancel, false, 2_100), cancel.overlapped), (vec![2_000], 1), "the newest wins");
}

#[test]
fn bounds_are_kept() {
    let spec = ScheduleSpec { start: Some(at(5_000)), end: Some(at(7_000)), ..every(1_000) };
    let preview = Timetable::of(&spec).unwrap().preview(at(0), 10);
    assert_eq!(preview, [at(5_000), at(6_000), at(7_000)]);
    let mut twice = declared(ScheduleSpec { max_fires: Some(2), ..every(1_000) }, 0);
    assert_eq!((runs(&mut twice, false, 1_000), twice.next_at), (vec![1_000], Some(at(2_000))));
    twice.trigger(at(1_500));
    assert_eq!(runs(&mut twice, false, 1_500), [1_500], "by hand does not count");
    assert_eq!((runs(&mut twice, false, 2_000), twice.next_at), (vec![2_000], None));
    let once = ScheduleSpec::new("s", Trigger::Instants(vec![at(10), at(20)]), enqueue());
    let mut once = declared(once, 10);
    assert_eq!((runs(&mut once, false, 25), once.next_at), (vec![20], None));
}

#[test]
fn a_pause_holds_back_the_clock_and_not_the_hand() {
    let mut schedule = declared(every(1_000), 0);
    schedule.pause("by hand".to_owned(), at(500));
    assert_eq!((runs(&mut schedule, false, 5_000), schedule.due_at()), (vec![], None));
    schedule.trigger(at(5_100));
    assert_eq!(runs(&mut schedule, false, 5_100), [5_100]);
    schedule.resume(at(5_500));
    assert_eq!((schedule.skipped, schedule.next_at, schedule.missed), (5, Some(at(6_000)), 0));
    assert_eq!(runs(&mut schedule, false, 6_000), [6_000]);
    let mut fragile = declared(ScheduleSpec { pause_on_failure: Some(2), ..every(1_000) }, 0);
    for failed in [true, false, true] {
        assert!(fragile.ended(failed, at(1)));
        assert_eq!(fragile.paused, None);
    }
    assert!(fragile.ended(true, at(7)));
    assert_eq!(fragile.paused.unwrap().reason, "2 in a row failed");
}

#[test]
fn jitter_is_the_same_for_the_same_nominal_time_and_stays_within_its_bound() {
    let spec = ScheduleSpec { jitter_ms: 500, ..every(1_000) };
    let timetable = Timetable::of(&spec).unwrap();
    let late = |n: u64| timetable.due_at(at(n * 1_000)).millis_since(at(n * 1_000));
    let spread: std::collections::BTreeSet<_> = (0..1_000).map(late).collect();
    assert!(spread.iter().all(|late| *late <= 500) && spread.len() > 300, "{} different ones", spread.len());
    assert_eq!(late(7), late(7));
    let mut schedule = declared(spec.clone(), 0);
    let due = schedule.due_at().unwrap();
    assert_eq!(schedule.look(false, Timestamp::from_millis(due.as_millis() - 1)).firings, []);
    assert_eq!(schedule.look(false, due).firings.len(), 1);
}

#[test]
fn c8_a_declaration_is_checked_as_a_whole() {
    let wrong = |declaration: &Declaration| -> Vec<String> {
        let wrong = declaration.check("s", enqueue()).unwrap_err();
        wrong.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.message)).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    let cron = |cron: &str| Declaration { cron: text(cron), ..Declaration::default() };
    assert_eq!(wrong(&cron("0 0 30 2 *")), ["cron: \"0 0 30 2 *\" never fires in UTC"]);
    let berlin = Declaration { zone: text("Europe/Berlin"), dst_gap: text("skip"), ..cron("30 2 * 3 SUNL") };
    assert_eq!(wrong(&berlin), ["cron: \"30 2 * 3 SUNL\" never fires in Europe/Berlin"]);
    let many = Declaration {
        zone: text("Europe/Berlim"),
        dst_gap: text("jump"),
        overlap: text("queue-all"),
        overlap_cap: Some(0),
        catch_up: text("window"),
        jitter_ms: Some(u64::MAX),
        start: text("2030-01-02T00:00:00Z"),
        end: text("2030-01-01T00:00:00Z"),
        max_fires: Some(0),
        pause_on_failure: Some(0),
        ..cron("0 25 * * *")
    };
    let fields: Vec<_> = many.check("s", enqueue()).unwrap_err().into_iter().map(|wrong| wrong.field).collect();
    let expected =
        ["cron", "zone", "dst.gap", "overlap_cap", "catch_up_window", "end", "max_fires", "pause_on_failure", "jitter"];
    assert_eq!(fields, expected);
    assert_eq!(wrong(&Declaration::default()), ["every: when it fires is missing: `every`, `cron` or `at`"]);
    let both = Declaration { every_ms: Some(1_000), ..cron("@daily") };
    assert!(wrong(&both)[0].starts_with("cron: cannot be joined with `every`"));
    let instants = Declaration { at: Some(vec!["soon".to_owned()]), ..Declaration::default() };
    assert!(wrong(&instants)[0].starts_with("at: \"soon\" is not an RFC 3339 instant"));
    let pass = Action::Dispatch { plugin: "p".to_owned(), batch: 1, capacity: 1 };
    let allow = Declaration { overlap: text("allow"), ..cron("@hourly") };
    assert_eq!(allow.check("s", pass).unwrap_err()[0].field, "overlap");
    let right = Declaration { zone: text("europe/berlin"), ..cron("@daily") }.check("s", enqueue()).unwrap();
    assert!(matches!(right.trigger, Trigger::Cron { zone, .. } if zone == "Europe/Berlin"));
}
