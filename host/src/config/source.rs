//! Where values come from, and which one wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::key::{KEYS, Key, Raw};
use super::mistake::{Mistake, Mistakes, Place, suggestion};
use super::schedule::Declarations;
use super::secret::Keeper;
use super::{Config, document};
use crate::quantity::show_bytes;
use crate::schedule::Action;

/// The file that is read when none is named: the first of these that exists.
const SEARCH: [&str; 2] = ["./taskhost.toml", "/etc/taskhost/taskhost.toml"];
/// A configuration file, in bytes: nobody wrote a longer one by hand.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What our environment variables begin with.
const PREFIX: &str = "TASKHOST_";
/// What an orchestrator sets by itself for a service called `taskhost`.
const FOREIGN: [&str; 2] = ["TASKHOST_SERVICE_", "TASKHOST_PORT"];

/// What was said on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--plugins`
    pub plugins: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--accept-data-loss`
    pub accept_data_loss: bool,
}

/// Everything that a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was named; it must exist.
    pub file: Option<PathBuf>,
    /// Otherwise the first of these that exists, or none.
    pub search: Vec<PathBuf>,
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Flags,
}

impl Sources {
    /// The sources of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Flags) -> Self {
        let search = SEARCH.iter().map(PathBuf::from).collect();
        Self { file, search, variables: std::env::vars_os().collect(), flags }
    }
}

/// A configuration that is right, and where its values come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// By the name of a key; defaults are absent.
    pub(super) origins: BTreeMap<&'static str, Place>,
    /// Where the schedules of the file are declared, also those that are switched off.
    pub(super) schedules: BTreeMap<String, Place>,
    /// Where the limits are declared.
    pub(super) limits: BTreeMap<String, Place>,
    /// Where the presets are declared.
    pub(super) presets: BTreeMap<String, Place>,
    /// Where the secrets are kept, and where that is said.
    pub(super) secrets: BTreeMap<String, (Keeper, Place)>,
}

/// A configuration that is being made.
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) origins: BTreeMap<&'static str, Place>,
    pub(super) schedules: Declarations,
    pub(super) limits: BTreeMap<String, Place>,
    pub(super) presets: BTreeMap<String, Place>,
    pub(super) secrets: BTreeMap<String, (Keeper, Place)>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Config {
    /// Makes the configuration: defaults, then the file, then the environment, then flags.
    pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
        let mut draft = Draft {
            config: Self::default(),
            origins: BTreeMap::new(),
            schedules: Declarations::default(),
            limits: BTreeMap::new(),
            presets: BTreeMap::new(),
            secrets: BTreeMap::new(),
            mistakes: Vec::new(),
        };
        let file = draft.read_file(sources);
        draft.fetch_secrets(&sources.variables);
        draft.mistakes.sort();
        draft.read_variables(&sources.variables);
        if let Some((_, path)) = sources.variables.iter().find(|(name, _)| name == "PATH") {
            draft.config.ffmpeg.search_path.clone_from(path);
        }
        draft.read_flags(&sources.flags);
        draft.config.schedules = draft.schedules.effective(std::mem::take(&mut draft.config.schedules));
        // A bound that rests on a value that is itself wrong would only confuse.
        if draft.mistakes.is_empty() {
            draft.check();
        }
        if !draft.mistakes.is_empty() {
            return Err(Mistakes(draft.mistakes));
        }
        let schedules = draft.schedules.places();
        let Draft { config, origins, limits, presets, secrets, .. } = draft;
        Ok(Loaded { config, file, origins, schedules, limits, presets, secrets })
    }
}

impl Draft {
    /// Notes a mistake.
    pub(super) fn wrong(&mut self, place: Place, message: String) {
        self.mistakes.push(Mistake { place, message });
    }

    /// Sets a key, or notes why it cannot be.
    pub(super) fn set(&mut self, key: &Key, raw: Raw, place: Place) {
        match key.set(&mut self.config, raw) {
            Ok(()) => drop(self.origins.insert(key.name, place)),
            Err(message) => self.wrong(place, format!("`{}`: {message}", key.name)),
        }
    }

    fn read_file(&mut self, sources: &Sources) -> Option<PathBuf> {
        let named = sources.file.as_slice();
        let candidates = if named.is_empty() { &sources.search } else { named };
        for file in candidates {
            match read(file) {
                Ok(text) => document::read(file, &text, self),
                Err(error) if error.kind() == ErrorKind::NotFound && sources.file.is_none() => continue,
                Err(error) => self.wrong(Place::File(file.clone()), format!("cannot be read: {error}")),
            }
            return Some(file.clone());
        }
        None
    }

    fn read_variables(&mut self, variables: &[(OsString, OsString)]) {
        let ours = variables.iter().filter_map(|(name, value)| Some((name.to_str()?, value)));
        let mut ours: Vec<_> = ours.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        ours.sort_unstable();
        for (name, value) in ours {
            if FOREIGN.iter().any(|foreign| name.starts_with(foreign)) || self.keeps_secret(name) {
                continue;
            }
            let place = Place::Variable(name.to_owned());
            match (KEYS.iter().find(|key| variable(key) == name), value.to_str()) {
                (Some(key), Some(value)) => self.set(key, Raw::Untyped(value.to_owned()), place),
                (Some(key), None) => self.wrong(place, format!("`{}`: the value is not UTF-8", key.name)),
                (None, _) => self.wrong(place, unknown_variable(name)),
            }
        }
    }

    /// Flags were parsed before; they only have to win.
    fn read_flags(&mut self, flags: &Flags) {
        if let Some(data) = &flags.data {
            self.config.data.clone_from(data);
            self.origins.insert("data", Place::Flag("--data"));
        }
        if let Some(dir) = &flags.plugins {
            self.config.plugins.dir.clone_from(dir);
            self.origins.insert("plugins.dir", Place::Flag("--plugins"));
        }
        if let Some(listen) = flags.listen {
            self.config.server.listen = listen;
            self.origins.insert("server.listen", Place::Flag("--listen"));
        }
        if flags.accept_data_loss {
            self.config.store.accept_data_loss = true;
            self.origins.insert("store.accept_data_loss", Place::Flag("--accept-data-loss"));
        }
    }

    /// Bounds that two values share.
    fn check(&mut self) {
        let Config { server, runner, plugins, schedules, .. } = &self.config;
        let (input, body) = (server.max_input_bytes, server.max_body_bytes);
        let mut found = Vec::new();
        if input > body {
            let text = format!("is {}, more than `server.max_body` ({})", show_bytes(input), show_bytes(body));
            found.push((["server.max_input", "server.max_body"], text));
        }
        if runner.concurrency > plugins.max_instances {
            let (attempts, instances) = (runner.concurrency, plugins.max_instances);
            let text = format!("is {attempts}, more than `plugins.max_instances` ({instances})");
            found.push((["runner.concurrency", "plugins.max_instances"], text));
        }
        if plugins.require_signature && plugins.trusted_keys.is_empty() {
            let text = "is on, and `plugins.trusted_keys` is empty: no plugin could be loaded".to_owned();
            found.push((["plugins.require_signature", "plugins.trusted_keys"], text));
        }
        for ([key, other], text) in found {
            let place = [key, other].iter().find_map(|key| self.origins.get(key)).cloned();
            self.mistakes.push(Mistake { place: place.unwrap_or(Place::Default), message: format!("`{key}` {text}") });
        }
        for schedule in schedules {
            let Action::Enqueue { input: text, .. } = &schedule.action else { continue };
            if text.len() as u64 > input {
                let place = self.schedules.place(&schedule.name);
                let message = format!("the input is longer than `server.max_input` ({})", show_bytes(input));
                self.mistakes.push(Mistake { place, message });
            }
        }
    }
}

/// The variable that sets a key.
fn variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.replace('.', "__").to_uppercase())
}

fn unknown_variable(name: &str) -> String {
    if name.starts_with("TASKHOST_SECRETS") {
        return "secrets are declared in a file, as `[secrets]`: `NAME = { env = \"VARIABLE\" }`".to_owned();
    }
    if name.starts_with("TASKHOST_SCHEDULE") {
        return "schedules can be declared in a file only".to_owned();
    }
    if name.starts_with("TASKHOST_LIMIT") || name.starts_with("TASKHOST_FAIRNESS") {
        return "limits and fairness can be declared in a file only".to_owned();
    }
    let names: Vec<_> = KEYS.iter().map(variable).collect();
    // One underscore between section and key is the usual slip.
    let single = names.iter().find(|known| known.replacen("__", "_", 2) == name);
    let hint = match single {
        Some(known) => format!("; did you mean `{known}`?"),
        None => suggestion(name, names.iter().map(String::as_str)),
    };
    format!("there is no such setting; variables are called TASKHOST_SECTION__KEY{hint}")
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(text)
}
