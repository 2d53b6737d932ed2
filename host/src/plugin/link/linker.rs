//! What a component is linked with.

use wasmtime::component::{HasSelf, Linker};

use crate::plugin::contract::{command, config, context, ffmpeg, library, log, queue, state};
use crate::plugin::engine::Shared;
use crate::plugin::guest::Guest;

use super::Grants;

/// All of WASI, which is given nothing to reach, and of the host's interfaces those that are granted.
pub(super) fn linker(shared: &Shared, grants: &Grants) -> wasmtime::Result<Linker<Guest>> {
    type Own = HasSelf<Guest>;
    let mut linker = Linker::new(&shared.engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    log::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    config::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    context::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    if grants.state.is_some() {
        state::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    }
    if grants.queue.is_some() {
        queue::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    }
    if grants.library.is_some() {
        library::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    }
    if grants.ffmpeg.is_some() {
        ffmpeg::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    }
    if !grants.command.is_empty() {
        command::add_to_linker::<_, Own>(&mut linker, |guest| guest)?;
    }
    if grants.http.is_given() {
        crate::plugin::capability::http::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}
