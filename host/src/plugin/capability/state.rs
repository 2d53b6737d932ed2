//! `taskhost:host/state`: durable keys and values, one namespace a plugin.

use super::DESCRIBING;
use crate::plugin::contract::state::{self, Entry, Error, Host};
use crate::plugin::guest::Guest;
use crate::plugin::ports::{Expected, PortError, StateEntry, StateWrite, Swapped};

const MAX_KEY_BYTES: usize = 512;
const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Entries that one scan may return, and their bytes: a scan is one answer in memory.
const MAX_SCAN: u32 = 1000;

impl Guest {
    fn state_allowed(&self) -> Result<(), Error> {
        if self.describing() { Err(Error::Denied(DESCRIBING.to_owned())) } else { Ok(()) }
    }

    fn write(&self, key: String, value: Vec<u8>, ttl_ms: Option<u64>, expected: Expected) -> Result<StateWrite, Error> {
        self.state_allowed()?;
        check_key(&key)?;
        if value.len() > MAX_VALUE_BYTES {
            return Err(Error::TooLarge(MAX_VALUE_BYTES as u64));
        }
        let quota_bytes = self.code.grants.state.as_ref().map_or(0, |grant| grant.quota_bytes);
        Ok(StateWrite { plugin: self.code.name.clone(), key, value, ttl_ms, expected, quota_bytes })
    }
}

/// Keys are names of things of one plugin: they never become paths, but they do appear in messages.
fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::InvalidKey("a key is at least 1 byte".to_owned()));
    }
    check_prefix(key)
}

fn check_prefix(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::InvalidKey(format!("a key of {} bytes, the limit is {MAX_KEY_BYTES}", key.len())));
    }
    if key.contains('\0') {
        return Err(Error::InvalidKey("a key with a NUL byte".to_owned()));
    }
    Ok(())
}

fn error(error: PortError) -> Error {
    match error {
        PortError::Quota(limit) => Error::QuotaExceeded(limit),
        PortError::Unavailable(reason) => Error::Unavailable(reason),
        PortError::NotFound => Error::Other("not found".to_owned()),
        PortError::Conflict(reason) => Error::Other(reason),
    }
}

fn entry(entry: StateEntry) -> Entry {
    Entry { value: entry.value, version: entry.version }
}

impl Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<Entry>, Error> {
        self.state_allowed()?;
        check_key(&key)?;
        let found = self.code.shared.ports.state.get(&self.code.name, &key).await;
        found.map(|found| found.map(entry)).map_err(error)
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl: Option<u64>) -> Result<u64, Error> {
        let write = self.write(key, value, ttl, Expected::Any)?;
        match self.code.shared.ports.state.put(write).await.map_err(error)? {
            Swapped::Stored(version) => Ok(version),
            Swapped::Stale(_) => Err(Error::Other("an unconditional write was refused".to_owned())),
        }
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<u64>,
    ) -> Result<state::Swapped, Error> {
        let write = self.write(key, value, ttl, expected.map_or(Expected::Absent, Expected::Version))?;
        match self.code.shared.ports.state.put(write).await.map_err(error)? {
            Swapped::Stored(version) => Ok(state::Swapped::Stored(version)),
            Swapped::Stale(found) => Ok(state::Swapped::Stale(found.map(entry))),
        }
    }

    async fn delete(&mut self, key: String) -> Result<bool, Error> {
        self.state_allowed()?;
        check_key(&key)?;
        self.code.shared.ports.state.delete(&self.code.name, &key).await.map_err(error)
    }

    async fn scan(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Vec<(String, Entry)>, Error> {
        self.state_allowed()?;
        check_prefix(&prefix)?;
        if let Some(after) = &after {
            check_prefix(after)?;
        }
        let state = &self.code.shared.ports.state;
        let found = state.scan(&self.code.name, &prefix, after.as_deref(), limit.min(MAX_SCAN)).await;
        found.map(|found| found.into_iter().map(|(key, found)| (key, entry(found))).collect()).map_err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_text() {
        for good in ["a", "../x", "ä/ö", &"k".repeat(MAX_KEY_BYTES)] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        for bad in ["", "a\0b", &"k".repeat(MAX_KEY_BYTES + 1)] {
            assert!(matches!(check_key(bad), Err(Error::InvalidKey(_))), "{bad:?}");
        }
    }
}
