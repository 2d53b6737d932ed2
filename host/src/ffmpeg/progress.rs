//! Percent done, from what `-progress` prints.

/// Reads progress lines of one job; percentages only grow and stay below 100 until the job is over.
#[derive(Debug)]
pub(super) struct Progress {
    total_us: u64,
    percent: Option<u8>,
}

impl Progress {
    /// The progress of a job whose output lasts `total_ms`.
    pub(super) fn new(total_ms: u64) -> Self {
        Self { total_us: total_ms.saturating_mul(1000).max(1), percent: None }
    }

    /// A line; answers the percentage when it has grown.
    pub(super) fn line(&mut self, line: &str) -> Option<u8> {
        let (key, value) = line.trim().split_once('=')?;
        // Both are microseconds; older versions have the second one only.
        if key != "out_time_us" && key != "out_time_ms" {
            return None;
        }
        // `N/A` before the first packet, negative before the first one that is shown.
        let done_us: u64 = value.trim().parse().ok()?;
        let percent = u8::try_from(done_us.saturating_mul(100) / self.total_us).unwrap_or(99).min(99);
        if self.percent.is_some_and(|known| percent <= known) {
            return None;
        }
        self.percent = Some(percent);
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn percentages_grow_and_stay_below_the_end() {
        let mut progress = Progress::new(10_000);
        let mut seen = Vec::new();
        for line in [
            "frame=0",
            "out_time_us=N/A",
            "out_time_ms=-21333",
            "out_time_us=0",
            "out_time_ms=0",
            "out_time=00:00:00.000000",
            "out_time_us=5000000",
            "out_time_ms=5000000",
            "out_time_us=4000000",
            "out_time_ms=7512345 ",
            "out_time_us=99999999999999999999999",
            "out_time_us=18446744073709551615",
            "progress=end",
            "",
        ] {
            seen.extend(progress.line(line));
        }
        assert_eq!(seen, [0, 50, 75, 99]);
    }
}
