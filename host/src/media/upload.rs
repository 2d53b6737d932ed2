//! The bytes of an upload on their way to the disk.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::files::{MediaFiles, TempFile};
use super::{MediaError, blocking};

/// Bytes that are gathered before they are written: fewer changes of thread on fast uploads.
const GATHER_BYTES: usize = 1 << 20;

/// Writes a temporary file within bounds. Dropping it removes what was written.
#[derive(Debug)]
pub(super) struct Writer {
    files: Arc<MediaFiles>,
    temp: TempFile,
    // Absent while it is being written, and for good when a write was abandoned or failed.
    file: Option<File>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    len: u64,
    max_bytes: u64,
    min_free_bytes: u64,
}

impl Writer {
    pub(super) async fn begin(
        files: Arc<MediaFiles>,
        max_bytes: u64,
        min_free_bytes: u64,
        expected_len: Option<u64>,
    ) -> Result<Self, MediaError> {
        let expected = expected_len.unwrap_or(0);
        if expected > max_bytes {
            return Err(MediaError::TooLarge { limit: max_bytes });
        }
        let shared = Arc::clone(&files);
        let created = blocking(move || {
            let has_room = shared.free_bytes()? >= expected.saturating_add(min_free_bytes);
            if has_room { shared.create_temp("part").map(Some) } else { Ok(None) }
        });
        let (temp, file) = created.await?.ok_or(MediaError::NoSpace)?;
        let gathered = Vec::new();
        Ok(Self { files, temp, file: Some(file), gathered, gathered_bytes: 0, len: 0, max_bytes, min_free_bytes })
    }

    /// Bytes that were taken so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Takes the next bytes. After an error the upload is over.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), MediaError> {
        let len = self.len.saturating_add(bytes.len() as u64);
        if len > self.max_bytes {
            self.file = None;
            return Err(MediaError::TooLarge { limit: self.max_bytes });
        }
        self.len = len;
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= GATHER_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), MediaError> {
        let abandoned = || MediaError::Conflict("an earlier write of this upload failed".to_owned());
        let mut file = self.file.take().ok_or_else(abandoned)?;
        let gathered = std::mem::take(&mut self.gathered);
        let needed = self.min_free_bytes.saturating_add(std::mem::take(&mut self.gathered_bytes) as u64);
        let files = Arc::clone(&self.files);
        let written = blocking(move || {
            if files.free_bytes()? < needed {
                return Ok(None);
            }
            for bytes in gathered {
                file.write_all(&bytes)?;
            }
            Ok(Some(file))
        });
        self.file = Some(written.await?.ok_or(MediaError::NoSpace)?);
        Ok(())
    }

    /// The whole file, written but not synced.
    pub(super) async fn into_temp(mut self) -> Result<TempFile, MediaError> {
        self.flush().await?;
        Ok(self.temp)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn temps(dir: &Path) -> usize {
        std::fs::read_dir(dir.join("tmp")).unwrap().count()
    }

    fn files(dir: &Path) -> Arc<MediaFiles> {
        Arc::new(MediaFiles::open(dir).unwrap())
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_and_bounds_hold() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::begin(files(dir.path()), 5 << 20, 0, None).await.unwrap();
        assert_eq!(writer.len(), 0);
        let mut expected = Vec::new();
        for number in 0..40_u8 {
            let chunk = vec![number; 100_000];
            expected.extend_from_slice(&chunk);
            writer.write(Bytes::from(chunk)).await.unwrap();
        }
        assert_eq!(writer.len(), 4_000_000);
        let temp = writer.into_temp().await.unwrap();
        assert!(std::fs::read(temp.path()).unwrap() == expected);
        drop(temp);
        assert_eq!(temps(dir.path()), 0);
    }

    #[tokio::test]
    async fn too_large_is_refused_before_and_while_writing() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let early = Writer::begin(Arc::clone(&files), 10, 0, Some(11)).await;
        assert!(matches!(early, Err(MediaError::TooLarge { limit: 10 })));
        let mut writer = Writer::begin(files, 10, 0, Some(10)).await.unwrap();
        writer.write(Bytes::from_static(b"0123456789")).await.unwrap();
        let late = writer.write(Bytes::from_static(b"0")).await;
        assert!(matches!(late, Err(MediaError::TooLarge { limit: 10 })));
        assert!(matches!(writer.into_temp().await, Err(MediaError::Conflict(_))), "an upload over the bound is over");
        assert_eq!(temps(dir.path()), 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_noticed_before_and_while_writing() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let free = files.free_bytes().unwrap();
        let early = Writer::begin(Arc::clone(&files), u64::MAX, free, Some(1 << 40)).await;
        assert!(matches!(early, Err(MediaError::NoSpace)));
        let mut writer = Writer::begin(Arc::clone(&files), u64::MAX, 0, None).await.unwrap();
        // As if others had filled the disk meanwhile.
        writer.min_free_bytes = u64::MAX;
        let late = writer.write(Bytes::from(vec![0; GATHER_BYTES])).await;
        assert!(matches!(late, Err(MediaError::NoSpace)));
        drop(writer);
        // The real error of a full device.
        let mut writer = Writer::begin(files, u64::MAX, 0, None).await.unwrap();
        writer.file = Some(File::options().write(true).open("/dev/full").unwrap());
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        assert!(matches!(writer.into_temp().await, Err(MediaError::NoSpace)));
        assert_eq!(temps(dir.path()), 0);
    }
}
