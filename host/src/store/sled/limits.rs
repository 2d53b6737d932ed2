//! Verbs on limits, pauses and shares.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::core::{Core, Verdict};
use super::index::{Charged, Count};
use super::keys;
use crate::event::{Change, LimitChange, PauseChange};
use crate::limit::{Fairness, Limit, LimitRule, MAX_RULES};
use crate::schedule::{Origin, Pause};
use crate::store::limits::{Backlog, LimitUse, Limits, Pausable, ValueUse};
use crate::store::{Obstacle, StoreError};
use crate::time::Timestamp;

/// Tasks that change their lanes between two groups, at most.
const MAX_RELANED: usize = 2_048;
/// Changes of the rules that waiting tasks are behind, at most: further ones are refused until they have caught up.
const MAX_BEHIND: usize = 8;
/// Queues and kinds that are paused at the same time.
const MAX_PAUSES: usize = 10_000;
/// Values of a rule that are told, the busiest first.
const MAX_VALUES: usize = 20;
/// Token buckets that have become full and are forgotten at once, at most.
const MAX_FORGOTTEN: usize = 64;

impl Core {
    /// Reads what limits the tasks; they are read later.
    pub(super) fn load_limits(&mut self, now: Timestamp) -> Verdict<()> {
        let rules = self.known_limits()?.into_values().map(|limit| limit.rule).collect();
        let fairness = self.trees.fairness.get(keys::FAIRNESS)?;
        self.index.limit(rules, fairness);
        for record in self.trees.pause.range(Bound::Unbounded, Bound::Unbounded) {
            if let Some(line) = keys::pause_of(&record?.0) {
                self.index.pause(&line, true);
            }
        }
        for record in self.trees.bucket.range(Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = record?;
            let Some((rule, of)) = keys::bucket_of(&key) else { continue };
            let tokens = Some(self.trees.bucket.decode(&value)?);
            self.index.restore(&Charged { rule: rule.to_owned(), value: of.to_owned(), tokens }, now);
        }
        Ok(())
    }

    fn known_limits(&self) -> Verdict<BTreeMap<String, Limit>> {
        let mut limits = BTreeMap::new();
        for record in self.trees.limit.range(Bound::Unbounded, Bound::Unbounded) {
            let limit: Limit = self.trees.limit.decode(&record?.1)?;
            limits.insert(limit.rule.name.clone(), limit);
        }
        Ok(limits)
    }

    /// See [`crate::store::Store::declare_limits`].
    pub(super) fn declare_limits(
        &mut self,
        rules: Vec<LimitRule>,
        fairness: Option<Fairness>,
        now: Timestamp,
    ) -> Verdict<()> {
        let before = self.known_limits()?;
        let mut limits: BTreeMap<_, _> = before
            .iter()
            .filter(|(_, limit)| limit.origin == Origin::Client)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let mut declared = std::collections::HashSet::new();
        for rule in rules {
            if !declared.insert(rule.name.clone()) {
                return Err(Obstacle::Exists.because(format!("two limits are called `{}`", rule.name)).into());
            }
            let revision = match before.get(&rule.name) {
                Some(old) if old.rule == rule && old.origin == Origin::Config => old.revision,
                old => old.map_or(0, |old| old.revision) + 1,
            };
            limits.insert(rule.name.clone(), Limit { rule, origin: Origin::Config, revision });
        }
        if limits.len() > MAX_RULES {
            return Err(StoreError::Full(format!("{} limits are more than {MAX_RULES}", limits.len())).into());
        }
        let shares = self.trees.fairness.get(keys::FAIRNESS)?;
        if shares == fairness && before == limits {
            return Ok(());
        }
        self.check_caught_up()?;
        if shares != fairness {
            match &fairness {
                Some(fairness) => self.trees.fairness.put(keys::FAIRNESS, fairness)?,
                None => drop(self.trees.fairness.remove(keys::FAIRNESS)?),
            }
            self.emit(now, Change::Shares { key: fairness.as_ref().map(|fairness| fairness.key.to_string()) });
        }
        self.keep_limits(&before, limits, fairness, now)
    }

