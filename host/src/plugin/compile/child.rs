//! What the compiling child does: a component comes in, machine code goes out.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::machine_code;

/// Most components are compiled by then; a reload should not wait for the tasks that keep the machine busy.
const PROMPT: Duration = Duration::from_millis(500);
/// How much less the child asks of the processor afterwards than the host does.
const NICE: i32 = 10;

/// Reads a component to its end and writes its machine code; an error is the compiler's own text. The process is the
/// child's alone: whoever compiles for long gives way to tasks.
pub fn run(mut component: impl Read, mut code: impl Write, details: bool) -> Result<(), String> {
    let io = |error: io::Error| format!("cannot read the component or write its code: {error}");
    let give_way = || {
        std::thread::sleep(PROMPT);
        // All threads of the child are its process group. Being refused is no reason not to compile.
        let _refused = rustix::process::setpriority_pgrp(None, NICE);
    };
    // Nobody joins it: it ends with the process.
    let _thread = std::thread::Builder::new().name("patience".to_owned()).spawn(give_way).map_err(io)?;
    let mut bytes = Vec::new();
    component.read_to_end(&mut bytes).map_err(io)?;
    let compiled = machine_code(&bytes, details)?;
    code.write_all(&compiled).and_then(|()| code.flush()).map_err(io)
}
