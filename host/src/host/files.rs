//! Files that guests write, over uploads of the library.

use async_trait::async_trait;

use super::lend::unlent;
use crate::media::{Library, Staged, Upload};
use crate::plugin::ports::{Added, FilePort, Pending, PortError};
use crate::task::AddedFile;

/// A file that a guest writes.
pub(super) struct GuestFile {
    upload: Upload,
    name: String,
    content_type: Option<String>,
}

impl GuestFile {
    /// An empty one.
    pub(super) async fn begin(
        library: &Library,
        name: String,
        content_type: Option<String>,
    ) -> Result<Box<dyn FilePort>, PortError> {
        let upload = library.begin_upload(None).await.map_err(unlent)?;
        Ok(Box::new(Self { upload, name, content_type }))
    }
}

#[async_trait]
impl FilePort for GuestFile {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), PortError> {
        self.upload.write(bytes.into()).await.map_err(unlent)
    }

    async fn finish(self: Box<Self>) -> Result<Added, PortError> {
        let Self { upload, name, content_type } = *self;
        let staged = upload.stage(&name, content_type.as_deref()).await.map_err(unlent)?;
        let Staged { id, name, content_type, size, .. } = &staged;
        let file = AddedFile { id: id.clone(), name: name.clone(), content_type: content_type.clone(), size: *size };
        Ok(Added { file, pending: Box::new(staged) })
    }
}

impl Pending for Staged {
    fn keep(self: Box<Self>) {
        Self::keep(*self);
    }
}
