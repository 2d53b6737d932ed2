//! `taskhost:media/library`: files by opaque id.

use wasmtime::component::Resource;

use super::DESCRIBING;
use crate::plugin::contract::clip_to;
use crate::plugin::contract::library::{Error, Host, HostWriter, Media, Page, Status};
use crate::plugin::guest::{Guest, Purpose};
use crate::plugin::ports::{self, FilePort, PortError};

/// Bytes that one read may return.
const MAX_READ_BYTES: u32 = 1024 * 1024;
/// Files that one page may have.
const MAX_PAGE: u32 = 1000;
/// Bytes that one write may carry.
const MAX_WRITE_BYTES: usize = 1024 * 1024;
/// Files that one attempt may add.
const MAX_ADDED: usize = 64;
/// Bytes of a new file's name, and of its type.
const MAX_NAME_BYTES: usize = 255;
/// Bytes of an id: anything longer names nothing.
const MAX_ID_BYTES: usize = 128;

/// A file that a guest writes; nothing once a write has failed.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Writing(Option<Box<dyn FilePort>>);

impl Guest {
    fn library_allowed(&self) -> Result<(), Error> {
        if self.describing() { Err(Error::Denied(DESCRIBING.to_owned())) } else { Ok(()) }
    }

    fn library_add(&self) -> Result<(), Error> {
        self.library_allowed()?;
        if self.code.grants.library.as_ref().is_some_and(|grant| grant.add || grant.write) {
            return Ok(());
        }
        let plugin = &self.code.name;
        let remedy = format!("write `library = {{ add = true }}` under [grant] in plugins/{plugin}.toml");
        Err(Error::Denied(format!("plugin {plugin:?} may only read the library: {remedy}")))
    }

    fn library_write(&self) -> Result<(), Error> {
        self.library_allowed()?;
        if self.code.grants.library.as_ref().is_some_and(|grant| grant.write) {
            return Ok(());
        }
        let plugin = &self.code.name;
        let remedy = format!("write `library = {{ write = true }}` under [grant] in plugins/{plugin}.toml");
        Err(Error::Denied(format!("plugin {plugin:?} may only read the library: {remedy}")))
    }
}

fn known(id: &str) -> Result<(), Error> {
    if id.len() > MAX_ID_BYTES { Err(Error::NotFound) } else { Ok(()) }
}

fn error(error: PortError) -> Error {
    match error {
        PortError::NotFound => Error::NotFound,
        PortError::Conflict(reason) => Error::Other(reason),
        PortError::Quota(limit) => Error::QuotaExceeded(limit),
        PortError::Unavailable(reason) => Error::Unavailable(reason),
    }
}

/// A file whose state does not allow a change is in use, as far as a guest can tell.
fn change_error(refusal: PortError) -> Error {
    match refusal {
        PortError::Conflict(_) => Error::InUse,
        PortError::NotFound | PortError::Quota(_) | PortError::Unavailable(_) => error(refusal),
    }
}

fn media(media: ports::Media) -> Media {
    Media {
        id: media.id,
        name: media.name,
        content_type: media.content_type,
        size: media.size,
        status: if media.purge_after.is_some() { Status::Trashed } else { Status::Live },
        created_at: media.created_at.as_millis(),
        purge_after: media.purge_after.map(crate::time::Timestamp::as_millis),
    }
}

impl Host for Guest {
    async fn get(&mut self, id: String) -> Result<Media, Error> {
        self.library_allowed()?;
        known(&id)?;
        self.code.shared.ports.library.get(&id).await.map(media).map_err(error)
    }

    async fn list_purgeable(&mut self, after: Option<String>, limit: u32) -> Result<Page, Error> {
        self.library_allowed()?;
        let limit = limit.min(MAX_PAGE);
        let found = self.code.shared.ports.library.list_purgeable(after.as_deref(), limit).await.map_err(error)?;
        let is_full = limit > 0 && found.len() >= limit as usize;
        let next = found.last().filter(|_| is_full).map(|last| last.id.clone());
        Ok(Page { items: found.into_iter().map(media).collect(), next })
    }

    async fn read(&mut self, id: String, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        self.library_allowed()?;
        known(&id)?;
        if length > MAX_READ_BYTES {
            return Err(Error::TooLarge(u64::from(MAX_READ_BYTES)));
        }
        self.code.shared.ports.library.read(&id, offset, length).await.map_err(error)
    }

    async fn trash(&mut self, id: String) -> Result<(), Error> {
        self.library_write()?;
        known(&id)?;
        self.code.shared.ports.library.trash(&id).await.map_err(change_error)
    }

    async fn purge(&mut self, id: String) -> Result<(), Error> {
        self.library_write()?;
        known(&id)?;
        self.code.shared.ports.library.purge(&id).await.map_err(change_error)
    }

    async fn add(&mut self, name: String, content_type: Option<String>) -> Result<Resource<Writing>, Error> {
        self.library_add()?;
        if matches!(self.call.purpose, Purpose::Dispatch) {
            return Err(Error::Denied("only an attempt adds files: they come with its success".to_owned()));
        }
        if self.added.len() >= MAX_ADDED {
            return Err(Error::QuotaExceeded(MAX_ADDED as u64));
        }
        let name = clip_to(name, MAX_NAME_BYTES);
        let content_type = content_type.map(|content_type| clip_to(content_type, MAX_NAME_BYTES));
        let file = self.code.shared.ports.library.add(name, content_type).await.map_err(error)?;
        self.table.push(Writing(Some(file))).map_err(|full| Error::Unavailable(full.to_string()))
    }
}

const LOST: &str = "an earlier write of this file failed";

impl HostWriter for Guest {
    async fn write(&mut self, writer: Resource<Writing>, bytes: Vec<u8>) -> Result<(), Error> {
        let Ok(Writing(slot)) = self.table.get_mut(&writer) else { return Err(Error::Other(LOST.to_owned())) };
        // Absent while it is being written, and for good when that fails or is given up.
        let mut file = slot.take().ok_or_else(|| Error::Other(LOST.to_owned()))?;
        if bytes.len() > MAX_WRITE_BYTES {
            return Err(Error::TooLarge(MAX_WRITE_BYTES as u64));
        }
        file.write(bytes).await.map_err(error)?;
        if let Ok(Writing(slot)) = self.table.get_mut(&writer) {
            *slot = Some(file);
        }
        Ok(())
    }

    async fn finish(&mut self, writer: Resource<Writing>) -> Result<String, Error> {
        let Ok(Writing(Some(file))) = self.table.delete(writer) else { return Err(Error::Other(LOST.to_owned())) };
        if self.added.len() >= MAX_ADDED {
            return Err(Error::QuotaExceeded(MAX_ADDED as u64));
        }
        let added = file.finish().await.map_err(error)?;
        let id = added.file.id.clone();
        self.added.push(added);
        Ok(id)
    }

    async fn drop(&mut self, writer: Resource<Writing>) -> wasmtime::Result<()> {
        self.table.delete(writer)?;
        Ok(())
    }
}
