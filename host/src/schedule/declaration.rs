//! A schedule as somebody wrote it, before it is checked as a whole: the same rules for a
//! configuration file and for a client.

use super::cron::Cron;
use super::{
    Action, CatchUp, Dst, Fold, Gap, MAX_INTERVAL_MS, MAX_PREVIEW, MIN_INTERVAL_MS, ON_TIME_MS, Overlap, ScheduleSpec,
    Trigger, zone,
};
use crate::time::Timestamp;

/// Instants of one schedule.
pub const MAX_INSTANTS: usize = 1_000;
/// The longest jitter: an hour, in milliseconds.
pub const MAX_JITTER_MS: u64 = 3_600_000;
/// Firings that wait or are caught up when nothing is said.
pub const DEFAULT_CAP: u32 = 100;
/// Firings that wait or are caught up at most.
pub const MAX_CAP: u32 = 1_000;
/// From here on it is tried whether an expression ever fires: 2020-01-01.
const TRIAL_MS: u64 = 1_577_836_800_000;

/// What is wrong with a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field's name; durations without their unit.
    pub field: &'static str,
    /// What, and what would be right.
    pub message: String,
    /// Each field is right by itself, but there is no time at which it would fire.
    pub never_fires: bool,
}

/// The fields of a schedule besides its name and its action, as far as they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The interval, in milliseconds.
    pub every_ms: Option<u64>,
    /// Its phase, in milliseconds.
    pub phase_ms: Option<u64>,
    /// A cron expression.
    pub cron: Option<String>,
    /// Its zone; UTC when absent.
    pub zone: Option<String>,
    /// `shift` or `skip`.
    pub dst_gap: Option<String>,
    /// `first`, `last` or `both`.
    pub dst_overlap: Option<String>,
    /// Instants, RFC 3339.
    pub at: Option<Vec<String>>,
    /// `skip`, `queue-one`, `queue-all`, `cancel-other` or `allow`.
    pub overlap: Option<String>,
    /// How many wait with `queue-all`.
    pub overlap_cap: Option<u64>,
    /// `skip`, `latest`, `all` or `window`.
    pub catch_up: Option<String>,
    /// How many happen with `all`.
    pub catch_up_cap: Option<u64>,
    /// How late they may be with `window`, in milliseconds.
    pub catch_up_window_ms: Option<u64>,
    /// In milliseconds.
    pub jitter_ms: Option<u64>,
    /// RFC 3339.
    pub start: Option<String>,
    /// RFC 3339.
    pub end: Option<String>,
    /// Firings at most.
    pub max_fires: Option<u64>,
    /// Failures in a row.
    pub pause_on_failure: Option<u64>,
}

impl Declaration {
    /// The schedule, or everything that is wrong with it.
    pub fn check(&self, name: &str, action: Action) -> Result<ScheduleSpec, Vec<Wrong>> {
        let mut check = Check { given: self, wrong: Vec::new() };
        let trigger = check.trigger();
        let overlap = check.overlap(&action);
        let catch_up = check.catch_up();
        let (start, end) = check.bounds();
        let max_fires = check.number("max_fires", self.max_fires, 1, u64::MAX);
        let bound = check.number("pause_on_failure", self.pause_on_failure, 1, 1_000_000);
        let jitter_ms = check.jitter();
        let Check { mut wrong, .. } = check;
        let Some(trigger) = trigger.filter(|_| wrong.is_empty()) else { return Err(wrong) };
        let spec = ScheduleSpec {
            overlap,
            catch_up,
            jitter_ms,
            start,
            end,
            max_fires,
            pause_on_failure: bound.and_then(|bound| u32::try_from(bound).ok()),
            ..ScheduleSpec::new(name, trigger, action)
        };
        if let Err(message) = spec.check_fires_after(start.unwrap_or(Timestamp::from_millis(TRIAL_MS)))
            && !matches!(spec.trigger, Trigger::Instants(_))
        {
            let field = if self.cron.is_some() { "cron" } else { "every" };
            wrong.push(Wrong { field, message, never_fires: true });
        }
        if wrong.is_empty() { Ok(spec) } else { Err(wrong) }
    }
}

