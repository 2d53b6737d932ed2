//! What tasks, batches, generations and starts of the host are called.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::text;

/// Identifies a task. Ids are UUID version 7, so they sort by the time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u128);

impl TaskId {
    /// A new id; ids made by one process are strictly increasing.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().as_u128())
    }

    /// The id as a number whose order is the order of creation.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The inverse of [`Self::as_u128`].
    pub fn from_u128(value: u128) -> Self {
        Self(value)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).as_hyphenated().fmt(f)
    }
}

/// Text that is not a task id.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a task id is a UUID such as 01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90")]
pub struct InvalidTaskId;

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the canonical form: a second spelling would be a second name for one task.
        let id = Uuid::try_parse(text).map_err(|_| InvalidTaskId)?;
        let id = Self(id.as_u128());
        if id.to_string() == text { Ok(id) } else { Err(InvalidTaskId) }
    }
}

/// Identifies a batch. A UUID version 7, as that of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u128);

impl BatchId {
    /// A new id; ids made by one process are strictly increasing.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().as_u128())
    }

    /// The id as a number whose order is the order of creation.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The inverse of [`Self::as_u128`].
    pub fn from_u128(value: u128) -> Self {
        Self(value)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).as_hyphenated().fmt(f)
    }
}

/// Text that is not a batch id.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a batch id is a UUID such as 01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90")]
pub struct InvalidBatchId;

impl FromStr for BatchId {
    type Err = InvalidBatchId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let TaskId(id) = text.parse().map_err(|_| InvalidBatchId)?;
        Ok(Self(id))
    }
}

/// SHA-256 of a component file: the identity of a plugin's generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text::decode_hex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a digest is 64 hexadecimal digits")
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Identifies one start of a host. Random, so that a lease of an older start is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub u64);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// In text a name is written as it is shown; in a compact form it is a number or bytes.
macro_rules! named_in_text {
    ($name:ident as $inner:ty, $parse:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return <$inner>::deserialize(deserializer).map(Self);
                }
                let text = String::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<$name> = $parse;
                parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a {}", stringify!($name))))
            }
        }
    };
}

named_in_text!(TaskId as u128, |text| text.parse().ok());
named_in_text!(BatchId as u128, |text| text.parse().ok());
named_in_text!(Digest as [u8; 32], |text| text::decode_hex(text)?.try_into().ok().map(Digest));
named_in_text!(BootId as u64, |text| text::decode_hex(text)?.try_into().ok().map(|b| BootId(u64::from_be_bytes(b))));
