//! What WASI must deny, each attempt with its outcome as text.

use std::fmt::Debug;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

use serde_json::{Value, json};

pub(crate) fn run() -> Value {
    let arguments: Vec<_> = wasip2::cli::environment::get_arguments();
    let variables = wasip2::cli::environment::get_environment();
    let folder = wasip2::cli::environment::initial_cwd();
    let mut input = String::new();
    let stdin = std::io::Read::read_to_string(&mut std::io::stdin(), &mut input);
    json!({
        "arguments": arguments,
        "variables": variables,
        "folder": folder,
        "preopened": wasip2::filesystem::preopens::get_directories().len(),
        "stdin": format!("{stdin:?}"),
        "terminal": wasip2::cli::terminal_stdout::get_terminal_stdout().is_some(),
        "read a file": refused(std::fs::read("/etc/hostname")),
        "read here": refused(std::fs::read_dir(".").map(drop)),
        "write a file": refused(std::fs::write("/tmp/web-probe", "x")),
        "connect": refused(TcpStream::connect("127.0.0.1:80").map(drop)),
        "listen": refused(TcpListener::bind("127.0.0.1:0").map(drop)),
        "datagram": refused(UdpSocket::bind("127.0.0.1:0").map(drop)),
        "resolve": refused("localhost:80".to_socket_addrs().map(drop)),
        "clock": wasip2::clocks::monotonic_clock::now() > 0 && wasip2::clocks::wall_clock::now().seconds > 0,
        "random": wasip2::random::random::get_random_bytes(16).len(),
    })
}

/// `false` when it worked.
fn refused<T>(outcome: Result<T, impl Debug>) -> Value {
    outcome.map_or_else(|error| json!(format!("{error:?}")), |_| json!(false))
}
