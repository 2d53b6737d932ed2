//! Python: componentize-py in a virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{home, need};
use crate::plugins::place;
use crate::shell::{root, run, say, works};

fn environment() -> PathBuf {
    home().join("tools/python")
}

fn program(name: &str) -> PathBuf {
    environment().join("bin").join(name)
}

fn wanted() -> PathBuf {
    root().join("examples/python/requirements.txt")
}

/// A copy of the requirements that were installed.
fn installed() -> PathBuf {
    environment().join("requirements.txt")
}

pub(super) fn missing() -> Option<String> {
    let same = std::fs::read(wanted()).ok() == std::fs::read(installed()).ok();
    (!same || !program("componentize-py").is_file()).then(|| "componentize-py is not installed".to_owned())
}

pub(super) fn install() -> Result<()> {
    if missing().is_none() {
        return Ok(());
    }
    need("python3", "--version", &["python3", "python3-venv"])?;
    if !works("python3", "-cimport ensurepip, venv") {
        crate::tools::apt(&["python3-venv"])?;
    }
    say("installing componentize-py");
    run(Command::new("python3").args(["-m", "venv"]).arg(environment()))?;
    run(Command::new(program("pip")).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(wanted()))?;
    place(&wanted(), &installed())
}

pub(super) fn compile(dir: &Path, plugin: &str) -> Result<PathBuf> {
    let component = dir.join(format!("{plugin}.wasm"));
    let mut build = Command::new(program("componentize-py"));
    run(build.args(["-q", "-d", "wit", "-w", "plugin", "componentize", "app", "-o"]).arg(&component).current_dir(dir))?;
    if !component.is_file() {
        bail!("componentize-py left no {}", component.display());
    }
    Ok(component)
}
