//! Who competes with whom: the groups of a class, by whose turn it is, and the heads of each.

use std::collections::{BTreeSet, HashMap};

use super::waiting::Head;

/// A group that has heads in a class.
struct Listed {
    /// Its pass, as it is listed. It may have risen since.
    pass: u64,
    heads: u32,
}

/// Lanes of one kind that are subject to the same rules without a key.
#[derive(Default)]
pub(super) struct Class {
    pub(super) kind: u32,
    /// The places of those rules, a bit each.
    pub(super) rules: u64,
    /// Their buckets.
    pub(super) shared: Box<[u32]>,
    pub(super) lanes: u32,
    groups: BTreeSet<(u64, u32)>,
    listed: HashMap<u32, Listed>,
    heads: BTreeSet<Head>,
}

impl Class {
    pub(super) fn new(kind: u32, rules: u64, shared: Box<[u32]>) -> Self {
        Self { kind, rules, shared, ..Self::default() }
    }

    /// A head competes; `pass` is that of its group.
    pub(super) fn insert(&mut self, head: Head, pass: u64) {
        let listed = self.listed.entry(head.group).or_insert(Listed { pass, heads: 0 });
        listed.heads += 1;
        self.groups.insert((listed.pass, head.group));
        self.heads.insert(head);
    }

    /// A head competes no more.
    pub(super) fn remove(&mut self, head: Head) {
        if !self.heads.remove(&head) {
            return;
        }
        let Some(listed) = self.listed.get_mut(&head.group) else { return };
        listed.heads -= 1;
        if listed.heads == 0 {
            self.groups.remove(&(listed.pass, head.group));
            self.listed.remove(&head.group);
        }
    }

    /// Another head takes the place of one of the same group.
    pub(super) fn replace(&mut self, old: Head, new: Head) {
        self.heads.remove(&old);
        self.heads.insert(new);
    }

    /// The head whose turn it is, and the pass of its group. Passes only rise: a group that is listed too low is
    /// put right when it comes first.
    pub(super) fn first(&mut self, pass_of: impl Fn(u32) -> u64) -> Option<(u64, Head)> {
        loop {
            let (listed, group) = self.groups.first().copied()?;
            let pass = pass_of(group);
            if pass > listed {
                self.groups.remove(&(listed, group));
                self.groups.insert((pass, group));
                if let Some(listed) = self.listed.get_mut(&group) {
                    listed.pass = pass;
                }
                continue;
            }
            return self.heads.range(Head::first(group)..).next().map(|head| (pass, *head));
        }
    }

    /// Nothing competes.
    pub(super) fn is_silent(&self) -> bool {
        self.heads.is_empty()
    }
}
