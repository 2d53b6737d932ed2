//! The files on disk. Everything here blocks.
//!
//! Layout: `<dir>/<last two digits of the id>/<id>`, and `<dir>/tmp/` for files that are written.

use std::fs::{self, File, ReadDir};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::MediaId;

const TEMP_DIR: &str = "tmp";
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A file that is not in the library yet; removed when it is dropped.
#[derive(Debug)]
pub struct TempFile {
    // Empty once it has been published.
    path: Option<PathBuf>,
}

impl TempFile {
    /// It stays, whatever becomes of the guard.
    pub(super) fn keep(mut self) {
        self.path = None;
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a temporary file stays on the disk until the next start");
        }
    }
}

/// The library's folder.
#[derive(Debug)]
pub(super) struct MediaFiles {
    dir: PathBuf,
}

impl MediaFiles {
    /// Creates what is missing and removes temporary files of earlier starts.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let temp = dir.join(TEMP_DIR);
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(&temp)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(DIR_MODE))?;
        for entry in fs::read_dir(&temp)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
        Ok(Self { dir })
    }

    /// A new empty file outside of the library.
    pub(super) fn create_temp(&self, extension: &str) -> io::Result<(TempFile, File)> {
        let path = self.dir.join(TEMP_DIR).join(Uuid::new_v4().simple().to_string()).with_extension(extension);
        let file = File::options().write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        Ok((TempFile { path: Some(path) }, file))
    }

    /// Room on the disk, in bytes.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Makes a temporary file the file of `id`; durable when this returns. Answers its length.
    pub(super) fn publish(&self, temp: TempFile, id: MediaId) -> io::Result<u64> {
        let (placed, len) = self.place(temp, id)?;
        placed.keep();
        Ok(len)
    }

    /// The same, but the file is removed again when what is answered is dropped.
    pub(super) fn place(&self, mut temp: TempFile, id: MediaId) -> io::Result<(TempFile, u64)> {
        let source = temp.path().to_owned();
        if !fs::symlink_metadata(&source)?.is_file() {
            return Err(io::Error::other("a temporary file was replaced by something else"));
        }
        let file = File::open(&source)?;
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
        file.sync_all()?;
        let len = file.metadata()?.len();

        let shard = self.dir.join(id.shard());
        match fs::DirBuilder::new().mode(DIR_MODE).create(&shard) {
            Ok(()) => sync_dir(&self.dir)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let target = self.path(id);
        fs::rename(&source, &target)?;
        // From here on the guard removes the file under its new name.
        temp.path = Some(target);
        sync_dir(&shard)?;
        Ok((temp, len))
    }

    /// The file of an id, for reading.
    pub(super) fn open_content(&self, id: MediaId) -> io::Result<File> {
        File::open(self.path(id))
    }

    /// Whether an id has its file.
    pub(super) fn is_there(&self, id: MediaId) -> io::Result<bool> {
        self.path(id).try_exists()
    }

    /// Removes the file of an id; one that is gone is success.
    pub(super) fn remove(&self, id: MediaId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All files, some at a time.
    pub(super) fn walk(&self) -> io::Result<Walk> {
        Ok(Walk { shards: fs::read_dir(&self.dir)?, shard: None })
    }

    pub(super) fn path(&self, id: MediaId) -> PathBuf {
        self.dir.join(id.shard()).join(id.to_string())
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A walk over all files of the library. Files whose name is not an id are left alone.
#[derive(Debug)]
pub(super) struct Walk {
    shards: ReadDir,
    shard: Option<ReadDir>,
}

impl Walk {
    /// The next ids, at most `limit`; none when the walk is over.
    pub(super) fn next_ids(&mut self, limit: usize) -> io::Result<Vec<MediaId>> {
        let mut ids = Vec::new();
        while ids.len() < limit {
            let Some(shard) = &mut self.shard else {
                match self.shards.next().transpose()? {
                    Some(entry) if is_shard(&entry)? => self.shard = Some(fs::read_dir(entry.path())?),
                    Some(_) => {}
                    None => break,
                }
                continue;
            };
            match shard.next().transpose()? {
                Some(entry) => ids.extend(entry.file_name().to_str().and_then(MediaId::parse)),
                None => self.shard = None,
            }
        }
        Ok(ids)
    }
}

fn is_shard(entry: &fs::DirEntry) -> io::Result<bool> {
    let name = entry.file_name();
    let two_digits = name.len() == 2 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
    Ok(two_digits && entry.file_type()?.is_dir())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn published(files: &MediaFiles, text: &str) -> MediaId {
        let (temp, mut file) = files.create_temp("part").unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let id = MediaId::generate();
        assert_eq!(files.publish(temp, id).unwrap(), text.len() as u64);
        id
    }

    #[test]
    fn a_file_is_published_read_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("media");
        let files = MediaFiles::open(&dir).unwrap();
        let id = published(&files, "hello");
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("tmp")), 0o700);
        assert_eq!(mode(&dir.join(id.shard())), 0o700);
        assert_eq!(mode(&files.path(id)), 0o600);
        assert_eq!(fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
        let mut open = files.open_content(id).unwrap();
        files.remove(id).unwrap();
        files.remove(id).unwrap();
        assert_eq!(files.open_content(id).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello", "an open reader keeps reading");
    }

    #[test]
    fn temporary_files_do_not_stay() {
        let root = tempfile::tempdir().unwrap();
        let files = MediaFiles::open(root.path()).unwrap();
        let (temp, _) = files.create_temp("mp4").unwrap();
        let path = temp.path().to_owned();
        assert!(path.extension().is_some_and(|extension| extension == "mp4"));
        assert_eq!(mode(&path), 0o600);
        drop(temp);
        assert!(!path.exists());
        // Left by a crash.
        let (temp, _) = files.create_temp("part").unwrap();
        std::mem::forget(temp);
        fs::create_dir(root.path().join("tmp/folder")).unwrap();
        MediaFiles::open(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_not_published() {
        let root = tempfile::tempdir().unwrap();
        let files = MediaFiles::open(root.path()).unwrap();
        let (temp, _) = files.create_temp("part").unwrap();
        fs::remove_file(temp.path()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", temp.path()).unwrap();
        files.publish(temp, MediaId::generate()).unwrap_err();
    }

    #[test]
    fn a_walk_finds_every_file_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let files = MediaFiles::open(root.path()).unwrap();
        let mut ids: Vec<_> = (0..20).map(|number| published(&files, &number.to_string())).collect();
        fs::create_dir_all(root.path().join("ab/folder")).unwrap();
        fs::write(root.path().join("ab/README"), "mine").unwrap();
        fs::write(root.path().join("README"), "mine").unwrap();
        let mut walk = files.walk().unwrap();
        let mut found = Vec::new();
        loop {
            let some = walk.next_ids(3).unwrap();
            assert!(some.len() <= 3);
            if some.is_empty() {
                break;
            }
            found.extend(some);
        }
        found.sort();
        ids.sort();
        assert_eq!(found, ids);
    }

    #[test]
    fn the_room_on_the_disk_is_known() {
        let root = tempfile::tempdir().unwrap();
        assert!(MediaFiles::open(root.path()).unwrap().free_bytes().unwrap() > 0);
    }
}
