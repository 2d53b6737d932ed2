//! Fixtures that say only what is special about them: the rest is a frame. Also used by the tests of the sandbox.

use std::fmt::Write as _;
use std::path::Path;

/// Bytes of a `new-task` in a guest's memory.
const TASK_BYTES: usize = 208;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fixture `hostile/NAME.wat`, which executes the kind NAME: a line `;;= PIECE` stands for `frame/PIECE.inc`, and
/// `;;lift OPTIONS` adds options to how `execute` is lifted.
pub(crate) fn encode(name: &str) -> Vec<u8> {
    let source = read(&format!("{name}.wat"));
    let lift = source.lines().find_map(|line| line.strip_prefix(";;lift ")).unwrap_or_default();
    let mut whole = String::new();
    for line in source.lines() {
        match line.trim().strip_prefix(";;= ") {
            Some(piece) => {
                let (piece, describe) = piece.split_once(' ').unwrap_or((piece, "describe"));
                let piece = read(&format!("frame/{piece}.inc"));
                whole.push_str(&piece.replace("$i \"describe\"", &format!("$i \"{describe}\"")));
            }
            None => whole.push_str(line),
        }
        whole.push('\n');
    }
    let mut length = String::new();
    write!(length, "\\{:02x}", name.len()).unwrap();
    let whole = whole.replace("@kind", name).replace("@len", &length).replace("@lift", lift);
    let whole = whole.replace("@task-bytes", &TASK_BYTES.to_string());
    wat::parse_str(&whole).unwrap_or_else(|error| panic!("hostile/{name}.wat: {error}"))
}
