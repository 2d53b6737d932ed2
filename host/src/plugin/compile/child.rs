//! What the compiling child does: a component comes in, machine code goes out.

use std::io::{self, Read, Write};

use super::machine_code;

/// How much less the child asks of the processor than the host does.
const NICE: i32 = 10;

/// Reads a component to its end and writes its machine code; an error is the compiler's own text.
pub fn run(mut component: impl Read, mut code: impl Write) -> Result<(), String> {
    // Running tasks go first. Being refused that is no reason not to compile.
    let _refused = rustix::process::setpriority_process(None, NICE);
    let io = |error: io::Error| format!("cannot read the component or write its code: {error}");
    let mut bytes = Vec::new();
    component.read_to_end(&mut bytes).map_err(io)?;
    let compiled = machine_code(&bytes)?;
    code.write_all(&compiled).and_then(|()| code.flush()).map_err(io)
}
