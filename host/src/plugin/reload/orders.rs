//! What somebody asks of the plugins folder through the host: put this in, take that out, go back. The loop that
//! follows the folder does it, one order after the other, so that it never sees half of one.

use tokio::sync::oneshot;

use super::place::Change;
use crate::plugin::archive::Cause;
use crate::plugin::manifest::Canary;
use crate::task::Digest;

/// An upload.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// The component; the one in the folder when absent.
    pub component: Option<Vec<u8>>,
    /// The manifest; the one in the folder, if there is one, when absent.
    pub manifest: Option<Vec<u8>>,
    /// The component's signature; the one in the folder, if there is one, when absent.
    pub signature: Option<Vec<u8>>,
    /// A task that it has to do before it goes live, besides the one in its manifest.
    pub canary: Option<Canary>,
}

/// What has to be live for an order to be obeyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Anything.
    #[default]
    None,
    /// Something.
    Any,
    /// Nothing.
    Nothing,
    /// One of these.
    OneOf(Vec<Digest>),
}

impl Condition {
    /// Whether it holds while `live` is live.
    pub(super) fn holds(&self, live: Option<Digest>) -> bool {
        match self {
            Self::None => true,
            Self::Any => live.is_some(),
            Self::Nothing => live.is_none(),
            Self::OneOf(digests) => live.is_some_and(|live| digests.contains(&live)),
        }
    }
}

/// An order that was obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obeyed {
    /// What is live now; nothing after a removal.
    pub live: Option<Digest>,
    /// What was live before.
    pub before: Option<Digest>,
}

/// Why an order changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disobeyed {
    /// No plugin can be called that.
    #[error("{0}")]
    BadName(String),
    /// There is no such plugin.
    #[error("there is no plugin {0:?}")]
    NotFound(String),
    /// What is live is not what was expected.
    #[error("{}", match .0 { Some(live) => format!("{live} is live"), None => "nothing is live".to_owned() })]
    Unexpected(Option<Digest>),
    /// It would not work; the text says what is wrong and what would be right.
    #[error("{0}")]
    Unsound(String),
    /// There is nothing to go back to.
    #[error("{0}")]
    NothingKept(String),
    /// The file in the folder changed meanwhile.
    #[error("the files of {0:?} in the folder changed meanwhile")]
    Overtaken(String),
    /// The folder does not take it.
    #[error("the plugins folder cannot be changed: {0}")]
    Folder(String),
    /// There is no room for it on the folder's disk.
    #[error("there is not enough room on the disk of the plugins folder: {0}")]
    NoSpace(String),
    /// The host has no room, or is stopping.
    #[error("{0}")]
    Busy(String),
}

/// What is to be done with a plugin.
#[derive(Clone, Debug)]
pub(in crate::plugin) enum Action {
    /// Put this into the folder.
    Put(Upload),
    /// Take it out of the folder.
    Remove,
    /// Put back what was live before.
    RollBack,
}

/// An order on its way to the loop.
#[derive(Debug)]
pub(in crate::plugin) struct Order {
    pub(in crate::plugin) name: String,
    pub(in crate::plugin) action: Action,
    pub(in crate::plugin) condition: Condition,
    pub(in crate::plugin) reply: oneshot::Sender<Result<Obeyed, Disobeyed>>,
}

/// An order whose generation is being loaded.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) name: String,
    /// What changes in the folder before the generation goes live.
    pub(super) changes: Vec<Change>,
    pub(super) cause: Cause,
    /// The record that it brings back.
    pub(super) restores: Option<u64>,
    /// A file of the folder was being loaded when it came.
    pub(super) interrupts: bool,
    pub(super) reply: oneshot::Sender<Result<Obeyed, Disobeyed>>,
}
