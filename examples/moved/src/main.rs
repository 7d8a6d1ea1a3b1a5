//! An axum service on a socket of its own, or behind a topic.

// Programs may print.
#![allow(clippy::print_stderr)]

mod options;
mod shop;
mod shutdown;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use axum::Router;
use streamerson::{Client, Consumer, Gateway, SharedBroker, Topic};
use tokio::{net::TcpListener, sync::oneshot};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    options::{Options, Role},
    shutdown::shutdown_signal,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

const TOPIC: &str = "shop";

/// Before: the service on a socket.
async fn plain<F>(options: &Options, shutdown: F) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    serve(options, shop::router(), shutdown).await
}

/// After: the same service behind a topic, in as many processes as there is work for.
async fn worker(broker: SharedBroker, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    Consumer::new(Topic::new(TOPIC)?).serve_http(shop::router()).run(broker, shutdown).await?;
    Ok(())
}

/// And what is on the socket now. It knows one path, and could know those of other services.
async fn gateway<F>(broker: SharedBroker, options: &Options, shutdown: F) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let client = Client::new(broker);
    let gateway = Gateway::new(client.clone());
    // The shop has a login. Credentials pass only where they are named.
    let shop = gateway.http(&Topic::new(TOPIC)?).forward_headers(["*", "cookie"]).reply_headers(["*", "set-cookie"]);
    serve(options, Router::new().fallback(shop), shutdown).await?;
    // Removes the stream of its replies at once, not when its time is over.
    client.close().await;
    Ok(())
}

async fn serve<F>(options: &Options, app: Router, shutdown: F) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(&options.listen).await.map_err(|error| format!("{}: {error}", options.listen))?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

/// Shows what the library has to say: who started and stopped, what is lost and found again; `RUST_LOG=debug` shows more.
fn start_logging() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    logs.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
}

async fn run() -> Result<(), Error> {
    let options = Options::from_args()?;
    start_logging();
    let signal = shutdown_signal()?;
    if options.role == Role::Plain {
        return plain(&options, signal).await;
    }
    let broker = streamerson::connect(&options.broker).await?;
    match options.role {
        Role::Worker => worker(broker, signal).await,
        Role::Gateway => gateway(broker, &options, signal).await,
        Role::Plain | Role::Both => {
            // The worker goes on until the gateway has answered what it has begun.
            let (open, closed) = oneshot::channel::<()>();
            let worker = worker(broker.clone(), async { _ = closed.await });
            let gateway = async {
                let _open = open;
                gateway(broker, &options, signal).await
            };
            tokio::try_join!(worker, gateway).map(|_| ())
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