    /// Writes and tells what is different, and counts by it.
    fn keep_limits(
        &mut self,
        before: &BTreeMap<String, Limit>,
        limits: BTreeMap<String, Limit>,
        fairness: Option<Fairness>,
        now: Timestamp,
    ) -> Verdict<()> {
        let told = |limit: &Limit, change| {
            let name = limit.rule.name.clone();
            Change::Limit { name, revision: limit.revision, change }
        };
        for (name, gone) in before.iter().filter(|(name, _)| !limits.contains_key(*name)) {
            self.trees.limit.remove(name.as_bytes())?;
            self.emit(now, told(gone, LimitChange::Deleted));
        }
        for (name, limit) in limits.iter().filter(|(name, limit)| before.get(*name) != Some(limit)) {
            self.trees.limit.put(name.as_bytes(), limit)?;
            let change = if before.contains_key(name) { LimitChange::Changed } else { LimitChange::Declared };
            self.emit(now, told(limit, change));
        }
        for (name, old) in before {
            let new = limits.get(name).map(|limit| &limit.rule);
            if new.is_none_or(|new| new.rate.is_none() || new.key != old.rule.key) {
                self.forget_tokens(name)?;
            }
        }
        let rules = limits.into_values().map(|limit| limit.rule).collect();
        self.index.limit(rules, fairness);
        self.relane()?;
        self.wake();
        Ok(())
    }

    /// Refuses one more change of the rules while waiting tasks are far behind: to catch up at once would hold up
    /// every other verb.
    fn check_caught_up(&self) -> Verdict<()> {
        if self.index.generations_behind() < MAX_BEHIND {
            return Ok(());
        }
        let text =
            format!("waiting tasks are still being put in order after {MAX_BEHIND} changes of limits: try again soon");
        Err(Obstacle::LimitsSettling.because(text).into())
    }

    /// Puts one slice of the tasks that wait by rules of before into their place by those of today. The others do not
    /// begin meanwhile; further slices follow between groups, so that a long queue holds up no verb.
    pub(super) fn relane(&mut self) -> Verdict<()> {
        let unplaced = self.index.unplaced(MAX_RELANED);
        if unplaced.is_empty() {
            return Ok(());
        }
        for task in unplaced {
            let spec = self.trees.spec(task.id)?;
            self.index.relane(&spec, task);
        }
        self.wake();
        Ok(())
    }

    fn forget_tokens(&mut self, rule: &str) -> Verdict<()> {
        let first = keys::bucket(rule, "");
        let mut gone = Vec::new();
        for record in self.trees.bucket.range(Bound::Included(&first), Bound::Unbounded) {
            let (key, _) = record?;
            if keys::bucket_of(&key).is_none_or(|(of, _)| of != rule) {
                break;
            }
            gone.push(key);
        }
        gone.iter().try_for_each(|key| self.trees.bucket.remove(key).map(drop))
    }

    /// Writes what is left of the rates.
    pub(super) fn keep_tokens(&mut self, now: Timestamp) -> Verdict<()> {
        for Charged { rule, value, tokens } in self.index.charged(now, MAX_FORGOTTEN) {
            let key = keys::bucket(&rule, &value);
            match tokens {
                Some(tokens) => self.trees.bucket.put(&key, &tokens)?,
                None => drop(self.trees.bucket.remove(&key)?),
            }
        }
        Ok(())
    }

    /// See [`crate::store::Store::limits`].
    pub(super) fn limits(&mut self, now: Timestamp) -> Verdict<Limits> {
        self.index.advance(now);
        let limits = self.known_limits()?;
        let names: Vec<_> = limits.keys().map(String::as_str).collect();
        let values = self.index.values(&names);
        let usage = |(limit, mut busiest): (Limit, Vec<ValueUse>)| {
            let values = busiest.len();
            let running = busiest.iter().map(|value| u64::from(value.running)).sum();
            let held = busiest.iter().map(|value| value.held).sum();
            busiest.truncate(MAX_VALUES);
            LimitUse { limit, running, held, values, busiest }
        };
        let limits = limits.into_values().zip(values).map(usage).collect();
        Ok(Limits { limits, fairness: self.trees.fairness.get(keys::FAIRNESS)? })
    }

    /// See [`crate::store::Store::put_limit`].
    pub(super) fn put_limit(&mut self, rule: LimitRule, revision: Option<u64>, now: Timestamp) -> Verdict<Limit> {
        let before = self.known_limits()?;
        let revision = match (before.get(&rule.name), revision) {
            (None, None) if before.len() >= MAX_RULES => {
                return Err(StoreError::Full(format!("there are {MAX_RULES} limits already")).into());
            }
            (None, None) => 1,
            (None, Some(_)) => return Err(StoreError::Stale.into()),
            (Some(old), revision) => {
                let next = changeable(old, revision)?;
                if old.rule == rule {
                    return Ok(old.clone());
                }
                next
            }
        };
        self.check_caught_up()?;
        let limit = Limit { rule, origin: Origin::Client, revision };
        let mut limits = before.clone();
        limits.insert(limit.rule.name.clone(), limit.clone());
        let fairness = self.trees.fairness.get(keys::FAIRNESS)?;
        self.keep_limits(&before, limits, fairness, now)?;
        Ok(limit)
    }

