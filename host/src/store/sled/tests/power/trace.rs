//! What a process did to files, as strace writes it down.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::disk::Disk;

/// What strace is asked for, beside the strings in hexadecimal digits and the paths of descriptors.
pub(super) const CALLS: &str =
    "trace=openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,mkdir,unlink,unlinkat,rmdir";

/// A call that has returned.
#[derive(Debug)]
pub(super) struct Call {
    name: String,
    /// The arguments and the result, as strace writes them.
    text: String,
    /// Its place among the lines when it began; it is at its end in the order of calls.
    began: usize,
    ended: usize,
}

/// Calls in the order in which they returned.
pub(super) fn parse(trace: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (began, whole) = if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, (at, head));
            continue;
        } else if let Some((_, tail)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let (began, head) = unfinished.remove(pid).expect("a call that is resumed was begun");
            (began, format!("{head}{tail}"))
        } else {
            (at, rest.to_owned())
        };
        let Some((name, text)) = whole.split_once('(') else { continue };
        if !text.contains("= -1 E") && text.contains("= ") {
            calls.push(Call { name: name.to_owned(), text: text.to_owned(), began, ended: at });
        }
    }
    calls
}

/// `\x2f…` to bytes.
fn unescape(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).expect("two digits")).collect()
}

impl Call {
    /// The strings in quotes.
    fn strings(&self) -> Vec<Vec<u8>> {
        self.text.split('"').skip(1).step_by(2).map(unescape).collect()
    }

    /// The path of the first descriptor.
    pub(super) fn path(&self) -> PathBuf {
        let path = self.text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path);
        PathBuf::from(String::from_utf8(unescape(path)).unwrap())
    }

    /// The path that a string names.
    fn named(&self, at: usize) -> PathBuf {
        PathBuf::from(String::from_utf8(self.strings()[at].clone()).unwrap())
    }

    /// The last number among the arguments.
    fn last_number(&self) -> usize {
        let (arguments, _) = self.text.rsplit_once(')').expect("a call has a result");
        arguments.trim_end().rsplit(", ").next().unwrap().trim().parse().expect("a number")
    }

    /// What the process said with it, if it spoke.
    pub(super) fn said(&self) -> Option<String> {
        let speaks = self.name == "write" && self.text.starts_with("1<");
        speaks.then(|| String::from_utf8_lossy(&self.strings()[0]).into_owned())
    }

    /// Whether it makes something certain.
    pub(super) fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    /// Whether it changes which files there are below `root`, more or less.
    pub(super) fn is_naming(&self, root: &Path) -> bool {
        let is_new = self.name == "openat" && self.text.contains("O_CREAT") && !self.text.contains("slabs");
        (is_new || matches!(self.name.as_str(), "rename" | "unlink" | "mkdir")) && self.named(0).starts_with(root)
    }

    /// Lets it happen to the disk.
    pub(super) fn replay(&self, disk: &mut Disk) {
        match self.name.as_str() {
            "openat" => disk.open(&self.named(0), self.text.contains("O_CREAT"), self.text.contains("O_TRUNC")),
            "mkdir" => disk.create(&self.named(0), true),
            "rename" => disk.rename(&self.named(0), &self.named(1)),
            "unlink" | "rmdir" => disk.remove(&self.named(0)),
            "unlinkat" => disk.remove(&self.path().join(self.named(0))),
            "ftruncate" => disk.truncate(&self.path(), self.last_number(), self.ended),
            "pwrite64" => disk.write(&self.path(), Some(self.last_number()), self.strings().remove(0), self.ended),
            "write" => disk.write(&self.path(), None, self.strings().remove(0), self.ended),
            "fsync" | "fdatasync" => disk.sync(&self.path(), self.began),
            other => panic!("{other} was not asked for"),
        }
    }
}
