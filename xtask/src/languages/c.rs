//! C: clang and wasi-libc of the system, the linker of components that comes with Rust, and the bindings of `wit-bindgen c`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use super::{home, need, version};
use crate::shell::{output, run};

/// Compiled to find out whether everything is there.
const PROBE: &str = "#include <stdlib.h>\nint main(void) { return (int) strtod(\"1.5\", NULL); }\n";

pub(super) fn missing() -> Option<String> {
    if version("clang", "--version").is_none() || version("wasm-ld", "--version").is_none() {
        return Some("clang and wasm-ld are not installed".to_owned());
    }
    if version("make", "--version").is_none() {
        return Some("make is not installed".to_owned());
    }
    probe().err().map(|_| "clang finds no wasi-libc".to_owned())
}

/// Links a small program: the compiler, the linker, the C library and the compiler's own one.
fn probe() -> Result<()> {
    let dir = home().join("tools/c");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("probe.c"), PROBE)?;
    let mut clang = Command::new("clang");
    output(clang.args(["--target=wasm32-wasi", "probe.c", "-o", "probe.wasm"]).current_dir(dir)).map(drop)
}

pub(super) fn install() -> Result<()> {
    if missing().is_none() {
        return Ok(());
    }
    need("clang", "--version", &["clang", "lld", "wasi-libc"])?;
    let major = output(Command::new("clang").arg("-dumpversion"))?;
    let runtime = format!("libclang-rt-{}-dev-wasm32", major.trim().split('.').next().unwrap_or_default());
    crate::tools::apt(&["clang", "lld", "wasi-libc", &runtime, "make"])?;
    missing().map_or(Ok(()), |what| bail!("{what}, although its package is installed"))
}

/// Writes the bindings as `wit-bindgen c wit --world plugin --out-dir generated` does, then runs `make`.
pub(super) fn compile(dir: &Path, plugin: &str) -> Result<PathBuf> {
    bindings(&dir.join("wit"), &dir.join("generated"))?;
    run(Command::new("make").arg("--silent").current_dir(dir))?;
    Ok(dir.join(format!("{plugin}.wasm")))
}

fn bindings(wit: &Path, to: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).with_context(|| format!("cannot read {}", wit.display()))?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    std::fs::create_dir_all(to)?;
    for (name, contents) in files.iter() {
        std::fs::write(to.join(name), contents).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}
