//! Circuit breakers: a name whose attempts keep going down is left alone for a while.
//!
//! A breaker belongs to a name (such as a kind) and its version (such as a plugin's digest): a new
//! version starts with a clean slate. It lives in memory; a new start of the host tries again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Poisoned pieces of work within the window that open it; at least 1.
    pub poisoned: u32,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// How long it stays open before one attempt is let through, in milliseconds.
    pub cool_down_ms: u64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { poisoned: 3, window_ms: 600_000, cool_down_ms: 60_000 }
    }
}

/// What an attempt says about its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It works.
    Succeeded,
    /// It went down.
    Crashed,
    /// It went down, and its work was given up for that.
    Poisoned,
    /// Nothing.
    Unclear,
}

/// Whether an attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As many as there is room for.
    Free,
    /// One, to see whether it works.
    Probe,
    /// None before this instant (milliseconds since the epoch), or before the probe has ended.
    Shut(Option<u64>),
}

/// A breaker that is not closed, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerInfo {
    /// Pieces of work that were poisoned within the window.
    pub poisoned: u32,
    /// When one attempt is let through, in milliseconds since the epoch; `None` while the next one
    /// that comes is, or one runs.
    pub until_ms: Option<u64>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        since_ms: u64,
    },
    HalfOpen {
        probing: bool,
    },
}

#[derive(Debug)]
struct Breaker {
    version: [u8; 32],
    /// When work was poisoned, oldest first.
    poisoned_at: VecDeque<u64>,
    state: State,
}

/// The breakers of all names. A name that never went down has none.
#[derive(Debug)]
pub struct Breakers {
    settings: BreakerSettings,
    by_name: Mutex<HashMap<String, Breaker>>,
}

impl Breakers {
    /// All closed.
    pub fn new(settings: BreakerSettings) -> Arc<Self> {
        Arc::new(Self { settings, by_name: Mutex::default() })
    }

    /// Whether attempts of `name` in this version may begin at `now_ms`.
    pub fn admit(&self, name: &str, version: [u8; 32], now_ms: u64) -> Admission {
        let breakers = self.lock();
        let Some(breaker) = breakers.get(name).filter(|breaker| breaker.version == version) else {
            return Admission::Free;
        };
        match breaker.state {
            State::Closed => Admission::Free,
            State::Open { since_ms } => match self.open_until(since_ms, now_ms) {
                Some(until_ms) => Admission::Shut(Some(until_ms)),
                None => Admission::Probe,
            },
            State::HalfOpen { probing: false } => Admission::Probe,
            State::HalfOpen { probing: true } => Admission::Shut(None),
        }
    }

    /// How the breaker of `name` in this version stands, unless it is closed.
    pub fn info(&self, name: &str, version: [u8; 32], now_ms: u64) -> Option<BreakerInfo> {
        let until_ms = match self.admit(name, version, now_ms) {
            Admission::Free => return None,
            Admission::Probe => None,
            Admission::Shut(until_ms) => until_ms,
        };
        let poisoned = self.lock().get(name).map_or(0, |breaker| breaker.poisoned_at.len());
        Some(BreakerInfo { poisoned: u32::try_from(poisoned).unwrap_or(u32::MAX), until_ms })
    }

    /// An attempt begins; how it ends must be said.
    pub fn begin(self: &Arc<Self>, name: &str, version: [u8; 32]) -> Watched {
        let mut is_probe = false;
        if let Some(breaker) = self.lock().get_mut(name).filter(|breaker| breaker.version == version)
            && !matches!(breaker.state, State::Closed)
        {
            breaker.state = State::HalfOpen { probing: true };
            is_probe = true;
        }
        Watched { breakers: Arc::clone(self), name: name.to_owned(), version, is_probe, is_told: false }
    }

    /// The time at which an open breaker lets one through; `None` when that has come. A clock that
    /// was set back does not keep it open for longer than its time.
    fn open_until(&self, since_ms: u64, now_ms: u64) -> Option<u64> {
        let until_ms = since_ms.saturating_add(self.settings.cool_down_ms);
        (since_ms <= now_ms && now_ms < until_ms).then_some(until_ms)
    }

