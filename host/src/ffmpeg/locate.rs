//! Finds the programs and asks for their version.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use super::{INSTALL, Settings, Tools};
use crate::process::{Command, Stdout, Supervisor};

const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
const VERSION_BYTES: usize = 16 * 1024;

/// The tools, or what is wrong and what to do.
pub(super) async fn tools(settings: &Settings, supervisor: &Supervisor) -> Result<Tools, String> {
    let ffmpeg = locate(&settings.ffmpeg, &settings.search_path).ok_or_else(|| missing("ffmpeg", &settings.ffmpeg))?;
    let ffprobe =
        locate(&settings.ffprobe, &settings.search_path).ok_or_else(|| missing("ffprobe", &settings.ffprobe))?;
    let (version, probe_version) =
        tokio::join!(version("ffmpeg", &ffmpeg, supervisor), version("ffprobe", &ffprobe, supervisor));
    probe_version?;
    Ok(Tools { version: version?, ffmpeg, ffprobe })
}

fn missing(tool: &str, wanted: &Path) -> String {
    if wanted == Path::new(tool) {
        format!("{tool} is not installed: {INSTALL}")
    } else {
        format!("there is no program {} (the configured {tool}): {INSTALL}", wanted.display())
    }
}

/// A program by its path, or by its name in a list of folders.
fn locate(program: &Path, search_path: &OsStr) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        let program = std::path::absolute(program).ok()?;
        return runnable(&program).then_some(program);
    }
    std::env::split_paths(search_path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| runnable(path))
}

fn runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

async fn version(tool: &str, program: &Path, supervisor: &Supervisor) -> Result<String, String> {
    let mut command = Command::new(program).args(["-version"]);
    command.stdout = Stdout::Collect { max_bytes: VERSION_BYTES };
    let what = || format!("{} does not work as {tool}", program.display());
    let exit = timeout(VERSION_TIMEOUT, supervisor.run(command))
        .await
        .map_err(|_| format!("{}: it does not tell its version: {INSTALL}", what()))?
        .map_err(|error| format!("{}: {error}: {INSTALL}", what()))?;
    if !exit.success() {
        return Err(format!("{}: {}: {INSTALL}", what(), exit.stderr_tail));
    }
    parse_version(tool, &String::from_utf8_lossy(&exit.stdout))
        .ok_or_else(|| format!("{}: it does not tell its version: {INSTALL}", what()))
}

/// `5.1.9-0+deb12u1` of `ffmpeg version 5.1.9-0+deb12u1 Copyright …`.
fn parse_version(tool: &str, text: &str) -> Option<String> {
    let rest = text.lines().next()?.strip_prefix(tool)?.strip_prefix(" version ")?;
    rest.split_whitespace().next().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::{locate, parse_version};

    #[test]
    fn versions_are_parsed() {
        let text = "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers\nbuilt with gcc";
        assert_eq!(parse_version("ffmpeg", text).as_deref(), Some("5.1.9-0+deb12u1"));
        assert_eq!(parse_version("ffmpeg", "ffmpeg version N-112-gabc Copyright").as_deref(), Some("N-112-gabc"));
        assert_eq!(parse_version("ffprobe", text), None);
        assert_eq!(parse_version("ffmpeg", ""), None);
    }

    #[test]
    fn names_are_looked_up_and_paths_are_not() {
        let found = |program: &str, path: &str| locate(Path::new(program), OsStr::new(path));
        assert_eq!(found("sh", "/nowhere::relative:/bin").as_deref(), Some(Path::new("/bin/sh")));
        assert_eq!(found("/bin/sh", "").as_deref(), Some(Path::new("/bin/sh")));
        assert_eq!(found("sh", ""), None);
        assert_eq!(found("passwd", "/etc"), None, "not executable");
        assert_eq!(found("/bin", ""), None, "a folder");
    }
}