struct Check<'a> {
    given: &'a Declaration,
    wrong: Vec<Wrong>,
}

impl Check<'_> {
    fn wrong(&mut self, field: &'static str, message: impl Into<String>) {
        self.wrong.push(Wrong { field, message: message.into(), never_fires: false });
    }

    fn number(&mut self, field: &'static str, value: Option<u64>, min: u64, max: u64) -> Option<u64> {
        let value = value?;
        if !(min..=max).contains(&value) {
            let most = if max == u64::MAX { "up".to_owned() } else { format!("to {max}") };
            self.wrong(field, format!("{value} is out of range: {min} {most}"));
        }
        Some(value)
    }

    fn choice<T: Copy>(&mut self, field: &'static str, value: Option<&str>, words: &[(&str, T)]) -> Option<T> {
        let value = value?;
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let shown: String = value.chars().take(64).collect();
            self.wrong(field, format!("{shown:?} is not one of {}", all.join(", ")));
        }
        found
    }

    fn only_with(&mut self, field: &'static str, is_given: bool, fits: bool, what: &str) {
        if is_given && !fits {
            self.wrong(field, format!("belongs to {what}"));
        }
    }

    fn trigger(&mut self) -> Option<Trigger> {
        let given = self.given;
        let kinds = [("every", given.every_ms.is_some()), ("cron", given.cron.is_some()), ("at", given.at.is_some())];
        let mut named = kinds.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name);
        let Some(kind) = named.next() else {
            self.wrong("every", "when it fires is missing: `every`, `cron` or `at`");
            return None;
        };
        if let Some(other) = named.next() {
            self.wrong(other, format!("cannot be joined with `{kind}`: give one of `every`, `cron` and `at`"));
            return None;
        }
        self.only_with("phase", given.phase_ms.is_some(), kind == "every", "`every`");
        self.only_with("zone", given.zone.is_some(), kind == "cron", "`cron`");
        let has_dst = given.dst_gap.is_some() || given.dst_overlap.is_some();
        self.only_with("dst", has_dst, kind == "cron", "`cron`");
        match kind {
            "every" => self.interval(),
            "cron" => self.cron(),
            _ => self.instants(),
        }
    }

    fn interval(&mut self) -> Option<Trigger> {
        let every_ms = self.number("every", self.given.every_ms, MIN_INTERVAL_MS, MAX_INTERVAL_MS)?;
        let phase_ms = self.given.phase_ms.unwrap_or(0);
        if phase_ms > 0 && phase_ms >= every_ms {
            self.wrong("phase", format!("{phase_ms} ms is not less than the interval, {every_ms} ms"));
        }
        Some(Trigger::Interval { every_ms, phase_ms })
    }

    fn cron(&mut self) -> Option<Trigger> {
        let expression = self.given.cron.clone()?;
        if let Err(why) = Cron::parse(&expression) {
            self.wrong("cron", why);
        }
        let zone = match zone::find(self.given.zone.as_deref().unwrap_or("UTC")) {
            Ok((spelling, _)) => spelling,
            Err(why) => {
                self.wrong("zone", why);
                String::new()
            }
        };
        let gap = self.choice("dst.gap", self.given.dst_gap.as_deref(), &[("shift", Gap::Shift), ("skip", Gap::Skip)]);
        let folds = [("first", Fold::First), ("last", Fold::Last), ("both", Fold::Both)];
        let overlap = self.choice("dst.overlap", self.given.dst_overlap.as_deref(), &folds);
        let dst = Dst { gap: gap.unwrap_or_default(), overlap: overlap.unwrap_or_default() };
        Some(Trigger::Cron { expression, zone, dst })
    }

    fn instants(&mut self) -> Option<Trigger> {
        let given = self.given.at.as_ref()?;
        if given.is_empty() || given.len() > MAX_INSTANTS {
            self.wrong("at", format!("has {} instants; 1 to {MAX_INSTANTS} are right", given.len()));
            return None;
        }
        let mut instants: Vec<_> = given.iter().filter_map(|text| self.instant("at", text)).collect();
        instants.sort_unstable();
        instants.dedup();
        Some(Trigger::Instants(instants))
    }

    fn instant(&mut self, field: &'static str, text: &str) -> Option<Timestamp> {
        let millis = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
        if millis.is_none() {
            let shown: String = text.chars().take(64).collect();
            let rule = "is not an RFC 3339 instant from 1970 to 9999-12-30, such as 2030-01-31T08:00:00Z";
            self.wrong(field, format!("{shown:?} {rule}"));
        }
        millis.map(Timestamp::from_millis)
    }

    fn bounds(&mut self) -> (Option<Timestamp>, Option<Timestamp>) {
        let given = self.given;
        let start = given.start.as_deref().and_then(|text| self.instant("start", text));
        let end = given.end.as_deref().and_then(|text| self.instant("end", text));
        if let (Some(start), Some(end)) = (start, end)
            && end < start
        {
            self.wrong("end", format!("{end} is before the start, {start}"));
        }
        (start, end)
    }

    fn jitter(&mut self) -> u64 {
        let given = self.given;
        let jitter_ms = self.number("jitter", given.jitter_ms, 0, MAX_JITTER_MS).unwrap_or(0);
        if let Some(every_ms) = given.every_ms
            && jitter_ms >= every_ms
            && jitter_ms > 0
        {
            self.wrong("jitter", format!("{jitter_ms} ms is not less than the interval, {every_ms} ms"));
        }
        jitter_ms
    }

    fn cap(&mut self, field: &'static str, value: Option<u64>) -> u32 {
        let cap = self.number(field, value, 1, MAX_CAP.into());
        cap.and_then(|cap| u32::try_from(cap).ok()).unwrap_or(DEFAULT_CAP)
    }

    fn overlap(&mut self, action: &Action) -> Overlap {
        let given = self.given;
        let cap = self.cap("overlap_cap", given.overlap_cap);
        let words = [
            ("skip", Overlap::Skip),
            ("queue-one", Overlap::QueueOne),
            ("queue-all", Overlap::QueueAll(cap)),
            ("cancel-other", Overlap::CancelOther),
            ("allow", Overlap::Allow),
        ];
        let chosen = self.choice("overlap", given.overlap.as_deref(), &words);
        let queues = matches!(chosen, Some(Overlap::QueueAll(_)));
        self.only_with("overlap_cap", given.overlap_cap.is_some(), queues, "`overlap` = `queue-all`");
        if let (Action::Dispatch { .. }, Some(Overlap::Allow | Overlap::CancelOther)) = (action, chosen) {
            self.wrong("overlap", "a dispatcher has one pass at a time: skip, queue-one or queue-all");
        }
        chosen.unwrap_or(action.default_overlap())
    }

    fn catch_up(&mut self) -> CatchUp {
        let given = self.given;
        let cap = self.cap("catch_up_cap", given.catch_up_cap);
        let window_ms = self.number("catch_up_window", given.catch_up_window_ms, ON_TIME_MS, MAX_INTERVAL_MS);
        let words = [
            ("skip", CatchUp::Skip),
            ("latest", CatchUp::Latest),
            ("all", CatchUp::All(cap)),
            ("window", CatchUp::Window(window_ms.unwrap_or(0))),
        ];
        let chosen = self.choice("catch_up", given.catch_up.as_deref(), &words);
        let (is_all, is_window) = (matches!(chosen, Some(CatchUp::All(_))), matches!(chosen, Some(CatchUp::Window(_))));
        self.only_with("catch_up_cap", given.catch_up_cap.is_some(), is_all, "`catch_up` = `all`");
        self.only_with("catch_up_window", window_ms.is_some(), is_window, "`catch_up` = `window`");
        if is_window && window_ms.is_none() {
            self.wrong("catch_up_window", "is missing: how late a firing may be");
        }
        debug_assert!(
            usize::try_from(MAX_CAP).is_ok_and(|cap| cap <= MAX_PREVIEW),
            "a look keeps what may be caught up"
        );
        chosen.unwrap_or_default()
    }
}
