//! What runs on each generation, and how that comes to an end when the generation is replaced or removed: it goes on
//! for a while, then it is asked to yield, then it is interrupted.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::plugin::Generation;

/// A generation with running attempts.
#[derive(Debug)]
struct Line {
    generation: Arc<Generation>,
    running: u32,
    /// Interrupts them.
    abort: CancellationToken,
    asked: bool,
}

/// What is due for the attempts of one generation.
#[derive(Debug)]
pub(super) enum Due {
    /// They are asked to yield.
    Yield(Arc<Generation>),
    /// They have been interrupted.
    Interrupted(Arc<Generation>, u32),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Drains {
    lines: Vec<Line>,
}

impl Drains {
    /// An attempt begins: what interrupts it, as `abort` does, and whether it is to yield at once.
    pub(super) fn begin(
        &mut self,
        generation: &Arc<Generation>,
        abort: &CancellationToken,
    ) -> (CancellationToken, bool) {
        let found = self.lines.iter().position(|line| Arc::ptr_eq(&line.generation, generation));
        let at = found.unwrap_or_else(|| {
            let abort = abort.child_token();
            self.lines.push(Line { generation: Arc::clone(generation), running: 0, abort, asked: false });
            self.lines.len() - 1
        });
        let line = &mut self.lines[at];
        line.running += 1;
        (line.abort.clone(), line.asked)
    }

    /// An attempt has ended.
    pub(super) fn end(&mut self, generation: &Arc<Generation>) {
        let Some(at) = self.lines.iter().position(|line| Arc::ptr_eq(&line.generation, generation)) else { return };
        self.lines[at].running -= 1;
        if self.lines[at].running == 0 {
            self.lines.swap_remove(at);
        }
    }

    /// When something is next due; never as long as nothing was replaced.
    pub(super) fn next(&self) -> Option<Instant> {
        self.lines.iter().filter_map(Line::next).min()
    }

    /// What is due now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        self.lines.iter_mut().filter_map(|line| line.step(now)).collect()
    }
}

impl Line {
    fn next(&self) -> Option<Instant> {
        let retirement = self.generation.retirement()?;
        match (self.asked, self.abort.is_cancelled()) {
            (false, _) => Some(retirement.yield_at()),
            (true, false) => Some(retirement.interrupt_at()),
            (true, true) => None,
        }
    }

    fn step(&mut self, now: Instant) -> Option<Due> {
        self.next().filter(|due| *due <= now)?;
        let generation = Arc::clone(&self.generation);
        if !self.asked {
            self.asked = true;
            return Some(Due::Yield(generation));
        }
        self.abort.cancel();
        Some(Due::Interrupted(generation, self.running))
    }
}
