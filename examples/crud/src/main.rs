//! Books over HTTP: a REST interface whose handlers are workers behind a stream, over a SQLite file.

// Programs may print.
#![allow(clippy::print_stderr)]

mod books;
mod edge;
mod options;
mod precondition;
mod refusal;
mod shutdown;
mod store;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use streamerson::{Client, SharedBroker};
use tokio::sync::oneshot;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    options::{Options, Role},
    shutdown::shutdown_signal,
    store::Store,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Answers until it is told to stop. Any number of workers on one machine may share the file.
async fn worker(broker: SharedBroker, options: &Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let store = Store::open(&options.database).map_err(|error| format!("{}: {error}", options.database))?;
    books::consumer(store)?.lease(options.lease).run(broker, shutdown).await?;
    Ok(())
}

/// Turns HTTP requests into messages, and replies into responses.
async fn gateway<F>(broker: SharedBroker, options: &Options, shutdown: F) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let client = Client::new(broker);
    edge::serve(&client, &options.listen, shutdown).await?;
    // Removes the stream of its replies at once, not when its time is over.
    client.close().await;
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
    let broker = streamerson::connect(&options.broker).await?;
    let signal = shutdown_signal()?;
    match options.role {
        Role::Worker => worker(broker, &options, signal).await,
        Role::Gateway => gateway(broker, &options, signal).await,
        Role::Both => {
            // The worker goes on until the gateway has answered what it has begun.
            let (open, closed) = oneshot::channel::<()>();
            let worker = worker(broker.clone(), &options, async { _ = closed.await });
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
