//! Machine code on disk, under the digest of the component that it was made from.
//!
//! An entry is `<digest>-<engine>.code`: a mark, a tag, the code. The tag is keyed with a secret that
//! lies beside the entries and that only the host may read, and covers the digest and the engine, too.
//! So an entry that was damaged, cut short, renamed, or put there by somebody else is not used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::mac::{self, Key, Tag};
use crate::task::Digest;

/// Begins every entry; the number is the version of its form.
const MARK: &[u8; 16] = b"taskhost-code-1\n";
const TAG_BYTES: usize = size_of::<Tag>();
const HEADER_BYTES: usize = MARK.len() + TAG_BYTES;
const ENTRY: &str = "code";
const UNFINISHED: &str = "part";
const KEY_FILE: &str = "key";
/// All entries together, in bytes, before the least used are removed.
const MAX_BYTES: u64 = 1 << 30;
/// Entries at most: some for each plugin that a folder may have.
const MAX_ENTRIES: usize = 512;
/// One entry, in bytes; also what is read at most.
const MAX_ENTRY_BYTES: u64 = MAX_BYTES;

/// Why an entry is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejected(pub(super) String);

/// An entry that is what was written.
#[derive(Debug)]
pub(super) struct Authentic(Vec<u8>);

impl Authentic {
    /// The machine code.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[HEADER_BYTES..]
    }
}

/// A folder of entries.
pub(super) struct Cache {
    dir: PathBuf,
    key: Key,
    engine: u64,
}

impl Cache {
    /// Opens or creates a folder that nobody else may look into.
    pub(super) fn open(dir: &Path, engine: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        let key = key(&dir.join(KEY_FILE))?;
        let cache = Self { dir: dir.to_owned(), key, engine };
        for (path, _, _) in cache.files(UNFINISHED) {
            // A write that a crash interrupted.
            drop(fs::remove_file(path));
        }
        Ok(cache)
    }

    /// The code of a component, if it is here; an error when something else is.
    pub(super) fn get(&self, digest: Digest) -> Result<Option<Authentic>, Rejected> {
        let path = self.path(digest);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let mut file = File::open(&path)?;
            bytes.reserve_exact(usize::try_from(file.metadata()?.len().min(MAX_ENTRY_BYTES)).unwrap_or(0));
            (&mut file).take(MAX_ENTRY_BYTES).read_to_end(&mut bytes)?;
            // What was used lately is removed last. Not being able to say so is harmless.
            drop(file.set_modified(wall_clock()));
            Ok(bytes)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Rejected(error.to_string())),
        };
        let Some(rest) = bytes.strip_prefix(MARK.as_slice()) else { return Err(Rejected("it is no entry".to_owned())) };
        let Some((tag, code)) = rest.split_first_chunk::<TAG_BYTES>() else {
            return Err(Rejected("it is cut short".to_owned()));
        };
        if !mac::equal(tag, &self.tag(digest, code)) {
            return Err(Rejected("its tag does not fit".to_owned()));
        }
        Ok(Some(Authentic(bytes)))
    }

    /// Keeps code. What cannot be kept is compiled again at the next start.
    pub(super) fn put(&self, digest: Digest, code: &[u8]) {
        if let Err(error) = self.write(digest, code) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot keep a compiled plugin");
        }
        self.trim(&self.path(digest));
    }

    /// Forgets an entry.
    pub(super) fn remove(&self, digest: Digest) {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot remove a compiled plugin");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn write(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        let part = self.dir.join(format!("{}.{UNFINISHED}", Uuid::new_v4()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(MARK)?;
            file.write_all(&self.tag(digest, code))?;
            file.write_all(code)?;
            // No sync: after a power cut the tag tells whether it is whole.
            fs::rename(&part, self.path(digest))
        })();
        if written.is_err() {
            drop(fs::remove_file(&part));
        }
        written
    }

    /// Removes the least used entries but `keep` until the rest is small enough.
    fn trim(&self, keep: &Path) {
        let mut entries: Vec<(PathBuf, u64, SystemTime)> = self.files(ENTRY).collect();
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        let mut left = entries.len();
        entries.sort_by_key(|(_, _, used)| *used);
        for (path, size, _) in entries.iter().filter(|(path, ..)| path != keep) {
            if bytes <= MAX_BYTES && left <= MAX_ENTRIES {
                return;
            }
            if fs::remove_file(path).is_ok() {
                bytes = bytes.saturating_sub(*size);
                left -= 1;
            }
        }
    }

    /// Files with this extension, with their size and when they were last used.
    fn files(&self, extension: &'static str) -> impl Iterator<Item = (PathBuf, u64, SystemTime)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(move |entry| {
            let path = entry.path();
            let metadata = entry.metadata().ok()?;
            let fits = path.extension().is_some_and(|end| end == extension);
            fits.then(|| (path, metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
        })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.{ENTRY}", self.engine))
    }

    fn tag(&self, digest: Digest, code: &[u8]) -> Tag {
        // Everything before the code has a fixed length.
        mac::tag(&self.key, &[MARK, &digest.0, &self.engine.to_be_bytes(), code])
    }
}

