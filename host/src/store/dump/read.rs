//! Reads an export and believes nothing: a line that is not exactly what [`super::Writer`] would
//! have written is told with its number.

use std::io::{self, BufRead, Read};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{CRC_PREFIX, Counts, FORMAT, Header, Line, MAX_LINE_BYTES, VERSION, text};

/// Why an export cannot be read, and where.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {wrong}")]
pub struct ReadError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    #[source]
    pub wrong: Wrong,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It is not as it was written.
    #[error("the check sum does not match: the line is damaged")]
    Damaged,
    /// The file ends too early.
    #[error("the export was cut off here")]
    CutOff,
    /// It is something else.
    #[error("not a line of an export: {0}")]
    Malformed(String),
    /// It is where it must not be.
    #[error("{0}")]
    Misplaced(String),
    /// A newer host wrote it.
    #[error("the export has version {found}, this taskhost knows up to {VERSION}: use the newer one")]
    NewerVersion {
        /// Its version.
        found: u32,
    },
    /// The lines are whole, but not those that were written.
    #[error("{0}: lines were lost, added or exchanged")]
    OtherLines(String),
    /// The file cannot be read.
    #[error("the export cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What is known of a header of any version.
#[derive(Deserialize)]
struct AnyHeader {
    header: AnyVersion,
}

#[derive(Deserialize)]
struct AnyVersion {
    format: String,
    version: u32,
}

/// Reads an export, a line at a time.
pub(in crate::store) struct Reader<R> {
    input: R,
    hash: Sha256,
    /// Lines that were read.
    lines: u64,
    counts: Counts,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    pub(in crate::store) fn begin(input: R) -> Result<(Self, Header), ReadError> {
        let mut reader = Self { input, hash: Sha256::new(), lines: 0, counts: Counts::default(), buffer: Vec::new() };
        let header = reader.header();
        match header {
            Ok(header) => Ok((reader, header)),
            Err(wrong) => Err(reader.at_this_line(wrong)),
        }
    }

    fn header(&mut self) -> Result<Header, Wrong> {
        let body = self.body()?;
        let any: AnyHeader = serde_json::from_slice(&body)
            .map_err(|_| Wrong::Malformed("the first line has to be a header".to_owned()))?;
        if any.header.format != FORMAT {
            return Err(Wrong::Malformed(format!("the format is {:?}, not {FORMAT:?}", any.header.format)));
        }
        if any.header.version > VERSION {
            return Err(Wrong::NewerVersion { found: any.header.version });
        }
        let line = parse(&body)?;
        let Line::Header(header) = line else { return Err(misplaced(&line)) };
        self.hash.update(&self.buffer);
        Ok(header)
    }

    /// The next record; none behind the last one, which the end of the export has confirmed.
    pub(in crate::store) fn next(&mut self) -> Result<Option<Line>, ReadError> {
        self.record().map_err(|wrong| self.at_this_line(wrong))
    }

    /// Where the reader is, for errors about the line's content.
    pub(in crate::store) fn at_this_line(&self, wrong: Wrong) -> ReadError {
        ReadError { line: self.lines, wrong }
    }

    /// Records so far.
    pub(in crate::store) fn counts(&self) -> Counts {
        self.counts
    }

    fn record(&mut self) -> Result<Option<Line>, Wrong> {
        let body = self.body()?;
        let line = parse(&body)?;
        let Line::End(end) = line else {
            if matches!(line, Line::Header(_)) {
                return Err(misplaced(&line));
            }
            self.hash.update(&self.buffer);
            self.counts.count(&line);
            return Ok(Some(line));
        };
        let before = self.lines - 1;
        if end.lines != before {
            return Err(Wrong::OtherLines(format!("{} lines were written, {before} are here", end.lines)));
        }
        if end.counts != self.counts {
            return Err(Wrong::OtherLines(format!("written were {}; here are {}", end.counts, self.counts)));
        }
        if end.sha256 != text::encode_hex(&self.hash.clone().finalize()) {
            return Err(Wrong::OtherLines("the digest of the whole does not match".to_owned()));
        }
        if !self.input.fill_buf()?.is_empty() {
            self.lines += 1;
            return Err(Wrong::Misplaced("something follows the end of the export".to_owned()));
        }
        Ok(None)
    }

    /// The next line's content, with a check sum that was right. The line itself is in the buffer.
    fn body(&mut self) -> Result<Vec<u8>, Wrong> {
        self.lines += 1;
        self.buffer.clear();
        let bound = MAX_LINE_BYTES as u64 + 1;
        self.input.by_ref().take(bound).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.len() > MAX_LINE_BYTES {
            return Err(Wrong::Malformed(format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        let Some(line) = self.buffer.strip_suffix(b"\n") else { return Err(Wrong::CutOff) };
        let no_sum = || Wrong::Malformed("it does not begin with its check sum".to_owned());
        let rest = line.strip_prefix(CRC_PREFIX.as_bytes()).ok_or_else(no_sum)?;
        let (sum, rest) = rest.split_first_chunk::<8>().ok_or_else(no_sum)?;
        let rest = rest.strip_prefix(b"\",").ok_or_else(no_sum)?;
        let body = [b"{", rest].concat();
        if format!("{:08x}", crc32fast::hash(&body)).as_bytes() != sum {
            return Err(Wrong::Damaged);
        }
        Ok(body)
    }
}

/// Reads a line and writes it again: what is not the same was not understood as a whole.
fn parse(body: &[u8]) -> Result<Line, Wrong> {
    let malformed = |error: serde_json::Error| Wrong::Malformed(error.to_string());
    let line: Line = serde_json::from_slice(body).map_err(malformed)?;
    if serde_json::to_vec(&line).map_err(malformed)? != body {
        return Err(Wrong::Malformed("it has members that are unknown here, or is written in another way".to_owned()));
    }
    Ok(line)
}

fn misplaced(line: &Line) -> Wrong {
    let what = if matches!(line, Line::Header(_)) { "a second header" } else { "no header" };
    Wrong::Misplaced(format!("there is {what} here"))
}
