//! Which files are worth loading, and when: pure bookkeeping over what looks at the folder saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::folder::Stamp;

/// A file must stay unchanged for this long.
const SETTLE: Duration = Duration::from_millis(300);
/// A file that was renamed into place was finished before.
const SETTLE_RENAMED: Duration = Duration::from_millis(50);
/// Replacing by delete-and-create must not look like a removal.
const GRACE_GONE: Duration = Duration::from_secs(1);
/// A file that keeps changing for this long is told.
const RESTLESS: Duration = Duration::from_secs(2);

/// What should happen to one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It has settled: load it.
    Load(Stamp),
    /// Its file has been gone for a while.
    Remove,
    /// It has been changing for too long to stay silent about; it is not loaded.
    Restless,
}

#[derive(Debug, Default)]
struct Watched {
    /// What was loaded or refused, if it ever was.
    settled: Option<Stamp>,
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    stamp: Stamp,
    /// When the file first differed.
    since: Instant,
    /// Not before.
    due: Instant,
    told: bool,
    /// It was renamed into place.
    renamed: bool,
    /// It is worth loading before it has settled: it was renamed into place just now.
    fresh: bool,
}

/// All names, and what they wait for.
#[derive(Debug)]
pub(super) struct Settling {
    names: BTreeMap<String, Watched>,
    pace: Pace,
}

/// How long a file has to be left alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    written: Duration,
    renamed: Duration,
    gone: Duration,
}

impl Pace {
    /// For a folder that an operator copies to, maybe over a slow network.
    pub(super) const CAREFUL: Self = Self { written: SETTLE, renamed: SETTLE_RENAMED, gone: GRACE_GONE };
    /// For a folder that a compiler on this machine writes to.
    pub(super) const QUICK: Self = Self {
        written: Duration::from_millis(100),
        renamed: Duration::from_millis(20),
        gone: Duration::from_millis(500),
    };
}

impl Settling {
    /// Knows no file yet.
    pub(super) fn new(pace: Pace) -> Self {
        Self { names: BTreeMap::new(), pace }
    }

    /// Takes note of what a look saw, and of names that were renamed into place since the last one.
    pub(super) fn observe(&mut self, seen: &BTreeMap<String, Stamp>, renamed: &BTreeSet<String>, now: Instant) {
        for name in seen.keys() {
            if !self.names.contains_key(name) {
                self.names.insert(name.clone(), Watched::default());
            }
        }
        for (name, watched) in &mut self.names {
            let stamp = seen.get(name).copied().unwrap_or_default();
            watched.observe(stamp, renamed.contains(name), now, self.pace);
        }
    }

    /// What is to be done now, in the order of names.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(String, Step)> {
        let step = |watched: &mut Watched| watched.pending.as_mut().and_then(|pending| pending.step(now));
        self.names.iter_mut().filter_map(|(name, watched)| Some((name.clone(), step(watched)?))).collect()
    }

    /// Files that were renamed into place and have not settled: they are whole, and can be loaded while it is seen
    /// whether their manifest follows. Each is told once.
    pub(super) fn fresh(&mut self) -> Vec<(String, Stamp)> {
        let take = |watched: &mut Watched| {
            let pending = watched.pending.as_mut().filter(|pending| pending.fresh)?;
            pending.fresh = false;
            Some(pending.stamp)
        };
        self.names.iter_mut().filter_map(|(name, watched)| Some((name.clone(), take(watched)?))).collect()
    }

    /// When [`Self::due`] next has something, as far as is known now.
    pub(super) fn next(&self) -> Option<Instant> {
        self.names.values().filter_map(|watched| watched.pending.as_ref().map(|pending| pending.due)).min()
    }

    /// A name was dealt with as it was seen.
    pub(super) fn settled(&mut self, name: &str, stamp: Stamp) {
        if stamp.component.is_none() {
            self.names.remove(name);
        } else {
            self.names.insert(name.to_owned(), Watched { settled: Some(stamp), pending: None });
        }
    }

    /// A name as it was dealt with, unless it has changed since.
    pub(super) fn unchanged(&self, name: &str) -> Option<Stamp> {
        let watched = self.names.get(name)?;
        if watched.pending.is_some() { None } else { watched.settled }
    }

    /// A name is to be tried again at an instant, changed or not.
    pub(super) fn again(&mut self, name: &str, stamp: Stamp, at: Instant, now: Instant) {
        let watched = self.names.entry(name.to_owned()).or_default();
        watched.settled = None;
        // It is not restless, it waits for us.
        watched.pending = Some(Pending { stamp, since: now, due: at, told: true, renamed: false, fresh: false });
    }
}