    /// See [`crate::store::Store::delete_limit`].
    pub(super) fn delete_limit(&mut self, name: &str, revision: u64, now: Timestamp) -> Verdict<()> {
        let before = self.known_limits()?;
        changeable(before.get(name).ok_or(StoreError::NotFound)?, Some(revision))?;
        self.check_caught_up()?;
        let mut limits = before.clone();
        limits.remove(name);
        let fairness = self.trees.fairness.get(keys::FAIRNESS)?;
        self.keep_limits(&before, limits, fairness, now)
    }

    /// See [`crate::store::Store::pause`].
    pub(super) fn pause(&mut self, line: &Pausable, reason: String, now: Timestamp) -> Verdict<Backlog> {
        let key = keys::pause(line);
        if !self.trees.pause.contains(&key)? {
            if self.trees.pause.range(Bound::Unbounded, Bound::Unbounded).count() >= MAX_PAUSES {
                return Err(StoreError::Full(format!("{MAX_PAUSES} queues and kinds are paused already")).into());
            }
            self.trees.pause.put(&key, &Pause { since: now, reason: reason.clone() })?;
            self.emit(now, told(line, PauseChange::Paused { reason }));
            self.index.pause(line, true);
            self.wake();
        }
        self.line(line, now)
    }

    /// See [`crate::store::Store::resume`].
    pub(super) fn resume(&mut self, line: &Pausable, now: Timestamp) -> Verdict<Backlog> {
        if self.trees.pause.remove(&keys::pause(line))? {
            self.emit(now, told(line, PauseChange::Resumed));
            self.index.pause(line, false);
            self.wake();
        }
        self.line(line, now)
    }

    fn line(&mut self, line: &Pausable, now: Timestamp) -> Verdict<Backlog> {
        let (lines, name) = match line {
            Pausable::Queue(name) => (self.queues(now)?, name),
            Pausable::Kind(name) => (self.kinds(now)?, name),
        };
        let known = lines.into_iter().find(|line| line.name == *name);
        Ok(known.unwrap_or_else(|| Backlog { name: name.clone(), ..Backlog::default() }))
    }

    /// See [`crate::store::Store::queues`].
    pub(super) fn queues(&mut self, now: Timestamp) -> Verdict<Vec<Backlog>> {
        self.index.advance(now);
        self.lines(self.index.queue_counts(), |line| if let Pausable::Queue(name) = line { Some(name) } else { None })
    }

    /// See [`crate::store::Store::kinds`].
    pub(super) fn kinds(&mut self, now: Timestamp) -> Verdict<Vec<Backlog>> {
        self.index.advance(now);
        self.lines(self.index.kind_counts(), |line| if let Pausable::Kind(name) = line { Some(name) } else { None })
    }

    /// Those that have tasks, and those that are paused.
    fn lines(&self, counts: Vec<Count>, name_of: fn(Pausable) -> Option<String>) -> Verdict<Vec<Backlog>> {
        let mut lines = BTreeMap::new();
        for Count { name, tally, oldest_due } in counts {
            let line = Backlog { queued: tally.queued, running: tally.running, oldest_due, ..Backlog::default() };
            lines.insert(name.clone(), Backlog { name, ..line });
        }
        for record in self.trees.pause.range(Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = record?;
            let Some(name) = keys::pause_of(&key).and_then(name_of) else { continue };
            let line = lines.entry(name.clone()).or_insert_with(|| Backlog { name, ..Backlog::default() });
            line.paused = Some(self.trees.pause.decode(&value)?);
        }
        Ok(lines.into_values().collect())
    }
}

/// The event of a pause.
fn told(line: &Pausable, change: PauseChange) -> Change {
    match line.clone() {
        Pausable::Queue(name) => Change::Queue { name, change },
        Pausable::Kind(name) => Change::Kind { name, change },
    }
}

/// The next revision of a limit that a client may change, if it still is what the client saw.
fn changeable(limit: &Limit, revision: Option<u64>) -> Result<u64, StoreError> {
    if limit.origin == Origin::Config {
        let text = format!("`{}` is declared in the configuration: change it there", limit.rule.name);
        return Err(Obstacle::Declared.because(text));
    }
    if revision != Some(limit.revision) {
        return Err(StoreError::Stale);
    }
    Ok(limit.revision + 1)
}
