//! Reads what a child writes, with bounds.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{OnBytes, Stdout};

/// Bytes of one line of standard output; the rest of a longer line is dropped.
const MAX_LINE_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 16 * 1024;

/// Output as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

impl Collected {
    /// Keeps the last `max_bytes` of all.
    fn keep_end(&mut self, bytes: &[u8], max_bytes: usize) {
        self.bytes.extend_from_slice(&bytes[bytes.len().saturating_sub(max_bytes)..]);
        let excess = self.bytes.len().saturating_sub(max_bytes);
        self.truncated |= excess > 0 || bytes.len() > max_bytes;
        self.bytes.drain(..excess);
    }
}

/// Reads standard output until its end.
pub(super) async fn stdout(source: Option<impl AsyncRead + Unpin>, sink: Stdout, collected: &mut Collected) {
    let Some(mut source) = source else { return };
    let mut lines = Lines::default();
    let mut sink = sink;
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = source.read(&mut chunk).await {
        let bytes = &chunk[..read];
        match &mut sink {
            Stdout::Discard => {}
            Stdout::Collect { max_bytes } => {
                let kept = bytes.len().min(max_bytes.saturating_sub(collected.bytes.len()));
                collected.bytes.extend_from_slice(&bytes[..kept]);
                collected.truncated |= kept < bytes.len();
            }
            Stdout::Lines(on_line) => lines.feed(bytes, on_line),
            Stdout::Tail { max_bytes, on_bytes } => {
                on_bytes(bytes);
                collected.keep_end(bytes, *max_bytes);
            }
        }
    }
    if let Stdout::Lines(on_line) = &mut sink {
        lines.end(on_line);
    }
}

/// Reads standard error until its end and keeps the last `max_bytes`.
pub(super) async fn tail(
    source: Option<impl AsyncRead + Unpin>,
    max_bytes: usize,
    mut on_bytes: Option<OnBytes>,
    kept: &mut Collected,
) {
    let Some(mut source) = source else { return };
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = source.read(&mut chunk).await {
        if let Some(on_bytes) = &mut on_bytes {
            on_bytes(&chunk[..read]);
        }
        kept.keep_end(&chunk[..read], max_bytes);
    }
}

/// Text of a tail: line breaks stay, other control characters become spaces.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    text.trim().to_owned()
}

#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], on_line: &mut impl FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                on_line(&String::from_utf8_lossy(&self.line));
                self.line.clear();
            }
        }
    }

    fn end(&mut self, on_line: &mut impl FnMut(&str)) {
        if !self.line.is_empty() {
            on_line(&String::from_utf8_lossy(&self.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Collected, Lines, MAX_LINE_BYTES, printable, tail};

    #[test]
    fn lines_are_joined_across_chunks_and_cut_at_the_bound() {
        let mut seen = Vec::new();
        let mut on_line = |line: &str| seen.push(line.to_owned());
        let mut lines = Lines::default();
        lines.feed(b"one\ntw", &mut on_line);
        lines.feed(b"o\n\n", &mut on_line);
        lines.feed(&vec![b'x'; MAX_LINE_BYTES * 3], &mut on_line);
        lines.feed(b"\nlast", &mut on_line);
        lines.end(&mut on_line);
        assert_eq!(seen.len(), 5);
        assert_eq!((seen[0].as_str(), seen[1].as_str(), seen[2].as_str()), ("one", "two", ""));
        assert_eq!(seen[3].len(), MAX_LINE_BYTES);
        assert_eq!(seen[4], "last");
    }

    #[tokio::test]
    async fn a_tail_is_the_end_of_what_was_written() {
        let text = "0123456789".repeat(10_000);
        let mut kept = Collected::default();
        tail(Some(text.as_bytes()), 12, None, &mut kept).await;
        assert_eq!((kept.bytes.as_slice(), kept.truncated), (&b"890123456789"[..], true));
        let mut kept = Collected::default();
        tail(Some(&text.as_bytes()[..12]), 12, None, &mut kept).await;
        assert_eq!((kept.bytes.len(), kept.truncated), (12, false));
        assert_eq!(printable(b"\x1b[31mred\nline\r\n"), "[31mred\nline");
    }
}
