//! JavaScript: componentize-js, by npm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{home, need};
use crate::plugins::place;
use crate::shell::{root, run, say};

fn modules() -> PathBuf {
    home().join("tools/javascript")
}

fn program() -> PathBuf {
    modules().join("node_modules/.bin/componentize-js")
}

fn wanted() -> PathBuf {
    root().join("examples/javascript/package.json")
}

/// A copy of the file that was installed.
fn installed() -> PathBuf {
    modules().join("installed.json")
}

pub(super) fn missing() -> Option<String> {
    let same = std::fs::read(wanted()).ok() == std::fs::read(installed()).ok();
    (!same || !program().exists()).then(|| "componentize-js is not installed".to_owned())
}

pub(super) fn install() -> Result<()> {
    if missing().is_none() {
        return Ok(());
    }
    need("npm", "--version", &["nodejs", "npm"])?;
    say("installing componentize-js");
    std::fs::create_dir_all(modules())?;
    place(&wanted(), &modules().join("package.json"))?;
    let arguments = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(arguments).current_dir(modules()))?;
    place(&wanted(), &installed())
}

pub(super) fn compile(dir: &Path, plugin: &str) -> Result<PathBuf> {
    let component = dir.join(format!("{plugin}.wasm"));
    let used = dir.join("node_modules");
    if !used.exists() {
        std::os::unix::fs::symlink(modules().join("node_modules"), &used)
            .with_context(|| format!("cannot link {}", used.display()))?;
    }
    run(Command::new("npm").args(["run", "--silent", "build"]).current_dir(dir))?;
    if !component.is_file() {
        bail!("componentize-js left no {}", component.display());
    }
    Ok(component)
}
