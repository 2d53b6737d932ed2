//! `taskhost plugin …`: one file a subcommand

mod check;
mod inspect;
mod new;
mod rehearse;
mod sign;
mod template;

use std::fmt::{self, Display};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ConfigFile, Exit, complain, config, print};
use crate::config::Flags;
use crate::plugin::manifest::{Effective, Held};
use crate::plugin::signature::Signed;
use crate::plugin::{Settings, manifest};

pub(super) use self::check::{Arguments as CheckArguments, check};
pub(super) use self::inspect::{Arguments as InspectArguments, inspect};
pub(super) use self::new::{NewArguments, WitArguments, new, wit};
pub(super) use self::rehearse::{TestArguments, test};
pub(super) use self::sign::{KeygenArguments, SignArguments, keygen, sign};

/// Prints the JSON Schema of manifests.
pub(super) fn schema() -> Exit {
    print(&format!("{:#}\n", manifest::schema()));
    Exit::Done
}

fn failed(text: &str) -> Exit {
    complain(text);
    Exit::Failed
}

/// A configured sandbox of this process alone.
struct Apart {
    settings: Settings,
    _scratch: Scratch,
}

impl Apart {
    /// As a server with this configuration has it, but for the folder of compiled code.
    fn new(file: ConfigFile) -> Result<Self, Exit> {
        let config = config::load(file.config, Flags::default())?.config;
        let rules = config::rules(&config)?;
        let scratch = Scratch::new().map_err(|error| failed(&format!("cannot create a temporary folder: {error}")))?;
        let plugins = &config.plugins;
        let settings = Settings {
            dir: plugins.dir.clone(),
            cache_dir: scratch.0.clone(),
            kept_dir: scratch.0.join("generations"),
            threads: 1,
            max_instances: plugins.max_instances,
            memory_total_bytes: plugins.memory_total_bytes,
            max_component_bytes: plugins.max_component_bytes,
            cancel_grace_ms: plugins.cancel_grace_ms,
            dev: false,
            rules,
        };
        Ok(Self { settings, _scratch: scratch })
    }

    /// Waits for something that needs the sandbox.
    fn block_on<T>(&self, ask: impl AsyncFnOnce(&Settings) -> T) -> Result<T, Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&format!("cannot start threads: {error}")))?;
        Ok(runtime.block_on(ask(&self.settings)))
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

/// Says why nothing is said for a while: a component that carries an interpreter takes long to compile.
fn announce(component: &Path) {
    const LARGE_BYTES: u64 = 4 << 20;
    if let Ok(metadata) = std::fs::metadata(component)
        && metadata.len() > LARGE_BYTES
    {
        let (file, mebibytes) = (component.display(), metadata.len() >> 20);
        complain(&format!("compiling {file} ({mebibytes} MiB), which takes some seconds"));
    }
}

fn list(names: &[impl AsRef<str>]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

/// What holds, a line each: the key, its value, where that comes from.
struct Listed<'a>(&'a Effective);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.flat();
        let width = all.iter().map(|(path, _)| path.len()).max().unwrap_or(0);
        all.into_iter().try_for_each(|(path, held)| {
            writeln!(f, "{path:<width$} {:<18} {}", value(&path, held), self.0.origin(held))
        })
    }
}

/// A value on one line. Settings are the plugin's own, and may be secret.
fn value(path: &str, held: &Held) -> String {
    match (&held.text, &held.value) {
        (None, Value::Null) if path.starts_with("config.") => "not shown".to_owned(),
        (None, Value::Null) => "-".to_owned(),
        (Some(text), _) | (None, Value::String(text)) => text.clone(),
        (None, value) => value.to_string(),
    }
}

/// Who signed, for people.
fn signer(signed: Option<&Signed>) -> String {
    signed.map_or_else(
        || "nobody".to_owned(),
        |signed| format!("{} ({})", signed.key, signed.comment.split_whitespace().collect::<Vec<_>>().join(" ")),
    )
}

/// Who signed, for programs.
fn signer_json(signed: Option<&Signed>) -> Value {
    signed.map_or(
        Value::Null,
        |signed| serde_json::json!({"key_id": signed.key.to_string(), "trusted_comment": signed.comment}),
    )
}
