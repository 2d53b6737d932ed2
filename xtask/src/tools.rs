//! What must be on the machine: installed if it can be, otherwise said exactly.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell::{cargo, output, run, say, works};

/// What plugins are built for.
pub(crate) const WASM_TARGET: &str = "wasm32-wasip2";

/// Makes sure that plugins can be built.
pub(crate) fn need_wasm_target() -> Result<()> {
    if has_wasm_target() {
        return Ok(());
    }
    say(&format!("installing the Rust target {WASM_TARGET}"));
    if !works("rustup", "--version") {
        bail!("the Rust target {WASM_TARGET} is missing and rustup is not there to install it; see https://rustup.rs");
    }
    run(Command::new("rustup").args(["target", "add", WASM_TARGET]).current_dir(crate::shell::root()))
}

fn has_wasm_target() -> bool {
    // Asked of the compiler that cargo will use, so that an installation without rustup counts too.
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM_TARGET]).current_dir(crate::shell::root());
    output(&mut rustc).is_ok_and(|dir| std::path::Path::new(dir.trim()).is_dir())
}

/// A package manager and how it installs ffmpeg without asking.
struct Installer {
    program: &'static str,
    root: bool,
    steps: &'static [&'static [&'static str]],
}

const INSTALLERS: [Installer; 4] = [
    Installer {
        program: "apt-get",
        root: true,
        steps: &[&["update", "-q"], &["install", "-y", "-q", "--no-install-recommends", "ffmpeg"]],
    },
    Installer { program: "dnf", root: true, steps: &[&["install", "-y", "ffmpeg-free"]] },
    Installer { program: "pacman", root: true, steps: &[&["-Sy", "--noconfirm", "ffmpeg"]] },
    Installer { program: "brew", root: false, steps: &[&["install", "ffmpeg"]] },
];

/// Makes sure that ffmpeg and ffprobe are there.
pub(crate) fn need_ffmpeg() -> Result<()> {
    if has_ffmpeg() {
        return Ok(());
    }
    let Some(installer) = INSTALLERS.iter().find(|installer| works(installer.program, "--version")) else {
        bail!("ffmpeg and ffprobe are missing: install them so that `ffmpeg -version` and `ffprobe -version` work");
    };
    say(&format!("installing ffmpeg with {}", installer.program));
    let sudo = installer.root && !is_root();
    for step in installer.steps {
        let mut line: Vec<&str> = if sudo { vec!["sudo"] } else { Vec::new() };
        line.push(installer.program);
        line.extend_from_slice(step);
        if let Err(error) = run(Command::new(line[0]).args(&line[1..])) {
            bail!(
                "ffmpeg is missing and could not be installed ({error:#}); run this yourself:\n{}",
                by_hand(installer)
            );
        }
    }
    if !has_ffmpeg() {
        bail!("ffmpeg was installed, but `ffmpeg -version` or `ffprobe -version` still fails");
    }
    Ok(())
}

/// Installs Debian's packages, where there is apt.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    let sudo: &[&str] = if is_root() { &[] } else { &["sudo"] };
    let install = [sudo, &["apt-get", "install", "-y", "-q", "--no-install-recommends"], packages].concat();
    if !works("apt-get", "--version") {
        bail!(
            "missing, by the names of Debian's packages: {}; install what your system calls them",
            packages.join(" ")
        );
    }
    say(&format!("installing {}", packages.join(" ")));
    let update = [sudo, &["apt-get", "update", "-q"]].concat();
    for line in [update, install] {
        run(Command::new(line[0]).args(&line[1..])).with_context(|| format!("run `{}` yourself", line.join(" ")))?;
    }
    Ok(())
}

fn has_ffmpeg() -> bool {
    works("ffmpeg", "-version") && works("ffprobe", "-version")
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn by_hand(installer: &Installer) -> String {
    let sudo = if installer.root { "sudo " } else { "" };
    let lines = installer.steps.iter().map(|step| format!("    {sudo}{} {}", installer.program, step.join(" ")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Makes sure that the formatter and the linter are there.
pub(crate) fn need_lints() -> Result<()> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if output(&mut cargo(&[tool, "--version"])).is_err() {
            say(&format!("installing {component}"));
            run(Command::new("rustup").args(["component", "add", component]).current_dir(crate::shell::root()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{INSTALLERS, by_hand};

    #[test]
    fn what_to_run_by_hand_is_a_command_a_line() {
        let wanted = "    sudo apt-get update -q\n    sudo apt-get install -y -q --no-install-recommends ffmpeg";
        assert_eq!(by_hand(&INSTALLERS[0]), wanted);
        assert_eq!(by_hand(&INSTALLERS[3]), "    brew install ffmpeg");
    }
}