impl Watched {
    fn observe(&mut self, stamp: Stamp, renamed: bool, now: Instant, pace: Pace) {
        if Some(stamp) == self.settled {
            self.pending = None;
            return;
        }
        let gone = |settled: Stamp| {
            (settled.manifest.is_some() && stamp.manifest.is_none())
                || (settled.signature.is_some() && stamp.signature.is_none())
        };
        let vanished = stamp.component.is_none() || self.settled.is_some_and(gone);
        let wait = match (vanished, renamed) {
            (true, _) => pace.gone,
            (false, true) => pace.renamed,
            (false, false) => pace.written,
        };
        let (due, fresh) = (now + wait, renamed && !vanished);
        self.pending = Some(match self.pending {
            Some(pending) if pending.stamp == stamp => Pending {
                due: if renamed { pending.due.min(due) } else { pending.due },
                renamed: pending.renamed || renamed,
                fresh: pending.fresh || (fresh && !pending.renamed),
                ..pending
            },
            // One whole file after the other: the last one need not rest for longer than the first.
            Some(pending) if pending.renamed && fresh => Pending { stamp, due: pending.due.min(due), fresh, ..pending },
            Some(pending) => Pending { stamp, due, renamed, fresh, ..pending },
            None => Pending { stamp, since: now, due, told: false, renamed, fresh },
        });
    }
}

