//! Streaming, trashing, restoring and clearing.

use anyhow::{Result, bail};
use serde_json::Value;

use super::video::Media;
use super::{Stage, note, step};

/// Streams a part of a file by a range request.
pub(super) fn stream(stage: &Stage, media: &Media) -> Result<()> {
    step("Streaming a thousand bytes out of the middle");
    let (total, first) = (media.bytes.len(), media.bytes.len() / 2);
    let last = first + 999;
    let answer =
        stage.client.get(&format!("/v1/media/{}/content", media.id), &[("range", &format!("bytes={first}-{last}"))])?;
    let range = answer.content_range.unwrap_or_default();
    if answer.status != 206 || range != format!("bytes {first}-{last}/{total}") {
        bail!("the answer is {} with Content-Range {range:?}", answer.status);
    }
    if media.bytes.get(first..=last) != Some(answer.body.as_slice()) {
        bail!("the streamed bytes are not those of the file");
    }
    note(&format!("{}, {range}: the very bytes of the file", answer.status));
    Ok(())
}

/// Trashes a file and brings it back.
pub(super) fn trash_and_restore(stage: &Stage, media: &Media) -> Result<()> {
    step("Trashing a cut and restoring it");
    stage.client.delete(&format!("/v1/media/{}", media.id))?.json()?;
    expect_content(stage, media, 404)?;
    note("trashed: it cannot be read any more");
    stage.client.post(&format!("/v1/media/{}/restore", media.id), None)?.json()?;
    expect_content(stage, media, 200)?;
    note("restored: it is back");
    Ok(())
}

/// Trashes a file for good: the schedule's dispatcher finds it, and its executor purges it.
pub(super) fn trash_and_clear(stage: &Stage, media: &Media) -> Result<()> {
    step("Trashing it with a grace of one second, and waiting for video-clear to purge it");
    stage.client.delete(&format!("/v1/media/{}?grace=1", media.id))?.json()?;
    let mut task = None;
    stage.events.find("the file to be purged", |event| {
        let field = |pointer| event.pointer(pointer).and_then(Value::as_str);
        if field("/type") == Some("task.started") && field("/kind") == Some("video.clear") {
            task = field("/task").map(str::to_owned);
        }
        (field("/type") == Some("media.purged") && field("/media") == Some(&media.id)).then_some(())
    })?;
    expect_content(stage, media, 404)?;
    note(&format!("task {} of the schedule purged it", task.as_deref().unwrap_or("(unseen)")));
    Ok(())
}

fn expect_content(stage: &Stage, media: &Media, wanted: u16) -> Result<()> {
    let answer = stage.client.get(&format!("/v1/media/{}/content", media.id), &[])?;
    if answer.status != wanted {
        bail!("reading {} was answered with {}, not {wanted}", media.id, answer.status);
    }
    Ok(())
}