fn wall_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(crate::time::now().as_millis())
}

/// The key of a folder, made at its first use. A folder without its key is a folder without entries.
fn key(path: &Path) -> io::Result<Key> {
    if let Ok(bytes) = fs::read(path)
        && let Ok(key) = Key::try_from(bytes)
    {
        return Ok(key);
    }
    let mut key = Key::default();
    // Each is 122 bits of the system's randomness.
    key[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(Uuid::new_v4().as_bytes());
    let part = path.with_extension(UNFINISHED);
    drop(fs::remove_file(&part));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?.write_all(&key)?;
    fs::rename(&part, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = Digest([7; 32]);

    fn entry(dir: &Path) -> PathBuf {
        let mut found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.extension().is_some_and(|end| end == ENTRY)).unwrap()
    }

    fn found(cache: &Cache) -> Result<Option<Vec<u8>>, Rejected> {
        cache.get(DIGEST).map(|found| found.map(|code| code.bytes().to_vec()))
    }

    #[test]
    fn what_was_kept_is_found_again_also_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let cache = Cache::open(&folder, 1).unwrap();
        assert_eq!(found(&cache), Ok(None));
        cache.put(DIGEST, b"code");
        assert_eq!(found(&cache), Ok(Some(b"code".to_vec())));
        assert_eq!(found(&Cache::open(&folder, 1).unwrap()), Ok(Some(b"code".to_vec())));
        // Another engine's code is another entry.
        assert_eq!(found(&Cache::open(&folder, 2).unwrap()), Ok(None));
        for path in [folder.clone(), folder.join(KEY_FILE), entry(&folder)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        }
        cache.remove(DIGEST);
        assert_eq!(found(&cache), Ok(None));
    }

    #[test]
    fn every_changed_byte_and_every_length_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1).unwrap();
        cache.put(DIGEST, b"code");
        let path = entry(dir.path());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(found(&cache).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(found(&cache).is_err(), "{at} bytes");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(found(&cache).is_err());
        fs::write(&path, whole).unwrap();
        assert!(found(&cache).is_ok());
    }

    #[test]
    fn entries_of_other_components_folders_and_engines_are_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let cache = Cache::open(&one, 1).unwrap();
        cache.put(Digest([8; 32]), b"another component's");
        fs::rename(entry(&one), cache.path(DIGEST)).unwrap();
        assert!(found(&cache).is_err());
        let elsewhere = Cache::open(&other, 1).unwrap();
        elsewhere.put(DIGEST, b"another folder's");
        fs::rename(entry(&other), cache.path(DIGEST)).unwrap();
        assert!(found(&cache).is_err());
        let newer = Cache::open(&one, 2).unwrap();
        newer.put(DIGEST, b"another engine's");
        fs::rename(newer.path(DIGEST), cache.path(DIGEST)).unwrap();
        assert!(found(&cache).is_err());
    }

    #[test]
    fn i8_the_least_used_entries_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1).unwrap();
        let digest = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            Digest(digest)
        };
        for number in 0..MAX_ENTRIES + 3 {
            cache.put(digest(number), b"code");
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            File::options().write(true).open(cache.path(digest(number))).unwrap().set_modified(at).unwrap();
        }
        assert_eq!(cache.files(ENTRY).count(), MAX_ENTRIES);
        let there = |number| matches!(cache.get(digest(number)), Ok(Some(_)));
        assert!(!there(2) && there(3) && there(MAX_ENTRIES + 2));
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("half.part"), "h").unwrap();
        Cache::open(dir.path(), 1).unwrap();
        assert!(!dir.path().join("half.part").exists());
    }
}