impl Pending {
    fn step(&mut self, now: Instant) -> Option<Step> {
        if now >= self.due {
            return Some(if self.stamp.component.is_some() { Step::Load(self.stamp) } else { Step::Remove });
        }
        let restless = !self.told && self.stamp.component.is_some() && now >= self.since + RESTLESS;
        self.told |= restless;
        restless.then_some(Step::Restless)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::folder::{Named, look};
    use super::*;

    /// A folder that really changes under a clock that does not run.
    struct Scene {
        dir: tempfile::TempDir,
        settling: Settling,
        start: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), settling: Settling::new(Pace::CAREFUL), start: Instant::now() }
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.dir.path().join(file), text).unwrap();
        }

        fn remove(&self, file: &str) {
            fs::remove_file(self.dir.path().join(file)).unwrap();
        }

        fn stamp(&self, name: &str) -> Stamp {
            look(self.dir.path(), &mut Named::default()).unwrap().plugins[name]
        }

        fn look(&mut self, at_ms: u64, renamed: &[&str]) -> Vec<(String, Step)> {
            let now = self.start + Duration::from_millis(at_ms);
            let renamed = renamed.iter().map(|name| (*name).to_owned()).collect();
            let seen = look(self.dir.path(), &mut Named::default()).unwrap().plugins;
            self.settling.observe(&seen, &renamed, now);
            self.settling.due(now)
        }

        fn next_ms(&self) -> Option<u128> {
            self.settling.next().map(|next| (next - self.start).as_millis())
        }

        fn load(&self, name: &str) -> Vec<(String, Step)> {
            vec![(name.to_owned(), Step::Load(self.stamp(name)))]
        }
    }

    #[test]
    fn a_file_is_loaded_when_it_has_been_left_alone() {
        let mut scene = Scene::new();
        scene.write("a.wasm", "1");
        assert_eq!(scene.look(0, &[]), []);
        assert_eq!(scene.next_ms(), Some(300));
        scene.write("a.wasm", "12");
        assert_eq!(scene.look(200, &[]), []);
        assert_eq!(scene.look(499, &[]), []);
        assert_eq!(scene.look(500, &[]), scene.load("a"));
        let stamp = scene.stamp("a");
        scene.settling.settled("a", stamp);
        assert_eq!(scene.look(5_000, &[]), []);
        assert_eq!(scene.next_ms(), None);
    }

    #[test]
    fn a_rename_into_place_is_quick() {
        let mut scene = Scene::new();
        scene.write("a.wasm", "1");
        assert_eq!(scene.look(0, &["a"]), []);
        assert_eq!(scene.look(50, &[]), scene.load("a"));
        scene.write("b.wasm", "1");
        assert_eq!(scene.look(60, &[]), scene.load("a"));
        // The hint may come after the look.
        assert_eq!(scene.look(70, &["b"]), scene.load("a"));
        assert_eq!(scene.look(120, &[]).len(), 2);
    }

    #[test]
    fn files_that_are_renamed_into_place_all_the_time_are_loaded_all_the_same() {
        let mut scene = Scene::new();
        let mut loaded = 0;
        for tick in 0..20_u64 {
            scene.write("a.wasm", &tick.to_string());
            let steps = scene.look(tick * 40, &["a"]);
            assert!(steps.is_empty() || steps == scene.load("a"), "{steps:?}");
            if !steps.is_empty() {
                loaded += 1;
                let stamp = scene.stamp("a");
                scene.settling.settled("a", stamp);
            }
        }
        assert_eq!(loaded, 6, "every third: after 50 ms, seen at 80");
    }

    #[test]
    fn a_file_that_was_renamed_into_place_is_worth_loading_at_once() {
        let mut scene = Scene::new();
        scene.write("a.wasm", "1");
        scene.look(0, &["a"]);
        let stamp = scene.stamp("a");
        assert_eq!(scene.settling.fresh(), [("a".to_owned(), stamp)]);
        scene.look(10, &["a"]);
        assert_eq!(scene.settling.fresh(), [], "once");
        scene.write("b.wasm", "1");
        scene.look(20, &[]);
        assert_eq!(scene.settling.fresh(), [], "nobody knows whether it is whole");
        scene.look(30, &["b"]);
        assert_eq!(scene.settling.fresh().len(), 1, "the hint came after the look");
    }

    #[test]
    fn a_manifest_alone_is_a_change() {
        let mut scene = Scene::new();
        scene.write("a.wasm", "1");
        let stamp = scene.stamp("a");
        scene.settling.settled("a", stamp);
        scene.write("a.toml", "");
        assert_eq!(scene.look(0, &[]), []);
        assert_eq!(scene.look(300, &[]), scene.load("a"));
        let stamp = scene.stamp("a");
        scene.settling.settled("a", stamp);
        scene.remove("a.toml");
        assert_eq!(scene.look(1_000, &[]), []);
        assert_eq!(scene.look(1_999, &[]), []);
        assert_eq!(scene.look(2_000, &[]), scene.load("a"));
    }

    #[test]
    fn a_file_that_is_gone_is_given_a_moment_to_come_back() {
        let mut scene = Scene::new();
        scene.write("a.wasm", "1");
        let stamp = scene.stamp("a");
        scene.settling.settled("a", stamp);
        scene.remove("a.wasm");
        assert_eq!(scene.look(0, &[]), []);
        scene.write("a.wasm", "2");
        assert_eq!(scene.look(900, &[]), []);
        assert_eq!(scene.look(1_200, &[]), scene.load("a"));
        scene.remove("a.wasm");
        assert_eq!(scene.look(2_000, &[]), []);
        assert_eq!(scene.look(3_000, &[]), [("a".to_owned(), Step::Remove)]);
        scene.settling.settled("a", Stamp::default());
        assert_eq!(scene.look(4_000, &[]), []);
    }

    #[test]
    fn a_file_that_could_never_be_read_is_forgotten_too() {
        let mut scene = Scene::new();
        scene.write("a.wasm", "1");
        let (now, stamp) = (scene.start, scene.stamp("a"));
        scene.settling.again("a", stamp, now + Duration::from_secs(10), now);
        scene.remove("a.wasm");
        assert_eq!(scene.look(10, &[]), []);
        assert_eq!(scene.look(1_010, &[]), [("a".to_owned(), Step::Remove)]);
    }

    #[test]
    fn a_file_that_never_rests_is_told_once_and_not_loaded() {
        let mut scene = Scene::new();
        let mut told = Vec::new();
        for tick in 0..20_u64 {
            scene.write("a.wasm", &"x".repeat(usize::try_from(tick).unwrap() + 1));
            told.extend(scene.look(tick * 200, &[]));
        }
        assert_eq!(told, [("a".to_owned(), Step::Restless)]);
        assert_eq!(scene.look(19 * 200 + 300, &[]), scene.load("a"));
    }
}
