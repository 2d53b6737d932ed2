//! Tells what happens to plugins as events.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::event::{PluginCause, PluginChange, PluginNews};
use crate::plugin::Plugins;
use crate::plugin::archive::Cause;
use crate::plugin::news::{News, What};
use crate::store::Store;
use crate::time::now;

/// Characters of a reason that an event repeats; the whole is at `GET /v1/plugins`.
const MAX_REASON_CHARS: usize = 1_000;

/// Tells until it is told to stop.
pub(super) async fn tell(plugins: Arc<Plugins>, store: Arc<dyn Store>, stop: CancellationToken) {
    while let Some(news) = stop.run_until_cancelled(plugins.news()).await {
        keep(&*store, news).await;
    }
}

/// Tells what nobody has told yet: before the host serves anybody, and once the plugins have stopped.
pub(super) async fn tell_the_rest(plugins: &Plugins, store: &dyn Store) {
    let news = plugins.latest_news();
    if !news.is_empty() {
        keep(store, news).await;
    }
}

async fn keep(store: &dyn Store, news: Vec<News>) {
    let told = store.tell_plugins(news.into_iter().map(event).collect(), now()).await;
    if let Err(error) = told {
        tracing::warn!(%error, "what happened to plugins has no event");
    }
}

fn event(news: News) -> PluginNews {
    let News { plugin, digest, what } = news;
    let change = match what {
        What::Live(Cause::File) => PluginChange::Live { cause: PluginCause::File },
        What::Live(Cause::Upload) => PluginChange::Live { cause: PluginCause::Upload },
        What::Live(Cause::Rollback) => PluginChange::Live { cause: PluginCause::Rollback },
        What::Refused(mut reason) => {
            if let Some((end, _)) = reason.char_indices().nth(MAX_REASON_CHARS) {
                reason.truncate(end);
                reason.push('…');
            }
            PluginChange::Refused { reason }
        }
        What::Drained => PluginChange::Drained,
        What::Removed => PluginChange::Removed,
    };
    PluginNews { name: plugin, digest, change }
}
