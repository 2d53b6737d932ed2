//! What a rehearsal reads from the author's folders and leaves there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::media::Library;
use crate::store::{Expected, MediaQuery, StateWrite, Store, Swapped};
use crate::task::TaskId;
use crate::time::now;

/// Bytes that are copied in one step.
const PIECE_BYTES: usize = 1 << 20;
/// Records in one step.
const STEP: u32 = 1_000;

/// A file that a task has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id in the library.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Where it is now; absent when nobody wanted it.
    pub path: Option<PathBuf>,
}

/// A folder that nobody else can look into, removed in the end.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("taskhost-test-{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to whatever clears the temporary folder.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Takes every file of a folder into the library: name and id, by name.
pub(super) async fn fill(library: &Library, dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let cannot = || format!("cannot read {}", dir.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut named = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = take(library, &path, &name).await.with_context(|| format!("cannot take {}", path.display()))?;
        named.push((name, id));
    }
    Ok(named)
}

async fn take(library: &Library, path: &Path, name: &str) -> anyhow::Result<String> {
    let mut file = File::open(path)?;
    let mut upload = library.begin_upload(None).await?;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(upload.finish(name, None, None, now()).await?.id);
        }
        piece.truncate(read);
        upload.write(Bytes::from(piece)).await?;
    }
}

/// The files that a task has made; with `out` they are copied there, none over another.
pub(super) async fn made_by(library: &Library, task: TaskId, out: Option<&Path>) -> anyhow::Result<Vec<Kept>> {
    let mut made = Vec::new();
    let mut after = None;
    loop {
        let query = MediaQuery { trashed: Some(false), after, limit: STEP, ..MediaQuery::default() };
        let page = library.list(query).await?;
        for record in page.items.into_iter().filter(|record| record.task == Some(task)) {
            let path = match out {
                Some(dir) => Some(save(library, &record.id, dir, &record.name).await?),
                None => None,
            };
            made.push(Kept { id: record.id, name: record.name, size: record.size, path });
        }
        after = page.next;
        if after.is_none() {
            return Ok(made);
        }
    }
}

async fn save(library: &Library, id: &str, dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let mut content = library.content(id).await?.file;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // A name is the plugin's own choice: only its last part counts.
    let name = Path::new(name).file_name().map_or_else(|| id.to_owned(), |name| name.to_string_lossy().into_owned());
    for path in [dir.join(&name), dir.join(format!("{id}-{name}"))] {
        match File::create_new(&path) {
            Ok(mut file) => {
                std::io::copy(&mut content, &mut file).with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }
    Err(anyhow!("{} has a file of this name and this id already", dir.display()))
}

/// Fills a plugin's state from a file: a JSON object of keys and values, each a text or `{"hex": "…"}`. No file, no state.
pub(super) async fn read_state(store: &Arc<dyn Store>, plugin: &str, path: &Path) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let wanted = || format!("{}: a JSON object of keys and values, each a text or {{\"hex\": \"…\"}}", path.display());
    let entries: BTreeMap<String, Value> = serde_json::from_str(&text).with_context(wanted)?;
    for (key, value) in entries {
        let value = bytes(&value).with_context(|| format!("{} (the value of {key:?} is neither)", wanted()))?;
        let write = StateWrite {
            plugin: plugin.to_owned(),
            key,
            value,
            expires_at: None,
            expected: Expected::Any,
            quota_bytes: u64::MAX,
        };
        match store.state_put(write, now()).await? {
            Swapped::Stored(_) | Swapped::Stale(_) => {}
        }
    }
    Ok(())
}

/// Writes a plugin's state as it is read.
pub(super) async fn write_state(store: &Arc<dyn Store>, plugin: &str, path: &Path) -> anyhow::Result<()> {
    let mut entries = serde_json::Map::new();
    let mut after: Option<String> = None;
    loop {
        let found = store.state_scan(plugin, "", after.as_deref(), STEP, now()).await?;
        let Some((last, _)) = found.last() else { break };
        after = Some(last.clone());
        entries.extend(found.into_iter().map(|(key, entry)| (key, shown(entry.value))));
    }
    let text = serde_json::to_string_pretty(&Value::Object(entries))?;
    let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{text}").with_context(|| format!("cannot write {}", path.display()))
}

fn shown(value: Vec<u8>) -> Value {
    String::from_utf8(value).map_or_else(
        |error| json!({ "hex": error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
        Value::String,
    )
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    if let Value::String(text) = value {
        return Some(text.clone().into_bytes());
    }
    let hex = value.as_object().filter(|object| object.len() == 1)?.get("hex")?.as_str()?;
    let digit = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (hex.len() % 2 == 0 && hex.is_ascii()).then(|| (0..hex.len()).step_by(2).map(digit).collect())?
}
