//! Everything that belongs to one task, side by side.

use std::io;
use std::iter::Peekable;
use std::ops::Bound;

use super::super::base::Bytes;
use super::super::trees::Trees;

/// One raw record.
type Record = io::Result<(Bytes, Bytes)>;
type Records = Peekable<Box<dyn Iterator<Item = Record>>>;

/// What the trees hold under one key.
pub(super) struct Row {
    pub(super) key: Bytes,
    pub(super) body: Option<Bytes>,
    pub(super) live: Option<Bytes>,
    pub(super) done: Option<Bytes>,
    pub(super) checkpoint: Option<Bytes>,
    pub(super) work: Option<Bytes>,
}

/// Rows in the order of their keys. Memory does not grow with their number.
pub(super) struct Rows {
    trees: [Records; 5],
}

impl Rows {
    pub(super) fn of(trees: &Trees) -> Self {
        fn all(records: impl Iterator<Item = Record> + 'static) -> Records {
            let records: Box<dyn Iterator<Item = Record>> = Box::new(records);
            records.peekable()
        }
        let whole = (Bound::Unbounded, Bound::Unbounded);
        Self {
            trees: [
                all(trees.body.range(whole.0, whole.1)),
                all(trees.live.range(whole.0, whole.1)),
                all(trees.done.range(whole.0, whole.1)),
                all(trees.checkpoint.range(whole.0, whole.1)),
                all(trees.work.range(whole.0, whole.1)),
            ],
        }
    }
}

impl Iterator for Rows {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first: Option<Bytes> = None;
        for tree in &mut self.trees {
            match tree.peek() {
                Some(Err(_)) => return tree.next().and_then(Result::err).map(Err),
                Some(Ok((key, _))) if first.as_ref().is_none_or(|first| key < first) => first = Some(key.clone()),
                None | Some(Ok(_)) => {}
            }
        }
        let key = first?;
        let [body, live, done, checkpoint, work] = self.trees.each_mut().map(|tree| {
            let record = tree.next_if(|record| record.as_ref().is_ok_and(|(at, _)| *at == key));
            record.and_then(Result::ok).map(|(_, value)| value)
        });
        Some(Ok(Row { key, body, live, done, checkpoint, work }))
    }
}
