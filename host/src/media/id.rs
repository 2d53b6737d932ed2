//! Names of files.

use std::fmt;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::task::TaskId;

/// Identifies a file of the library: a UUID version 7, so ids sort by the time of creation; what a task has made sorts
/// by the creation of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaId(Uuid);

impl MediaId {
    /// A new id; ids made by one process are strictly increasing.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of what a task has made: the same for the same task and text.
    pub(super) fn of_step(task: TaskId, what: &str) -> Self {
        let hash = Sha256::new().chain_update(task.as_u128().to_be_bytes()).chain_update(what).finalize();
        let mut random = [0; 10];
        random.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        // The time is in the highest 48 bits.
        let millis = u64::try_from(task.as_u128() >> 80).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// An id from its canonical text; other text is the name of nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 7)?;
        // Only the canonical form: a second spelling would be a second name for one file.
        let id = Self(id);
        (id.to_string() == text).then_some(id)
    }

    /// The folder of the file, two hexadecimal digits: the random end spreads files evenly.
    pub(super) fn shard(self) -> String {
        let [.., last] = self.0.into_bytes();
        format!("{last:02x}")
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::MediaId;

    #[test]
    fn only_the_canonical_text_is_an_id() {
        let id = MediaId::generate();
        let text = id.to_string();
        assert_eq!(MediaId::parse(&text), Some(id));
        assert!(text.ends_with(&id.shard()));
        let long = "a".repeat(10_000);
        for other in [
            "",
            "..",
            "../../etc/passwd",
            "%2e%2e%2f",
            "\0",
            &long,
            &text.to_uppercase(),
            &text.replace('-', ""),
            &format!("{{{text}}}"),
            &format!("urn:uuid:{text}"),
            &format!("{text}\0"),
            &format!("{text}/"),
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
        ] {
            assert_eq!(MediaId::parse(other), None, "{other}");
        }
    }
}
