//! The suite that every store passes. [`conformance_tests`] turns it into tests over a [`Harness`].

pub(crate) mod claims;
pub(crate) mod clock;
pub(crate) mod events;
mod flow;
pub(crate) mod flows;
pub(crate) mod keys;
pub(crate) mod limited;
pub(crate) mod limits;
pub(crate) mod media;
pub(crate) mod model;
pub(crate) mod plain;
pub(crate) mod plan;
pub(crate) mod running;
pub(crate) mod schedules;
pub(crate) mod state;
pub(crate) mod tasks;
pub(crate) mod waiting;
pub(crate) mod work;

use std::sync::Arc;

use super::request::{Claim, ClaimRequest, Enqueued, Finish, GenerationRoom};
use super::{Store, StoreError};
use crate::retry::Backoff;
use crate::task::{AttemptReport, BootId, Digest, Failure, NewTask, Outcome, Task, TaskId};
use crate::time::Timestamp;

/// One empty data directory, opened again and again.
pub(crate) trait Harness {
    /// Opens it for the host start `boot` with at most `max_live` queued and running tasks.
    fn open(&self, boot: u64, max_live: u64, now: Timestamp) -> Arc<dyn Store>;
}

/// What most checks do with the bound.
pub(crate) const MANY: u64 = 1_000;
/// How long a lease lasts in checks, in milliseconds.
pub(crate) const LEASE_MS: u64 = 100;

/// An instant.
pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// The generation that runs everything here.
pub(crate) fn digest() -> Digest {
    Digest([7; 32])
}

/// A task of kind `echo` that is tried again at once.
pub(crate) fn new_task() -> NewTask {
    NewTask { backoff: Backoff { base_ms: 0, cap_ms: 0, ..Backoff::default() }, ..NewTask::new("echo", "{}") }
}

/// Creates one task.
pub(crate) async fn add(store: &dyn Store, new: NewTask, now: u64) -> TaskId {
    let added = store.enqueue(vec![new], at(now)).await.unwrap();
    let [Enqueued { id, duplicate: false }] = added[..] else { panic!("not one new task: {added:?}") };
    id
}

/// A claim of these kinds.
pub(crate) fn request(kinds: &[&str], limit: u32, now: u64) -> ClaimRequest {
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let rooms = vec![GenerationRoom { kinds, room: limit, digest: digest() }];
    ClaimRequest { rooms, limit, boot: BootId(1), lease_until: at(now + LEASE_MS) }
}

/// Claims tasks of kind `echo`.
pub(crate) async fn claim(store: &dyn Store, limit: u32, now: u64) -> Claim {
    store.claim(request(&["echo"], limit, now), at(now)).await.unwrap()
}

/// Claims exactly one task of kind `echo`, and answers it with its attempt number.
pub(crate) async fn claim_one(store: &dyn Store, now: u64) -> (TaskId, u32) {
    let claimed = claim(store, 1, now).await.claimed;
    let [one] = &claimed[..] else { panic!("not one claim: {claimed:?}") };
    (one.id, one.status.attempt)
}

/// Ends an attempt.
pub(crate) async fn finish(
    store: &dyn Store,
    (id, attempt): (TaskId, u32),
    outcome: Outcome,
    now: u64,
) -> Result<Task, StoreError> {
    store.finish(Finish { id, attempt, outcome, jitter: 0.5, report: AttemptReport::default() }, at(now)).await
}

/// A good end without an outbox.
pub(crate) fn success() -> Outcome {
    Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() }
}

/// A bad end that is tried again after `after_ms`.
pub(crate) fn failure(after_ms: u64) -> Outcome {
    Outcome::Retry { failure: Failure::new("busy", "come again"), after_ms: Some(after_ms) }
}

/// A task's state by name.
pub(crate) async fn state_of(store: &dyn Store, id: TaskId) -> &'static str {
    store.task(id).await.unwrap().unwrap().status.state.name()
}

