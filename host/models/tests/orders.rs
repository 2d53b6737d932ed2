//! Every order of steps that a random and a probabilistic scheduler find. A deadlock is a lost wakeup.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use shuttle::future::{block_on, spawn};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread;

use taskhost_models::attempts::AttemptLimiter;
use taskhost_models::control::{Control, Directive};
use taskhost_models::sync::{Arc, Mutex, Notify, watch};
use taskhost_models::task::Progress;

/// Orders that are tried by each scheduler when `TASKHOST_ORDERS` does not say.
const ORDERS: usize = 2_000;
/// Switches that the second scheduler aims at.
const DEPTH: usize = 3;

#[expect(clippy::disallowed_methods, reason = "how long a test runs is not a setting")]
fn holds(model: impl Fn() + Send + Sync + Clone + 'static) {
    let orders = std::env::var("TASKHOST_ORDERS").map_or(ORDERS, |orders| orders.parse().expect("a number"));
    shuttle::check_random(model.clone(), orders);
    shuttle::check_pct(model, orders, DEPTH);
}

/// The same must not hold: what the schedulers cannot find, they do not prove either.
fn fails(model: impl Fn() + Send + Sync + Clone + 'static) {
    let found = catch_unwind(AssertUnwindSafe(|| holds(model)));
    assert!(found.is_err(), "a flaw that was put there is not found");
}

#[test]
fn i6_permits_are_conserved() {
    holds(|| {
        let limiter = AttemptLimiter::new(2);
        let running = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (1..=3)
            .map(|wanted| {
                let (limiter, running) = (Arc::clone(&limiter), Arc::clone(&running));
                thread::spawn(move || {
                    let mut reserved = limiter.try_acquire_many(wanted);
                    assert!(reserved.left() <= 2);
                    let permit = reserved.admit("a");
                    let here = u32::from(permit.is_some());
                    assert!(running.fetch_add(here, Ordering::SeqCst) + here <= 2, "more run than there are permits");
                    assert!(limiter.in_use() <= 2 && limiter.in_use() >= here);
                    assert!(limiter.running("a") >= here);
                    drop(reserved);
                    running.fetch_sub(here, Ordering::SeqCst);
                    drop(permit);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!((limiter.in_use(), limiter.free(), limiter.running("a")), (0, 2, 0));
    });
}

/// Waits for a permit that another thread gives back.
fn a_permit_comes_back(is_interest_first: bool) {
    let limiter = AttemptLimiter::new(1);
    let permit = limiter.admit("a").unwrap();
    let giver = thread::spawn(move || drop(permit));
    block_on(async {
        let mut freed = limiter.freed();
        loop {
            if is_interest_first {
                freed.mark_unchanged();
            }
            if limiter.admit("b").is_some() {
                break;
            }
            if !is_interest_first {
                freed = limiter.freed();
            }
            freed.changed().await.unwrap();
        }
    });
    giver.join().unwrap();
}

#[test]
fn i6_a_permit_that_comes_back_is_heard_of() {
    holds(|| a_permit_comes_back(true));
    fails(|| a_permit_comes_back(false));
}

#[test]
fn a_directive_reaches_a_guest_and_a_cancel_is_never_taken_back() {
    holds(|| {
        let control = Arc::new(Control::default());
        let directors: Vec<_> = [Directive::Yield, Directive::Cancel, Directive::Proceed]
            .map(|directive| {
                let control = Arc::clone(&control);
                thread::spawn(move || control.direct(directive))
            })
            .into();
        let heard = block_on(control.directed(|directive| directive == Directive::Cancel));
        assert_eq!(heard, Directive::Cancel);
        for director in directors {
            director.join().unwrap();
        }
        assert_eq!(control.directive(), Directive::Cancel);
    });
}

#[test]
fn a_bell_without_interest_first_is_missed() {
    fails(|| {
        let shared = Arc::new((AtomicU32::new(0), Notify::default()));
        let other = Arc::clone(&shared);
        let ringer = thread::spawn(move || {
            other.0.store(1, Ordering::SeqCst);
            other.1.notify_waiters();
        });
        block_on(async {
            while shared.0.load(Ordering::SeqCst) == 0 {
                shared.1.notified().await;
            }
        });
        ringer.join().unwrap();
    });
}

#[test]
fn the_latest_report_is_heard() {
    holds(|| {
        let control = Arc::new(Control::default());
        let guest = Arc::clone(&control);
        let guest = thread::spawn(move || (1..=3).for_each(|done| guest.report(Progress { done })));
        block_on(async {
            let mut seen = 0;
            loop {
                let (news, count) = control.reported(seen).await;
                assert!(count > seen);
                seen = count;
                if news.progress == Some(Progress { done: 3 }) {
                    break;
                }
            }
        });
        guest.join().unwrap();
    });
}

/// What the runner asks for work: a queue, and the bell that follows each of its commits.
struct Store {
    waiting: Mutex<u32>,
    wakeups: watch::Sender<u64>,
}

impl Store {
    fn enqueue(&self) {
        *self.waiting.lock().unwrap() += 1;
        self.wakeups.send_modify(|count| *count += 1);
    }

    fn claim(&self, limit: u32) -> u32 {
        let mut waiting = self.waiting.lock().unwrap();
        let claimed = limit.min(*waiting);
        *waiting -= claimed;
        claimed
    }
}

/// The shape of the runner's loop: permits, then a claim, then a sleep until a bell or an end of an attempt.
fn every_task_is_run(is_interest_first: bool) {
    const TASKS: u32 = 3;
    let store = Arc::new(Store { waiting: Mutex::new(0), wakeups: watch::Sender::new(0) });
    let limiter = AttemptLimiter::new(2);
    let producers: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(&store);
            thread::spawn(move || store.enqueue())
        })
        .collect();
    block_on(async {
        let mut wakeups = store.wakeups.subscribe();
        let mut attempts = FuturesUnordered::new();
        let mut ended = 0;
        while ended < TASKS {
            if is_interest_first {
                wakeups.mark_unchanged();
            }
            let mut permits = limiter.try_acquire_many(limiter.total());
            for _ in 0..store.claim(permits.left()) {
                let permit = permits.admit("a").expect("a claim within the permits");
                attempts.push(spawn(async move {
                    shuttle::future::yield_now().await;
                    drop(permit);
                }));
            }
            drop(permits);
            assert!(limiter.in_use() <= limiter.total());
            if !is_interest_first {
                wakeups.mark_unchanged();
            }
            if attempts.is_empty() {
                wakeups.changed().await.unwrap();
                continue;
            }
            match select(pin!(wakeups.changed()), attempts.next()).await {
                Either::Left((changed, _)) => changed.unwrap(),
                Either::Right(_) => ended += 1,
            }
        }
        assert_eq!((limiter.in_use(), store.claim(1)), (0, 0));
    });
    for producer in producers {
        producer.join().unwrap();
    }
}

#[test]
fn i6_every_task_is_run_and_no_wakeup_is_lost() {
    holds(|| every_task_is_run(true));
    fails(|| every_task_is_run(false));
}
