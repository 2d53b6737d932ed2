//! Verbs on media records.

use std::ops::Bound;

use super::core::{Core, Halt, MAX_PAGE, MAX_SCAN, Verdict};
use crate::event::{Change, MediaChange};
use crate::store::request::{MediaQuery, MediaRecord, MediaStatus, NewMedia, Page};
use crate::store::{Obstacle, StoreError};
use crate::time::Timestamp;

impl Core {
    /// See [`crate::store::Store::add_media`].
    pub(super) fn add_media(&mut self, new: NewMedia, now: Timestamp) -> Verdict<MediaRecord> {
        if self.trees.media.contains(new.id.as_bytes())? {
            return Err(Obstacle::Exists.because(format!("media {} exists already", new.id)).into());
        }
        let NewMedia { id, name, content_type, size, task } = new;
        let record = MediaRecord { id, name, content_type, size, task, created_at: now, status: MediaStatus::Live };
        self.put_media(&record, MediaChange::Added, now)?;
        Ok(record)
    }

    /// See [`crate::store::Store::media`].
    pub(super) fn media(&self, id: &str) -> Verdict<Option<MediaRecord>> {
        self.trees.media.get(id.as_bytes())
    }

    /// See [`crate::store::Store::trash_media`].
    pub(super) fn trash_media(&mut self, id: &str, purge_after: Timestamp, now: Timestamp) -> Verdict<MediaRecord> {
        let mut record = self.known_media(id)?;
        if record.status == MediaStatus::Live {
            record.status = MediaStatus::Trashed { at: now, purge_after };
            self.put_media(&record, MediaChange::Trashed, now)?;
            self.trashed.insert(id.to_owned(), purge_after);
        }
        Ok(record)
    }

    /// See [`crate::store::Store::restore_media`].
    pub(super) fn restore_media(&mut self, id: &str, now: Timestamp) -> Verdict<MediaRecord> {
        let mut record = self.known_media(id)?;
        if record.status != MediaStatus::Live {
            record.status = MediaStatus::Live;
            self.put_media(&record, MediaChange::Restored, now)?;
            self.trashed.remove(id);
        }
        Ok(record)
    }

    /// See [`crate::store::Store::purge_media`].
    pub(super) fn purge_media(&mut self, id: &str, now: Timestamp) -> Verdict<bool> {
        let Some(record) = self.media(id)? else { return Ok(false) };
        match record.status {
            MediaStatus::Trashed { purge_after, .. } if purge_after <= now => {}
            MediaStatus::Trashed { purge_after, .. } => {
                let text = format!("media {id} may be restored until {purge_after}");
                return Err(Obstacle::NotPurgeable.because(text).into());
            }
            MediaStatus::Live => {
                return Err(Obstacle::NotPurgeable.because(format!("media {id} is not in the trash")).into());
            }
        }
        self.trees.media.remove(id.as_bytes())?;
        self.trashed.remove(id);
        self.emit(now, Change::Media { id: id.to_owned(), change: MediaChange::Purged });
        Ok(true)
    }

    /// See [`crate::store::Store::list_media`].
    pub(super) fn list_media(&self, query: &MediaQuery) -> Verdict<Page<MediaRecord>> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX).clamp(1, MAX_PAGE);
        if query.trashed == Some(true) || query.purgeable_at.is_some() {
            return self.list_trashed(query, limit);
        }
        let from = query.after.as_ref().map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
        let mut records = self.trees.media.range(from, Bound::Unbounded);
        let mut page = Page { items: Vec::new(), next: None };
        let mut latest: Option<String> = None;
        for examined in 0.. {
            if page.items.len() == limit || examined == MAX_SCAN {
                page.next = records.next().and(latest);
                break;
            }
            let Some(record) = records.next() else { break };
            let record: MediaRecord = self.trees.media.decode(&record?.1)?;
            latest = Some(record.id.clone());
            if query.trashed.is_none() || record.status == MediaStatus::Live {
                page.items.push(record);
            }
        }
        Ok(page)
    }

    /// From memory: a few trashed files among many live ones are found without reading them all.
    fn list_trashed(&self, query: &MediaQuery, limit: usize) -> Verdict<Page<MediaRecord>> {
        let mut page = Page { items: Vec::new(), next: None };
        if query.trashed == Some(false) {
            return Ok(page);
        }
        let from = query.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let is_due = |until: &Timestamp| query.purgeable_at.is_none_or(|now| *until <= now);
        let mut ids =
            self.trashed.range::<str, _>((from, Bound::Unbounded)).filter(|(_, until)| is_due(until)).map(|(id, _)| id);
        for id in ids.by_ref().take(limit) {
            page.items.push(self.known_media(id)?);
        }
        if ids.next().is_some() {
            page.next = page.items.last().map(|record| record.id.clone());
        }
        Ok(page)
    }

    fn known_media(&self, id: &str) -> Verdict<MediaRecord> {
        self.media(id)?.ok_or(Halt::Refused(StoreError::NotFound))
    }

    fn put_media(&mut self, record: &MediaRecord, change: MediaChange, now: Timestamp) -> Verdict<()> {
        self.trees.media.put(record.id.as_bytes(), record)?;
        self.emit(now, Change::Media { id: record.id.clone(), change });
        Ok(())
    }
}
