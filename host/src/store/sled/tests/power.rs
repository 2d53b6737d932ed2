//! Power loss: the file operations of a store are recorded, its directory is rebuilt as a disk may
//! have it at a moment in between (what was not synced is dropped, torn or kept in any order), and
//! whatever was acknowledged until that moment has to be there.

mod disk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::disk::{Disk, Loss};
use super::Directory;
use super::faults::{self, Said};

/// Crashes when `TASKHOST_POWER_ROUNDS` does not say.
const ROUNDS: usize = 24;
const CALLS: &str = "trace=openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,mkdir,unlink";

/// A call that has returned.
#[derive(Debug)]
struct Call {
    name: String,
    /// The arguments and the result, as strace writes them.
    text: String,
    /// Its place among the lines when it began; it is at its end in the order of calls.
    began: usize,
    ended: usize,
}

/// Calls in the order in which they returned.
fn parse(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (began, whole) = if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, (at, head));
            continue;
        } else if let Some((_, tail)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let (began, head) = begun.remove(pid).expect("a call that is resumed was begun");
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
    fn path(&self) -> PathBuf {
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
}

/// Lets the call happen to the disk, or hears what the victim says.
fn replay(call: &Call, disk: &mut Disk, said: &mut Said) {
    match call.name.as_str() {
        "openat" => disk.open(&call.named(0), call.text.contains("O_CREAT"), call.text.contains("O_TRUNC")),
        "mkdir" => disk.mkdir(&call.named(0)),
        "rename" => disk.rename(&call.named(0), &call.named(1)),
        "unlink" => disk.unlink(&call.named(0)),
        "ftruncate" => disk.truncate(&call.path(), call.last_number(), call.ended),
        "pwrite64" => disk.write(&call.path(), Some(call.last_number()), call.strings().remove(0), call.ended),
        "write" if call.text.starts_with("1<") => said.hear(&String::from_utf8_lossy(&call.strings()[0])),
        "write" => disk.write(&call.path(), None, call.strings().remove(0), call.ended),
        "fsync" | "fdatasync" => disk.sync(&call.path(), call.began),
        other => panic!("{other} was not asked for"),
    }
}

/// Runs a victim to its end and records it. `None` without strace.
fn record(dir: &Path) -> Option<Vec<Call>> {
    let trace = dir.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "100000000", "-e", CALLS, "-o"]).arg(&trace);
    strace.arg(std::env::current_exe().unwrap());
    let output = faults::unharmed(&mut strace, &dir.join("store")).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(parse(&std::fs::read_to_string(trace).unwrap()))
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "whoever runs the tests has to know what was not tested")]
async fn i15_acknowledged_changes_survive_a_power_loss() {
    let dir = Directory::new();
    let Some(calls) = record(dir.path()) else {
        return eprintln!("skipped: there is no strace here; `apt install strace` brings it");
    };
    let rounds = faults::rounds("TASKHOST_POWER_ROUNDS", ROUNDS);
    let said =
        |call: &Call| call.name == "write" && call.text.starts_with("1<") && call.strings()[0].starts_with(b"added");
    let first = calls.iter().position(said).expect("the victim made something");
    let mut ends: Vec<_> = (0..rounds).map(|_| fastrand::usize(first..calls.len())).collect();
    ends.sort_unstable();
    let (mut disk, mut said) = (Disk::new(dir.path()), Said::default());
    let mut done = 0;
    let (mut lost, mut acknowledged) = (0, 0);
    for (round, end) in ends.into_iter().enumerate() {
        for call in &calls[done..=end] {
            replay(call, &mut disk, &mut said);
        }
        done = end + 1;
        let left = Directory::new();
        let loss = [Loss::All, Loss::Some, Loss::Torn][round % 3];
        lost += disk.crash(left.path(), loss);
        faults::check(&left.path().join("store"), &said, 1).await;
        acknowledged = said.len();
    }
    assert!(acknowledged > 50, "{acknowledged} acknowledgements");
    assert!(lost > rounds / 2, "only {lost} operations were lost in {rounds} crashes");
}
