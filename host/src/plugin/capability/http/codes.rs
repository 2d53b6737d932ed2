//! `http-error-code`: which error of HTTP broke off a body.
//!
//! The runtime's own answer looks for another type than the one that bodies fail with, and so never finds a code.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, IoError};

use crate::plugin::guest::Guest;

/// The interface, in the version that the runtime links.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Puts the answer that finds codes in place of the runtime's.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("http-error-code", |store: StoreContextMut<'_, Guest>, (error,): (Resource<IoError>,)| {
        let error = store.data().table.get(&error)?;
        let code = error.downcast_ref::<ErrorCode>().cloned();
        Ok((code.or_else(|| error.downcast_ref::<Error>().map(code_of)),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Those that a body ends with; others are told in words.
#[expect(clippy::wildcard_enum_match_arm, reason = "most of them are about what comes before a body")]
fn code_of(error: &Error) -> ErrorCode {
    match error {
        Error::HttpRequestBodySize(most) => ErrorCode::HttpRequestBodySize(*most),
        Error::HttpResponseBodySize(most) => ErrorCode::HttpResponseBodySize(*most),
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpProtocolError => ErrorCode::HttpProtocolError,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        other => ErrorCode::InternalError(Some(other.to_string())),
    }
}
