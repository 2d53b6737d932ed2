//! Groups of the fairness key, and whose turn it is.

use std::collections::HashMap;

use super::super::slab::Slab;
use crate::limit::Fairness;

/// Tasks with the same value of the fairness key.
pub(super) struct Group {
    value: Box<str>,
    stride: u64,
    pass: u64,
    lanes: u32,
    /// Lanes that compete.
    active: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) fairness: Option<Fairness>,
    slab: Slab<Group>,
    by_value: HashMap<Box<str>, u32>,
    /// The highest pass that was served: the virtual time.
    served: u64,
}

impl Groups {
    pub(super) fn new(fairness: Option<Fairness>) -> Self {
        Self { fairness, ..Self::default() }
    }

    /// The group of a value, if there is one.
    pub(super) fn find(&self, value: &str) -> Option<u32> {
        self.by_value.get(value).copied()
    }

    /// The group of a value.
    pub(super) fn of(&mut self, value: &str) -> u32 {
        if let Some(at) = self.find(value) {
            return at;
        }
        let stride = self.stride(value);
        let at = self.slab.insert(Group { value: value.into(), stride, pass: 0, lanes: 0, active: 0 });
        self.by_value.insert(value.into(), at);
        at
    }

    /// Without a key nobody's pass rises: all are one group.
    fn stride(&self, value: &str) -> u64 {
        self.fairness.as_ref().map_or(0, |fairness| fairness.stride(value))
    }

    /// Other weights, the same key.
    pub(super) fn reweigh(&mut self, fairness: Fairness) {
        self.fairness = Some(fairness);
        let numbers: Vec<_> = self.by_value.iter().map(|(value, at)| (self.stride(value), *at)).collect();
        for (stride, at) in numbers {
            if let Some(group) = self.slab.get_mut(at) {
                group.stride = stride;
            }
        }
    }

    pub(super) fn pass(&self, at: u32) -> u64 {
        self.slab.get(at).map_or(0, |group| group.pass)
    }

    /// One more lane.
    pub(super) fn enlist(&mut self, at: u32) {
        if let Some(group) = self.slab.get_mut(at) {
            group.lanes += 1;
        }
    }

    /// One lane less. A group without lanes is forgotten: it would not keep credit.
    pub(super) fn dismiss(&mut self, at: u32) {
        let Some(group) = self.slab.get_mut(at) else { return };
        group.lanes -= 1;
        if group.lanes == 0
            && let Some(group) = self.slab.remove(at)
        {
            self.by_value.remove(&group.value);
        }
    }

    /// A lane of it competes. A group of which none did joins at the end of the present round: it has no
    /// credit for the time when it wanted nothing, and newcomers do not keep others waiting for ever.
    pub(super) fn join(&mut self, at: u32) -> u64 {
        let served = self.served;
        let Some(group) = self.slab.get_mut(at) else { return 0 };
        if group.active == 0 {
            group.pass = group.pass.max(served.saturating_add(group.stride));
        }
        group.active += 1;
        group.pass
    }

    /// A lane of it competes no more.
    pub(super) fn leave(&mut self, at: u32) {
        if let Some(group) = self.slab.get_mut(at) {
            group.active -= 1;
        }
    }

    /// A task of it is served.
    pub(super) fn serve(&mut self, at: u32) {
        let Some(group) = self.slab.get_mut(at) else { return };
        self.served = self.served.max(group.pass);
        group.pass = group.pass.saturating_add(group.stride);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Groups;
    use crate::limit::Fairness;

    fn groups(weights: &[u32]) -> (Groups, Vec<u32>) {
        let weights = (0..).zip(weights).map(|(at, weight): (u32, _)| (at.to_string(), u64::from(*weight)));
        let names: BTreeMap<_, _> = weights.collect();
        let fairness = Some(Fairness::check("attributes.tenant", names.clone()).unwrap());
        let mut groups = Groups::new(fairness);
        let numbers = (0..names.len()).map(|name| groups.of(&name.to_string())).collect();
        (groups, numbers)
    }

    /// Serves the lowest pass among these.
    fn serve(groups: &mut Groups, waiting: &[u32]) -> u32 {
        let next = *waiting.iter().min_by_key(|at| (groups.pass(**at), **at)).unwrap();
        groups.serve(next);
        next
    }

    proptest! {
        #[test]
        fn shares_follow_the_weights_within_a_stride(weights in prop::collection::vec(1..20_u32, 1..8), rounds in 1..500_u32) {
            let (mut groups, all) = groups(&weights);
            all.iter().for_each(|at| {
                groups.join(*at);
            });
            let mut served = vec![0_u32; all.len()];
            for _ in 0..rounds {
                let next = serve(&mut groups, &all);
                served[all.iter().position(|at| *at == next).unwrap()] += 1;
            }
            for (a, weight_a) in served.iter().zip(&weights) {
                for (b, weight_b) in served.iter().zip(&weights) {
                    let apart = f64::from(*a) / f64::from(*weight_a) - f64::from(*b) / f64::from(*weight_b);
                    prop_assert!(apart.abs() <= 1.01, "{served:?} for {weights:?}");
                }
            }
        }

        #[test]
        fn no_group_starves_however_many_newcomers_there_are(weights in prop::collection::vec(1..20_u32, 2..8)) {
            // The first one waits; every other group leaves once it was served and another one comes.
            let (mut groups, all) = groups(&weights);
            all.iter().for_each(|at| {
                groups.join(*at);
            });
            let mut waiting = all.clone();
            let mut waited = 0;
            for newcomer in 100..1_100 {
                let next = serve(&mut groups, &waiting);
                if next == all[0] {
                    waited = 0;
                    continue;
                }
                waited += 1;
                prop_assert!(waited <= 21 * weights.len(), "it starves");
                groups.leave(next);
                waiting.retain(|at| *at != next);
                let newcomer = groups.of(&newcomer.to_string());
                groups.join(newcomer);
                waiting.push(newcomer);
            }
        }
    }

    #[test]
    fn who_was_away_has_no_credit() {
        let (mut groups, all) = groups(&[1, 1]);
        groups.join(all[0]);
        for _ in 0..100 {
            assert_eq!(serve(&mut groups, &all[..1]), all[0]);
        }
        groups.join(all[1]);
        let turns: Vec<_> = (0..6).map(|_| serve(&mut groups, &all)).collect();
        assert_eq!(turns.iter().filter(|at| **at == all[1]).count(), 3, "{turns:?}");
    }
}
