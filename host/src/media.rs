//! The media library: files by opaque id, and their records in the store.
//!
//! A file becomes visible in this order: bytes on disk, synced; name in its folder, synced; record
//! committed. So a live record always has its file, and a crash in between leaves a file without a record,
//! which the next start sweeps. It vanishes in the same order: a purge that could not delete the file is none, and
//! keeps the record. A crash in between leaves a trashed record without a file, which cannot be restored; the
//! next purge finishes it.

mod files;
mod id;
mod name;
pub mod range;
mod step;
mod upload;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::try_join_all;

use self::files::MediaFiles;
pub use self::files::TempFile;
pub use self::id::MediaId;
pub use self::step::Step;
use self::upload::Writer;
use crate::store::{MediaQuery, MediaRecord, MediaStatus, NewMedia, Page, Store, StoreError};
use crate::task::TaskId;
use crate::time::Timestamp;

/// Names that one step of the sweep holds in memory.
const SWEEP_STEP: usize = 256;

/// Where the files are and how large they may be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the library.
    pub dir: PathBuf,
    /// Size of one upload at most, in bytes.
    pub max_upload_bytes: u64,
    /// How long a trashed file can be restored when the caller does not say, in milliseconds.
    pub trash_grace_ms: u64,
    /// Room on the disk that uploads leave free, in bytes.
    pub min_free_bytes: u64,
}

impl Settings {
    /// The defaults for a library in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_upload_bytes: 16 << 30,
            trash_grace_ms: 7 * 24 * 3_600_000,
            min_free_bytes: 64 << 20,
        }
    }
}

/// Why the library did nothing, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// There is no such file, or it is trashed and a live one was asked for.
    #[error("there is no such media")]
    NotFound,
    /// The file is in a state that does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The file is larger than an upload may be: send a smaller one.
    #[error("the file is larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// The disk is full: the operator has to make room.
    #[error("there is not enough room on the disk")]
    NoSpace,
    /// The store takes no more records: try again later.
    #[error("{0}")]
    Full(String),
    /// The file stays on the disk, and its record with it: the operator has to look, then it is tried again.
    #[error("the file cannot be deleted: {0}")]
    Undeletable(io::Error),
    /// The host is stopping.
    #[error("the library is closed")]
    Closed,
    /// The disk failed, or the folder was tampered with: the operator has to look.
    #[error("the library's disk failed: {0}")]
    Io(io::Error),
}

impl From<StoreError> for MediaError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            StoreError::Stale => Self::Conflict("the record has moved on".to_owned()),
            StoreError::Conflict(conflict) => Self::Conflict(conflict.state),
            error @ (StoreError::Taken { .. } | StoreError::NoParent { .. }) => Self::Conflict(error.to_string()),
            StoreError::Full(bound) => Self::Full(bound),
            StoreError::Closed => Self::Closed,
        }
    }
}

impl From<io::Error> for MediaError {
    fn from(error: io::Error) -> Self {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        if full.contains(&error.kind()) { Self::NoSpace } else { Self::Io(error) }
    }
}

/// A live file, open for reading. It stays readable when the file is purged meanwhile.
#[derive(Debug)]
pub struct Content {
    /// Its record.
    pub record: MediaRecord,
    /// Its bytes.
    pub file: File,
}

/// The library. Clones share it.
#[derive(Clone, Debug)]
pub struct Library {
    settings: Arc<Settings>,
    files: Arc<MediaFiles>,
    store: Arc<dyn Store>,
    /// Files that are being purged, restored or made by a step: one of these at a time.
    changing: Arc<Mutex<HashSet<MediaId>>>,
}

/// A file of the library is the holder's to purge, to restore or to make.
#[derive(Debug)]
struct Change {
    id: MediaId,
    all: Arc<Mutex<HashSet<MediaId>>>,
}

impl Drop for Change {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Library {
    /// Opens the library: creates its folders, removes what a crash left behind (temporary files,
    /// files without a record).
    pub async fn open(settings: Settings, store: Arc<dyn Store>) -> Result<Self, MediaError> {
        let dir = settings.dir.clone();
        let files = blocking(move || MediaFiles::open(&dir)).await?;
        let library = Self { settings: Arc::new(settings), files: Arc::new(files), store, changing: Arc::default() };
        library.sweep().await?;
        Ok(library)
    }

