//! Who is around a task, as JSON.

use serde::Serialize;

use super::wire::{Rfc3339, Text};
use crate::store::{Brief, Parent, Relations, TreeNode};
use crate::task::TaskId;

/// A task in a few words; only its id when it is forgotten.
#[derive(Debug, Serialize)]
struct BriefWire {
    id: Text<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl BriefWire {
    fn new(id: TaskId, brief: Option<&Brief>) -> Self {
        Self {
            id: Text(id),
            kind: brief.map(|brief| brief.kind.clone()),
            state: brief.map_or("forgotten", |brief| brief.state),
            ended_at: brief.and_then(|brief| brief.ended_at).map(Rfc3339),
            error: brief.and_then(|brief| brief.code.clone()),
        }
    }
}

/// Who is around a task.
#[derive(Debug, Serialize)]
pub(super) struct RelationsWire {
    /// Those that it comes after; their documents have the outputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parents: Vec<BriefWire>,
    /// Tasks that come after it, when there are any; a thousand or more are a thousand.
    #[serde(skip_serializing_if = "is_zero")]
    dependents: u32,
    /// Tasks that it created, in the same way.
    #[serde(skip_serializing_if = "is_zero")]
    children: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl From<&Relations> for RelationsWire {
    fn from(relations: &Relations) -> Self {
        let parent = |parent: &Parent| BriefWire::new(parent.id, parent.brief.as_ref());
        Self {
            parents: relations.parents.iter().map(parent).collect(),
            dependents: relations.dependents,
            children: relations.children,
        }
    }
}

/// A task and what it created.
#[derive(Debug, Serialize)]
pub(super) struct TreeWire {
    #[serde(flatten)]
    task: BriefWire,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<Text<TaskId>>,
    children: Vec<Self>,
    /// It created more than there are here; they have trees of their own.
    truncated: bool,
}

impl From<&TreeNode> for TreeWire {
    fn from(node: &TreeNode) -> Self {
        Self {
            task: BriefWire::new(node.id, node.brief.as_ref()),
            after: node.after.iter().copied().map(Text).collect(),
            children: node.children.iter().map(Self::from).collect(),
            truncated: node.truncated,
        }
    }
}
