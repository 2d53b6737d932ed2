//! `taskhost plugin check`, `new`, `test` and `wit`

mod new;
mod rehearse;
mod template;

use std::fmt::{self, Display};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::{ConfigFile, Exit, complain, config, print};
use crate::config::{Flags, Plugins};
use crate::plugin::Settings;
use crate::plugin::check::{CheckReport, check_file};

pub(super) use self::new::{NewArguments, WitArguments, new, wit};
pub(super) use self::rehearse::{TestArguments, test};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The component; its manifest is the file beside it with the extension `toml`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
}

/// Checks a component as a server with this configuration would on load.
pub(super) fn check(arguments: Arguments) -> Exit {
    let loaded = match config::load(arguments.config.config, Flags::default()) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let scratch = match Scratch::new() {
        Ok(scratch) => scratch,
        Err(error) => return failed(&format!("cannot create a temporary folder: {error}")),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start threads: {error}")),
    };
    let settings = settings(&loaded.config.plugins, &scratch);
    match runtime.block_on(check_file(&settings, &arguments.file)) {
        Ok(report) => {
            print(&Shown(&report).to_string());
            Exit::Done
        }
        Err(mistakes) => {
            let path = arguments.file.display();
            let lines = mistakes.iter().map(|mistake| format!("\n{path}: {mistake}"));
            failed(&format!("the plugin would not be loaded{}", lines.collect::<String>()))
        }
    }
}

fn failed(text: &str) -> Exit {
    complain(text);
    Exit::Failed
}

fn settings(plugins: &Plugins, scratch: &Scratch) -> Settings {
    Settings {
        dir: plugins.dir.clone(),
        cache_dir: scratch.0.clone(),
        threads: 1,
        max_instances: plugins.max_instances,
        memory_total_bytes: plugins.memory_total_bytes,
        max_component_bytes: plugins.max_component_bytes,
        cancel_grace_ms: plugins.cancel_grace_ms,
        dev: false,
    }
}

/// A folder for compiled code that nobody else can write to: a check leaves nothing behind.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("taskhost-check-{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to whatever clears the temporary folder.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A report for people.
struct Shown<'a>(&'a CheckReport);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { name, digest, size_bytes, info, imports, unused_grants, limits } = self.0;
        writeln!(f, "{name} {} would be loaded", info.version)?;
        writeln!(f, "  {}", info.summary)?;
        writeln!(f, "sha256   {digest}")?;
        writeln!(f, "size     {size_bytes} bytes")?;
        writeln!(f, "roles    {}", info.roles.join(", "))?;
        for kind in &info.kinds {
            writeln!(f, "kind     {}: {}", kind.name, kind.summary)?;
        }
        writeln!(f, "grants   {}", list(&info.grants))?;
        for import in imports {
            writeln!(f, "imports  {import}")?;
        }
        writeln!(
            f,
            "limits   memory {} MiB, CPU {} ms, wall {} ms, {} attempts at the same time, {} an instance",
            limits.memory_bytes >> 20,
            limits.cpu_ms,
            limits.wall_ms,
            limits.concurrency,
            limits.attempts_per_instance
        )?;
        if !unused_grants.is_empty() {
            writeln!(f, "unused   granted but not imported: {}", unused_grants.join(", "))?;
        }
        Ok(())
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
