use super::*;

const DIGEST: Digest = Digest([7; 32]);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn spec(max_attempts: u32) -> Spec {
    Spec { new: NewTask { max_attempts, ..NewTask::new("echo", "{}") }, created_at: at(0), first_event: 1 }
}

fn failure() -> Failure {
    Failure::new("boom", "it broke")
}

fn claim(status: &mut Status, now: u64) -> u32 {
    let lease = Lease { boot: BootId(1), until: at(now + 1_000), digest: DIGEST };
    status.claim(lease, at(now)).unwrap()
}

fn settle(status: &mut Status, attempt: u32, outcome: &Outcome) -> Result<(), Stale> {
    status.settle(&spec(3), attempt, outcome, (at(500), 0.5))
}

fn retry() -> Outcome {
    Outcome::Retry { failure: failure(), after_ms: Some(0) }
}

fn succeeded() -> Outcome {
    Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() }
}

#[test]
fn i3_a_claim_raises_the_attempt_and_a_stale_result_changes_nothing() {
    let mut status = Status::queued(at(0));
    assert_eq!(claim(&mut status, 10), 1);
    settle(&mut status, 1, &retry()).unwrap();
    assert_eq!(claim(&mut status, 600), 2);
    let before = status.clone();
    assert_eq!(settle(&mut status, 1, &succeeded()), Err(Stale));
    assert_eq!(status.beat(1, at(9_999)), Err(Stale));
    assert_eq!(status, before);
    settle(&mut status, 2, &succeeded()).unwrap();
    assert_eq!(settle(&mut status, 2, &succeeded()), Err(Stale), "settled before");
    let numbers: Vec<u32> = status.history.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_task_that_is_not_due_or_not_queued_is_not_claimed() {
    let lease = Lease { boot: BootId(1), until: at(2_000), digest: DIGEST };
    let mut status = Status::queued(at(100));
    assert_eq!(status.claim(lease, at(99)), Err(Stale));
    assert_eq!(status.claim(lease, at(100)), Ok(1));
    assert_eq!(status.claim(lease, at(100)), Err(Stale));
}

#[test]
fn failures_are_retried_until_the_attempts_are_used_up() {
    let mut status = Status::queued(at(0));
    for number in 1..=3 {
        let now = 1_000_000 * u64::from(number);
        assert_eq!(claim(&mut status, now), number);
        settle(&mut status, number, &Outcome::Retry { failure: failure(), after_ms: None }).unwrap();
    }
    assert_eq!(status.state, State::Failed { at: at(500), failure: failure() });
    assert_eq!((status.failures, status.crashes), (3, 0));
}

#[test]
fn i5_crashes_are_counted_apart_and_the_third_parks_the_task() {
    let mut status = Status::queued(at(0));
    let patient = spec(100);
    for number in 1..=3 {
        assert!(matches!(status.state, State::Queued { .. }));
        claim(&mut status, 10_000_000 * u64::from(number));
        status.settle(&patient, number, &Outcome::Crashed(failure()), (at(1), 0.0)).unwrap();
    }
    let State::Failed { failure, .. } = &status.state else { panic!("parked: {:?}", status.state) };
    assert_eq!(failure.code, POISON);
    let details: serde_json::Value = serde_json::from_str(failure.details.as_deref().unwrap()).unwrap();
    assert_eq!(details["digest"], DIGEST.to_string(), "the generation that went down is named");
    assert_eq!((&details["crashes"], &details["code"]), (&3.into(), &"boom".into()));
    assert_eq!((status.failures, status.crashes), (0, 3));
}

#[test]
fn i14_interrupted_and_yielded_attempts_return_at_once_and_are_not_counted() {
    for outcome in [Outcome::Interrupted, Outcome::Yielded] {
        let mut status = Status::queued(at(0));
        claim(&mut status, 10);
        settle(&mut status, 1, &outcome).unwrap();
        assert_eq!(status.state, State::Queued { due_at: at(500) });
        assert_eq!((status.attempt, status.failures, status.crashes), (1, 0, 0));
    }
}

#[test]
fn cancel_ends_a_queued_task_asks_a_running_one_and_leaves_an_ended_one() {
    let mut queued = Status::queued(at(0));
    assert!(queued.request_cancel(at(5)));
    assert_eq!(queued.state, State::Cancelled { at: at(5) });
    assert!(!queued.request_cancel(at(6)));

    for outcome in [retry(), Outcome::Crashed(failure()), Outcome::Interrupted, Outcome::Cancelled] {
        let mut running = Status::queued(at(0));
        claim(&mut running, 10);
        assert!(running.request_cancel(at(20)));
        assert!(matches!(running.state, State::Running { .. }));
        assert!(!running.request_cancel(at(21)), "asked before");
        settle(&mut running, 1, &outcome).unwrap();
        assert_eq!(running.state, State::Cancelled { at: at(500) }, "{outcome:?}");
    }
}

#[test]
fn work_that_was_done_in_spite_of_a_cancel_is_kept() {
    let mut status = Status::queued(at(0));
    claim(&mut status, 10);
    status.request_cancel(at(20));
    settle(&mut status, 1, &succeeded()).unwrap();
    assert_eq!(status.state.name(), "succeeded");
}

#[test]
fn i1_every_outcome_leads_from_running_to_exactly_one_state_and_only_from_running() {
    let outcomes = [
        succeeded(),
        retry(),
        Outcome::Fatal(failure()),
        Outcome::Crashed(failure()),
        Outcome::Cancelled,
        Outcome::Yielded,
        Outcome::Interrupted,
    ];
    let ends = ["succeeded", "queued", "failed", "queued", "cancelled", "queued", "queued"];
    for (outcome, end) in outcomes.iter().zip(ends) {
        let mut status = Status::queued(at(0));
        assert_eq!(settle(&mut status, 0, outcome), Err(Stale), "queued");
        claim(&mut status, 10);
        settle(&mut status, 1, outcome).unwrap();
        assert_eq!(status.state.name(), end);
        assert_eq!(settle(&mut status, 1, outcome), Err(Stale), "{end}");
    }
}

#[test]
fn a_redriven_task_starts_with_a_fresh_budget_and_a_rising_attempt() {
    let mut status = Status::queued(at(0));
    assert!(!status.redrive(at(1)), "lives");
    claim(&mut status, 10);
    settle(&mut status, 1, &Outcome::Fatal(failure())).unwrap();
    assert!(status.redrive(at(600)));
    assert_eq!((status.failures, status.crashes, status.cancel), (0, 0, None));
    assert_eq!(claim(&mut status, 600), 2);
}

#[test]
fn history_keeps_the_latest_attempts() {
    let mut status = Status::queued(at(0));
    for number in 1..=20 {
        claim(&mut status, 1_000);
        settle(&mut status, number, &Outcome::Yielded).unwrap();
    }
    assert_eq!(status.history.len(), HISTORY_LEN);
    assert_eq!(status.history.last().unwrap().number, 20);
}

#[test]
fn l12_a_task_that_has_not_begun_by_its_deadline_expires_and_one_that_has_does_not() {
    let mut waiting = Status::queued(at(0));
    assert!(!waiting.expire(at(100), at(99)));
    assert!(waiting.expire(at(100), at(100)));
    let State::Failed { failure, .. } = &waiting.state else { panic!("failed: {:?}", waiting.state) };
    assert_eq!(failure.code, "expired");
    assert!(!waiting.expire(at(100), at(200)), "ended");

    let mut begun = Status::queued(at(0));
    claim(&mut begun, 10);
    assert!(!begun.expire(at(100), at(200)), "runs");
    settle(&mut begun, 1, &retry()).unwrap();
    assert!(!begun.expire(at(100), at(900)), "has begun in time");
}

#[test]
fn l5_the_attempts_are_counted_in_the_record_and_come_to_an_end() {
    // A status that went through the store's form and back between any two attempts.
    let mut status = Status::queued(at(0));
    let mut attempts = 0;
    while !status.state.is_terminal() {
        attempts = claim(&mut status, 10_000_000 * u64::from(attempts + 1));
        settle(&mut status, attempts, &retry()).unwrap();
        let text = serde_json::to_string(&status).unwrap();
        status = serde_json::from_str(&text).unwrap();
    }
    assert_eq!((attempts, status.failures), (3, 3));
}

#[test]
fn a_task_that_waits_may_become_another_request_and_one_that_runs_may_not() {
    let mut status = Status::queued(at(0));
    claim(&mut status, 10);
    assert!(!status.replace(at(700)), "runs");
    settle(&mut status, 1, &retry()).unwrap();
    assert!(status.replace(at(700)));
    assert_eq!((status.state.clone(), status.failures, status.attempt), (State::Queued { due_at: at(700) }, 0, 1));
}

#[test]
fn snoozes_are_not_counted_until_there_are_too_many_in_a_row() {
    let spec = spec(1);
    let mut status = Status::queued(at(0));
    let mut now = at(0);
    for times in 1..=crate::task::MAX_SNOOZES {
        let attempt = claim(&mut status, now.as_millis());
        status.settle(&spec, attempt, &Outcome::Snoozed { after_ms: 2_000 }, (now, 0.0)).unwrap();
        assert_eq!((status.snoozes, status.failures, status.history.len()), (times, 0, 1));
        now = now.plus_millis(2_000);
    }
    let attempt = claim(&mut status, now.as_millis());
    status.settle(&spec, attempt, &Outcome::Snoozed { after_ms: 2_000 }, (now, 0.0)).unwrap();
    assert!(
        matches!(&status.state, State::Failed { failure, .. } if failure.code == "snoozed-too-often"),
        "{status:?}"
    );
    assert_eq!((status.failures, status.snoozes), (1, 0));
}
