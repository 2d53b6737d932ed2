//! The micro-service of the example remote-cut.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use remote_cut_service::serve;
use tokio::net::TcpListener;

/// Cuts videos of a taskhost with ffmpeg.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen. Nobody is asked who they are: keep it on this machine.
    #[arg(long, default_value = "127.0.0.1:7430")]
    listen: SocketAddr,
    /// The taskhost that the videos come from, and that is called back.
    #[arg(long, default_value = "http://127.0.0.1:7420")]
    taskhost: String,
    /// A folder for what is being cut.
    #[arg(long, default_value = "remote-cut-data")]
    data: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let options = Options::parse();
    let listener = TcpListener::bind(options.listen).await?;
    tracing::info!(listen = %options.listen, taskhost = options.taskhost, "ready");
    tokio::select! {
        served = serve(listener, &options.taskhost, &options.data) => served,
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
    }
}
