//! Who is around a task: parents, dependents, children, members. Reads only.

use std::ops::Bound;

use super::core::{Core, MAX_PAGE, MAX_SCAN, Verdict};
use super::keys::{self, Link};
use crate::store::StoreError;
use crate::store::flow::{Brief, MAX_COUNTED, MAX_TREE_DEPTH, MAX_TREE_NODES, Parent, Relations, TreeNode};
use crate::store::request::{Page, Related, TaskQuery};
use crate::task::{Task, TaskId};

impl Related {
    /// Where its links are.
    fn side(self) -> (Link, u128) {
        match self {
            Self::CreatedBy(id) => (Link::Child, id.as_u128()),
            Self::After(id) => (Link::After, id.as_u128()),
            Self::MemberOf(id) => (Link::Member, id.as_u128()),
        }
    }
}

impl Core {
    /// The tasks around something, in either direction, those before `before`.
    fn linked(
        &self,
        related: Related,
        before: Option<TaskId>,
    ) -> impl DoubleEndedIterator<Item = Verdict<Option<TaskId>>> + use<> {
        let (link, of) = related.side();
        let from = link.key(of, TaskId::from_u128(0));
        let to = before.map_or(Bound::Included(u128::MAX), |before| Bound::Excluded(before.as_u128()));
        let to = to.map(|id| link.key(of, TaskId::from_u128(id)));
        let to = match &to {
            Bound::Included(key) => Bound::Included(key.as_slice()),
            Bound::Excluded(key) => Bound::Excluded(key.as_slice()),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.trees.link.range(Bound::Included(&from), to).map(|record| Ok(keys::linked(&record?.0)))
    }

    /// A page of the tasks around something, newest first.
    pub(super) fn related(&self, related: Related, query: &TaskQuery) -> Verdict<Page<Task>> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX).clamp(1, MAX_PAGE);
        let mut page = Page { items: Vec::new(), next: None };
        let mut latest: Option<TaskId> = None;
        for (examined, id) in self.linked(related, query.before).rev().enumerate() {
            if page.items.len() == limit || examined == MAX_SCAN {
                page.next = latest.map(|id| id.to_string());
                break;
            }
            let Some(id) = id? else { continue };
            latest = Some(id);
            page.items.extend(self.task(id)?.filter(|task| query.selects(&task.spec, &task.status)));
        }
        Ok(page)
    }

    /// See [`crate::store::Store::relations`].
    pub(super) fn relations(&self, id: TaskId) -> Verdict<Relations> {
        let task = self.task(id)?.ok_or(StoreError::NotFound)?;
        let parents = task.spec.new.after.iter().map(|id| Ok(Parent { id: *id, brief: self.brief(*id)? }));
        let count = |related| u32::try_from(self.linked(related, None).take(MAX_COUNTED).count()).unwrap_or(u32::MAX);
        Ok(Relations {
            parents: parents.collect::<Verdict<_>>()?,
            dependents: count(Related::After(id)),
            children: count(Related::CreatedBy(id)),
        })
    }

    fn brief(&self, id: TaskId) -> Verdict<Option<Brief>> {
        Ok(self.task(id)?.as_ref().map(Brief::from))
    }

    /// See [`crate::store::Store::tree`].
    pub(super) fn tree(&self, id: TaskId) -> Verdict<TreeNode> {
        if !self.trees.body.contains(&keys::task(id))? {
            return Err(StoreError::NotFound.into());
        }
        // Level by level, so that the bound cuts off what is far away. Each has the place of its parent.
        let mut nodes = vec![(self.node(id)?, 0)];
        let (mut first, mut depth) = (0, 0);
        while first < nodes.len() {
            let level = first..nodes.len();
            first = nodes.len();
            depth += 1;
            for at in level {
                let Some((TreeNode { id, .. }, _)) = nodes.get(at) else { continue };
                let mut children = self.linked(Related::CreatedBy(*id), None);
                while let Some(child) = children.next().transpose()? {
                    if depth > MAX_TREE_DEPTH || nodes.len() >= MAX_TREE_NODES {
                        if let Some((node, _)) = nodes.get_mut(at) {
                            node.truncated = true;
                        }
                        break;
                    }
                    if let Some(child) = child {
                        nodes.push((self.node(child)?, at));
                    }
                }
            }
        }
        // From the far end: a node is whole before it goes below its own parent.
        while let Some((mut node, at)) = nodes.pop() {
            node.children.reverse();
            match nodes.get_mut(at) {
                Some((parent, _)) => parent.children.push(node),
                None => return Ok(node),
            }
        }
        Err(StoreError::NotFound.into())
    }

    fn node(&self, id: TaskId) -> Verdict<TreeNode> {
        let task = self.task(id)?;
        let after = task.as_ref().map(|task| task.spec.new.after.clone()).unwrap_or_default();
        let brief = task.as_ref().map(Brief::from);
        Ok(TreeNode { id, brief, after, children: Vec::new(), truncated: false })
    }
}
