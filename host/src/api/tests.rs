//! The routes, called as a client calls them.

mod batches;
mod callback;
mod events;
mod flow;
pub(in crate::api) mod harness;
mod limits;
mod logs;
mod media;
mod options;
mod problems;
mod running;
mod schedules;
mod server;
mod status;
mod stream;
mod tasks;

use std::path::Path;
use std::sync::Arc;

use crate::media::Library;
use crate::store::Store;
use crate::store::sled::{Settings, SledStore};
use crate::task::BootId;
use crate::time::now;

fn open_store(dir: &Path) -> Arc<dyn Store> {
    SledStore::open(Settings::new(dir.join("store"), BootId(7)), now()).unwrap()
}

async fn open_library(dir: &Path, store: Arc<dyn Store>) -> Library {
    let settings = crate::media::Settings { min_free_bytes: 0, ..crate::media::Settings::new(dir.join("media")) };
    Library::open(settings, store).await.unwrap()
}