    /// Starts an upload of a length that may be known.
    pub async fn begin_upload(&self, expected_len: Option<u64>) -> Result<Upload, MediaError> {
        let Settings { max_upload_bytes, min_free_bytes, .. } = *self.settings;
        let writer = Writer::begin(Arc::clone(&self.files), max_upload_bytes, min_free_bytes, expected_len).await?;
        Ok(Upload { home: self.clone(), writer })
    }

    /// A new file in the library's folder that some tool will write, to be [adopted](Self::adopt).
    pub async fn new_temp(&self, extension: &'static str) -> Result<TempFile, MediaError> {
        let files = Arc::clone(&self.files);
        let min_free_bytes = self.settings.min_free_bytes;
        let created = blocking(move || {
            let has_room = files.free_bytes()? >= min_free_bytes;
            if has_room { files.create_temp(extension).map(Some) } else { Ok(None) }
        });
        let (temp, _) = created.await?.ok_or(MediaError::NoSpace)?;
        Ok(temp)
    }

    /// Takes a finished temporary file into the library: it is durable and visible when this returns.
    pub async fn adopt(
        &self,
        temp: TempFile,
        name: &str,
        content_type: Option<&str>,
        task: Option<TaskId>,
        now: Timestamp,
    ) -> Result<MediaRecord, MediaError> {
        self.take_in(MediaId::generate(), temp, (name, content_type, task), now).await
    }

    /// The id must be free.
    async fn take_in(
        &self,
        id: MediaId,
        temp: TempFile,
        (name, content_type, task): (&str, Option<&str>, Option<TaskId>),
        now: Timestamp,
    ) -> Result<MediaRecord, MediaError> {
        let name = name::display_name(name, id);
        let content_type = name::content_type(content_type, &name);
        let files = Arc::clone(&self.files);
        let size = blocking(move || files.publish(temp, id)).await?;
        let media = NewMedia { id: id.to_string(), name, content_type, size, task };
        match self.store.add_media(media, now).await {
            Ok(record) => Ok(record),
            Err(error) => {
                // A store that closes may have kept the record: then the next start decides.
                if !matches!(error, StoreError::Closed) {
                    self.unlink(id).await;
                }
                Err(error.into())
            }
        }
    }

    /// A live file with its bytes.
    pub async fn content(&self, id: &str) -> Result<Content, MediaError> {
        let (id, record) = self.find(id).await?;
        match record.status {
            MediaStatus::Live => {}
            MediaStatus::Trashed { .. } => return Err(MediaError::NotFound),
        }
        let files = Arc::clone(&self.files);
        match blocking(move || files.open_content(id)).await {
            Ok(file) => Ok(Content { record, file }),
            // Purged between the two looks; otherwise somebody else has removed it.
            Err(MediaError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let gone = self.store.media(&record.id).await?.is_none();
                Err(if gone { MediaError::NotFound } else { MediaError::Io(error) })
            }
            Err(error) => Err(error),
        }
    }

    /// One record, live or trashed.
    pub async fn record(&self, id: &str) -> Result<MediaRecord, MediaError> {
        self.find(id).await.map(|(_, record)| record)
    }

    /// Records in order of creation.
    pub async fn list(&self, query: MediaQuery) -> Result<Page<MediaRecord>, MediaError> {
        Ok(self.store.list_media(query).await?)
    }

    /// Hides a live file; it can be restored for `grace_ms` (the configured grace when absent).
    pub async fn trash(&self, id: &str, grace_ms: Option<u64>, now: Timestamp) -> Result<MediaRecord, MediaError> {
        let id = MediaId::parse(id).ok_or(MediaError::NotFound)?;
        let purge_after = now.plus_millis(grace_ms.unwrap_or(self.settings.trash_grace_ms));
        Ok(self.store.trash_media(&id.to_string(), purge_after, now).await?)
    }

    /// Brings a trashed file back.
    pub async fn restore(&self, id: &str, now: Timestamp) -> Result<MediaRecord, MediaError> {
        let id = MediaId::parse(id).ok_or(MediaError::NotFound)?;
        let _change = self.change(id)?;
        let record = self.record(&id.to_string()).await?;
        let files = Arc::clone(&self.files);
        if record.status != MediaStatus::Live && !blocking(move || files.is_there(id)).await? {
            // A crash came between the file and its record: the next purge finishes what was begun.
            return Err(MediaError::Conflict("its file is deleted already".to_owned()));
        }
        Ok(self.store.restore_media(&id.to_string(), now).await?)
    }

