//! `taskhost:media/library`: files by opaque id.

use super::DESCRIBING;
use crate::plugin::contract::library::{Error, Host, Media, Page, Status};
use crate::plugin::guest::Guest;
use crate::plugin::ports::{self, PortError};

/// Bytes that one read may return.
const MAX_READ_BYTES: u32 = 1024 * 1024;
/// Files that one page may have.
const MAX_PAGE: u32 = 1000;
/// Bytes of an id: anything longer names nothing.
const MAX_ID_BYTES: usize = 128;

impl Guest {
    fn library_allowed(&self) -> Result<(), Error> {
        if self.describing() { Err(Error::Denied(DESCRIBING.to_owned())) } else { Ok(()) }
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
}