    fn told(&self, watched: &Watched, trial: Trial, now_ms: u64) {
        let mut breakers = self.lock();
        if trial == Trial::Succeeded {
            breakers.remove(&watched.name);
            return;
        }
        if trial == Trial::Poisoned {
            let fresh = || Breaker { version: watched.version, poisoned_at: VecDeque::new(), state: State::Closed };
            let breaker = breakers.entry(watched.name.clone()).or_insert_with(fresh);
            if breaker.version != watched.version {
                *breaker = fresh();
            }
            let window_ms = self.settings.window_ms;
            breaker.poisoned_at.retain(|at| now_ms.abs_diff(*at) < window_ms);
            breaker.poisoned_at.push_back(now_ms);
            let most = usize::try_from(self.settings.poisoned.max(1)).unwrap_or(usize::MAX);
            if breaker.poisoned_at.len() >= most {
                breaker.poisoned_at.drain(..breaker.poisoned_at.len() - most);
                breaker.state = State::Open { since_ms: now_ms };
            }
        }
        let probed = breakers.get_mut(&watched.name).filter(|it| watched.is_probe && it.version == watched.version);
        if let Some(breaker) = probed {
            breaker.state = match trial {
                Trial::Crashed | Trial::Poisoned => State::Open { since_ms: now_ms },
                Trial::Unclear | Trial::Succeeded => State::HalfOpen { probing: false },
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        // Every change of a breaker is a single step, so it is right even after a panic.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that a breaker hears of. Dropped without a word, it says nothing about its name.
#[derive(Debug)]
pub struct Watched {
    breakers: Arc<Breakers>,
    name: String,
    version: [u8; 32],
    is_probe: bool,
    is_told: bool,
}

impl Watched {
    /// How it ended, at `now_ms`.
    pub fn end(mut self, trial: Trial, now_ms: u64) {
        self.is_told = true;
        self.breakers.told(&self, trial, now_ms);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_told {
            self.breakers.told(self, Trial::Unclear, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, BreakerInfo, BreakerSettings, Breakers, Trial};

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];

    fn breakers(poisoned: u32) -> std::sync::Arc<Breakers> {
        Breakers::new(BreakerSettings { poisoned, window_ms: 100, cool_down_ms: 50 })
    }

    #[test]
    fn i5_poisoned_work_within_the_window_shuts_its_name_and_no_other() {
        let breakers = breakers(2);
        for now in [0, 100] {
            breakers.begin("a", OLD).end(Trial::Poisoned, now);
            assert_eq!(breakers.admit("a", OLD, now), Admission::Free, "the first has left the window");
        }
        breakers.begin("a", OLD).end(Trial::Crashed, 110);
        assert_eq!(breakers.admit("a", OLD, 110), Admission::Free, "a crash alone is not poison");
        breakers.begin("a", OLD).end(Trial::Poisoned, 120);
        assert_eq!(breakers.admit("a", OLD, 130), Admission::Shut(Some(170)));
        assert_eq!(breakers.info("a", OLD, 130), Some(BreakerInfo { poisoned: 2, until_ms: Some(170) }));
        assert_eq!(breakers.admit("b", OLD, 130), Admission::Free);
        assert_eq!(breakers.admit("a", NEW, 130), Admission::Free, "a new version starts anew");
        assert_eq!(breakers.admit("a", OLD, 60), Admission::Probe, "the clock was set back");
    }

    #[test]
    fn i5_one_probe_at_a_time_decides() {
        let breakers = breakers(1);
        breakers.begin("a", OLD).end(Trial::Poisoned, 0);
        assert_eq!(breakers.admit("a", OLD, 50), Admission::Probe);
        let probe = breakers.begin("a", OLD);
        assert_eq!(breakers.admit("a", OLD, 51), Admission::Shut(None));
        probe.end(Trial::Crashed, 60);
        assert_eq!(breakers.admit("a", OLD, 61), Admission::Shut(Some(110)));
        drop(breakers.begin("a", OLD));
        assert_eq!(breakers.admit("a", OLD, 120), Admission::Probe, "it went away without a word");
        breakers.begin("a", OLD).end(Trial::Succeeded, 130);
        assert_eq!((breakers.admit("a", OLD, 131), breakers.info("a", OLD, 131)), (Admission::Free, None));
    }
}
