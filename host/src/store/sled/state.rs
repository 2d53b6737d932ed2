//! Verbs on plugin state. The account of a namespace (bytes, latest version) changes in the same
//! commit as its entries.

use std::ops::Bound;

use super::codec::Namespace;
use super::core::{Core, MAX_PAGE, MAX_SCAN, Verdict};
use super::keys;
use crate::store::StoreError;
use crate::store::request::{Expected, StateEntry, StateWrite, Swapped};
use crate::time::Timestamp;

/// Expired entries that one write or one prune looks for, in records.
const MAX_SWEEP: usize = 1_024;
/// Keys and values that one scan answers, in bytes, unless the first entry alone is larger.
const MAX_SCAN_BYTES: u64 = 1024 * 1024;

impl Core {
    /// See [`crate::store::Store::state_get`].
    pub(super) fn state_get(&self, plugin: &str, key: &str, now: Timestamp) -> Verdict<Option<StateEntry>> {
        Ok(self.trees.state.get(&keys::state(plugin, key))?.filter(|entry| is_current(entry, now)))
    }

    /// See [`crate::store::Store::state_put`].
    pub(super) fn state_put(&mut self, write: StateWrite, now: Timestamp) -> Verdict<Swapped> {
        let StateWrite { plugin, key, value, expires_at, expected, quota_bytes } = write;
        let place = keys::state(&plugin, &key);
        let stored = self.trees.state.get(&place)?;
        let held = stored.as_ref().map_or(0, |entry| size(&key, entry));
        let current = stored.filter(|entry| is_current(entry, now));
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => current.is_none(),
            Expected::Version(version) => current.as_ref().is_some_and(|entry| entry.version == version),
        };
        if !holds {
            return Ok(Swapped::Stale(current));
        }
        let mut account = self.account(&plugin)?;
        let entry = StateEntry { value, version: account.version + 1, expires_at };
        let wanted = size(&key, &entry);
        if account.bytes - held.min(account.bytes) + wanted > quota_bytes {
            // What has expired may be in the way. Sweeping it is a change of its own, with or
            // without the write: no reader could see those entries any more.
            self.sweep_namespace(&plugin, &place, now)?;
            account = self.account(&plugin)?;
        }
        let bytes = account.bytes - held.min(account.bytes) + wanted;
        if bytes > quota_bytes {
            let text = format!("the state of plugin {plugin} would take {bytes} bytes, {quota_bytes} are allowed");
            return Err(StoreError::Full(text).into());
        }
        self.trees.state.put(&place, &entry)?;
        self.set_account(&plugin, Namespace { version: entry.version, bytes })?;
        Ok(Swapped::Stored(entry.version))
    }

    /// See [`crate::store::Store::state_delete`].
    pub(super) fn state_delete(&mut self, plugin: &str, key: &str, now: Timestamp) -> Verdict<bool> {
        let Some(entry) = self.trees.state.get(&keys::state(plugin, key))? else { return Ok(false) };
        self.drop_entry(plugin, key, &entry)?;
        Ok(is_current(&entry, now))
    }

    /// See [`crate::store::Store::state_scan`].
    pub(super) fn state_scan(
        &self,
        plugin: &str,
        (prefix, after): (&str, Option<&str>),
        limit: u32,
        now: Timestamp,
    ) -> Verdict<Vec<(String, StateEntry)>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_PAGE);
        let start = keys::state(plugin, prefix);
        let after = after.map(|after| keys::state(plugin, after)).filter(|after| *after >= start);
        let from = after.as_ref().map_or(Bound::Included(start.as_slice()), |after| Bound::Excluded(after.as_slice()));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for record in self.trees.state.range(from, Bound::Unbounded) {
            let (key, value) = record?;
            if found.len() >= limit || !key.starts_with(&start) {
                break;
            }
            let entry = self.trees.state.decode(&value)?;
            if let Some((_, key)) = keys::state_of(&key).filter(|_| is_current(&entry, now)) {
                bytes += size(key, &entry);
                if bytes > MAX_SCAN_BYTES && !found.is_empty() {
                    break;
                }
                found.push((key.to_owned(), entry));
            }
        }
        Ok(found)
    }

    /// Removes expired entries, a slice of all namespaces at a time.
    pub(super) fn sweep_state(&mut self, now: Timestamp) -> Verdict<()> {
        let from = self.swept_after.take().unwrap_or_default();
        self.swept_after = self.sweep((&from, None), &[], MAX_SWEEP, now)?;
        Ok(())
    }

    /// Removes a namespace's expired entries, a bounded number of them, except the one at `keep`.
    fn sweep_namespace(&mut self, plugin: &str, keep: &[u8], now: Timestamp) -> Verdict<()> {
        let start = keys::state(plugin, "");
        self.sweep((&start, Some(&start)), keep, MAX_SCAN, now)?;
        Ok(())
    }

    /// Looks at `limit` records; answers where the next slice starts, unless this was the last.
    fn sweep(
        &mut self,
        (from, prefix): (&[u8], Option<&[u8]>),
        keep: &[u8],
        limit: usize,
        now: Timestamp,
    ) -> Verdict<Option<Vec<u8>>> {
        let mut expired = Vec::new();
        let mut latest = None;
        let mut examined = 0;
        for record in self.trees.state.range(Bound::Included(from), Bound::Unbounded).take(limit) {
            let (key, value) = record?;
            if prefix.is_some_and(|prefix| !key.starts_with(prefix)) {
                break;
            }
            let entry = self.trees.state.decode(&value)?;
            if !is_current(&entry, now) && *key != *keep {
                expired.push((key.to_vec(), entry));
            }
            latest = Some(key.to_vec());
            examined += 1;
        }
        for (key, entry) in &expired {
            if let Some((plugin, key)) = keys::state_of(key) {
                self.drop_entry(plugin, key, entry)?;
            }
        }
        Ok(latest.filter(|_| examined == limit))
    }

    fn drop_entry(&mut self, plugin: &str, key: &str, entry: &StateEntry) -> Verdict<()> {
        let account = self.account(plugin)?;
        self.trees.state.remove(&keys::state(plugin, key))?;
        let bytes = account.bytes.saturating_sub(size(key, entry));
        self.set_account(plugin, Namespace { bytes, ..account })
    }

    fn account(&mut self, plugin: &str) -> Verdict<Namespace> {
        if let Some(account) = self.namespaces.get(plugin) {
            return Ok(*account);
        }
        let account = self.trees.namespace.get(&keys::namespace(plugin))?.unwrap_or_default();
        self.namespaces.insert(plugin.to_owned(), account);
        Ok(account)
    }

    fn set_account(&mut self, plugin: &str, account: Namespace) -> Verdict<()> {
        self.trees.namespace.put(&keys::namespace(plugin), &account)?;
        self.namespaces.insert(plugin.to_owned(), account);
        Ok(())
    }
}

fn is_current(entry: &StateEntry, now: Timestamp) -> bool {
    entry.expires_at.is_none_or(|until| until > now)
}

fn size(key: &str, entry: &StateEntry) -> u64 {
    (key.len() + entry.value.len()) as u64
}