    /// Deletes a trashed file whose grace has passed; answers whether it was there. A file that is
    /// gone is success; open readers keep reading. The record goes after the file: as long as that cannot be
    /// deleted ([`MediaError::Undeletable`]), it says so, and the purge can be tried again.
    pub async fn purge(&self, id: &str, now: Timestamp) -> Result<bool, MediaError> {
        let id = MediaId::parse(id).ok_or(MediaError::NotFound)?;
        let change = self.change(id)?;
        let Some(record) = self.store.media(&id.to_string()).await? else { return Ok(false) };
        let files = Arc::clone(&self.files);
        let goes = record.is_purgeable(now);
        // The change ends after the work, also when nobody waits for it any more.
        let work = move || Ok((change, if goes { files.remove(id) } else { Ok(()) }));
        let (_change, removed) = blocking(work).await?;
        removed.map_err(MediaError::Undeletable)?;
        // Refuses a file that is live or within its grace.
        match self.store.purge_media(&id.to_string(), now).await {
            Ok(known) => Ok(known),
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Nobody else purges, restores or makes a file as long as this lives.
    fn change(&self, id: MediaId) -> Result<Change, MediaError> {
        if !self.changing.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Err(MediaError::Conflict("it is being purged, restored or made just now".to_owned()));
        }
        Ok(Change { id, all: Arc::clone(&self.changing) })
    }

    async fn find(&self, id: &str) -> Result<(MediaId, MediaRecord), MediaError> {
        let id = MediaId::parse(id).ok_or(MediaError::NotFound)?;
        let record = self.store.media(&id.to_string()).await?.ok_or(MediaError::NotFound)?;
        Ok((id, record))
    }

    /// Removes a file that has no record. A failure is not the caller's: the next start sweeps it.
    async fn unlink(&self, id: MediaId) {
        let files = Arc::clone(&self.files);
        if let Err(error) = blocking(move || files.remove(id)).await {
            tracing::warn!(%id, %error, "a file without a record stays on the disk until the next start");
        }
    }

    /// Removes files that have no record. Nothing else uses the library yet.
    async fn sweep(&self) -> Result<(), MediaError> {
        let files = Arc::clone(&self.files);
        let mut walk = blocking(move || files.walk()).await?;
        loop {
            let (rest, ids) = blocking(move || {
                let ids = walk.next_ids(SWEEP_STEP)?;
                Ok((walk, ids))
            })
            .await?;
            if ids.is_empty() {
                return Ok(());
            }
            walk = rest;
            let records = try_join_all(ids.iter().map(async |id| self.store.media(&id.to_string()).await)).await?;
            for (id, _) in ids.into_iter().zip(records).filter(|(_, record)| record.is_none()) {
                tracing::info!(%id, "removing a file without a record");
                self.unlink(id).await;
            }
        }
    }
}

/// An upload in progress. Dropping it removes what was written.
#[derive(Debug)]
pub struct Upload {
    home: Library,
    writer: Writer,
}

impl Upload {
    /// Bytes that were taken so far.
    pub fn bytes_taken(&self) -> u64 {
        self.writer.len()
    }

    /// Takes the next bytes. After an error the upload is over.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), MediaError> {
        self.writer.write(bytes).await
    }

    /// Ends the upload: the file is durable when this returns, but gets its record from somebody else.
    pub async fn stage(self, name: &str, content_type: Option<&str>) -> Result<Staged, MediaError> {
        let id = MediaId::generate();
        let name = name::display_name(name, id);
        let content_type = name::content_type(content_type, &name);
        let temp = self.writer.into_temp().await?;
        let files = Arc::clone(&self.home.files);
        let (placed, size) = blocking(move || files.place(temp, id)).await?;
        Ok(Staged { id: id.to_string(), name, content_type, size, placed })
    }

    /// Ends the upload: the file is durable and visible when this returns.
    pub async fn finish(
        self,
        name: &str,
        content_type: Option<&str>,
        task: Option<TaskId>,
        now: Timestamp,
    ) -> Result<MediaRecord, MediaError> {
        let temp = self.writer.into_temp().await?;
        self.home.adopt(temp, name, content_type, task, now).await
    }
}

/// A durable file without a record. Dropping it removes the file; so does the next start when it finds no record.
#[derive(Debug)]
pub struct Staged {
    /// Its opaque id.
    pub id: String,
    /// For people.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    placed: TempFile,
}

impl Staged {
    /// There is a record, or may be one: the file stays.
    pub fn keep(self) {
        self.placed.keep();
    }
}

/// Runs file work off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, MediaError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(MediaError::Closed),
    }
}

#[cfg(test)]
mod tests;