/// Makes a test of each check; `$harness` makes a fresh [`Harness`].
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::store::conformance::conformance_tests! { $harness;
            claims::i3_l1_l4_c2_a_stale_attempt_changes_nothing,
            claims::i4_an_expired_lease_requeues_and_a_heartbeat_keeps_it,
            claims::i4_i5_attempts_of_an_older_start_are_taken_back_as_crashes,
            claims::i5_the_third_crash_parks_a_task,
            claims::i14_an_interrupted_attempt_is_not_counted,
            claims::claims_go_by_priority_then_due_time_within_the_rooms,
            claims::kinds_of_one_generation_share_its_room,
            claims::next_due_names_the_next_instant,
            events::i2_events_follow_the_order_of_commits_and_only_after_them,
            events::i2_a_reader_resumes_and_is_told_of_a_gap,
            events::i2_pauses_and_limits_are_told_and_outlive_a_restart,
            events::i2_news_of_plugins_are_told_in_one_commit_and_outlive_a_restart,
            events::i2_whatever_is_done_with_a_schedule_is_told,
            flows::a_batch_calls_back_once_whatever_restarts,
            flows::i8_room_is_kept_for_callbacks_and_an_empty_batch_ages,
            flows::i8_very_many_children_are_told_in_slices_and_all_are,
            flows::parents_are_kept_for_those_that_come_after_them,
            keys::a_debounced_task_runs_once_its_requests_have_ceased,
            keys::a_key_may_be_held_beyond_the_end,
            keys::a_refusing_key_names_its_holder_and_nothing_of_the_call_is_written,
            keys::a_throttled_task_answers_for_its_window_however_it_stands,
            keys::a_waiting_holder_is_replaced_and_a_running_one_loses_its_key,
            keys::l12_overdue_tasks_end_and_never_begin,
            keys::l16_waiting_tasks_of_all_queues_age_and_none_starves,
            keys::the_last_one_is_kept_while_its_holder_runs,
            keys::v14_a_repeated_request_is_answered_with_its_task,
            keys::v14_a_request_that_found_another_task_is_answered_with_it_again,
            keys::v14_two_racing_requests_make_one_task,
            limits::i6_a_key_over_its_limit_waits_and_holds_up_nobody,
            limits::i6_a_restart_counts_what_runs_and_every_end_gives_back,
            limits::a_rate_lets_tasks_begin_when_its_tokens_come_and_survives_a_restart,
            limits::a_limit_is_changed_while_tasks_wait_and_run,
            limits::i8_limits_are_bounded,
            limits::a_paused_queue_or_kind_begins_nothing_until_it_is_resumed,
            limits::groups_are_served_by_their_weights_before_priority,
            limits::what_waits_behind_two_limits_is_let_go_by_the_last,
            limits::a_task_that_comes_while_others_wait_has_its_turn_all_the_same,
            media::media_is_trashed_restored_and_purged,
            media::i15_media_survives_a_restart,
            media::purgeable_media_is_found_among_live_ones,
            running::a_cancel_is_acknowledged_and_says_who_ended_the_task,
            running::a_snoozed_task_waits_and_loses_nothing,
            running::ended_tasks_are_purged_with_all_that_they_hold,
            running::progress_and_checkpoints_outlive_retries_restarts_and_failure,
            running::tasks_are_cancelled_by_filter,
            schedules::declaring_keeps_progress_and_drops_the_rest,
            schedules::i12_a_nominal_time_fires_once_with_its_task,
            schedules::i13_a_cursor_and_its_tasks_are_one_commit,
            schedules::overlapping_firings_wait_are_left_out_or_cancel_the_others,
            schedules::a_client_changes_what_it_saw_and_never_what_the_configuration_declares,
            schedules::pauses_hands_and_backfills,
            state::writes_are_conditional_and_versions_never_return,
            state::the_quota_counts_what_is_there_and_expired_entries_give_way,
            state::a_scan_stays_within_its_plugin_and_prefix,
            state::a_scan_of_large_values_comes_in_parts,
            tasks::i1_an_outbox_is_created_with_the_end_of_its_task,
            tasks::i8_enqueue_is_all_or_none,
            tasks::i8_each_state_is_pruned_by_its_own_bounds,
            tasks::i8_history_is_pruned_by_count_and_age,
            tasks::i15_what_was_acknowledged_is_there_after_a_restart,
            tasks::a_cancelled_task_ends_or_is_asked_to,
            tasks::a_checkpoint_belongs_to_the_attempt_and_goes_with_the_task,
            tasks::a_closed_store_says_so,
            tasks::a_redriven_task_starts_over,
            tasks::a_unique_key_is_held_while_its_task_lives,
            tasks::v10_the_dead_letter_set_is_put_back_by_filter,
            tasks::listings_are_newest_first_and_go_on,
            tasks::wakeups_announce_work,
            waiting::i1_a_waiting_claim_is_served_in_the_commit_that_creates_its_task,
            waiting::i4_no_task_is_lost_between_a_withdrawal_and_a_commit,
            waiting::a_claim_that_nobody_waits_for_claims_nothing,
            waiting::a_waiting_claim_ends_with_the_store,
            waiting::a_waiting_claim_is_served_by_whatever_brings_a_task_back,
            waiting::a_withdrawn_claim_is_answered_and_claims_nothing_more,
            waiting::an_earlier_due_time_is_told,
            waiting::what_is_there_is_claimed_at_once,
            work::abandoned_work_ends_and_its_task_goes_back_to_the_queue,
            work::a_start_without_an_answer_is_remembered_until_the_next_one_answers,
            work::a_cancel_waits_for_outside_work_unless_nobody_can_stop_it,
            work::callbacks_are_told_at_a_pace_and_only_of_the_attempt_that_works,
            work::i1_files_of_an_attempt_get_their_records_with_its_success,
            work::i3_l4_a_lost_lease_fences_whoever_looked_after_the_work,
            work::i4_l10_outside_work_outlives_the_host_and_goes_on_as_the_same_attempt,
            work::i6_what_is_brought_home_occupies_no_limit_and_survives_a_restart,
            work::i8_a_handle_is_bounded_and_belongs_to_the_attempt,
            work::work_is_let_go_of_and_taken_up_by_another_generation,
        }
    };
    ($harness:expr; $($module:ident :: $check:ident,)*) => {
        $(
            #[tokio::test]
            async fn $check() {
                crate::store::conformance::$module::$check(&$harness).await;
            }
        )*
    };
}
pub(crate) use conformance_tests;
