//! Hello over HTTP: a gateway, and a worker that answers.

// Programs may print.
#![allow(clippy::print_stderr)]

mod options;
mod shutdown;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use axum::{Router, routing::post};
use serde::{Deserialize, Serialize};
use streamerson::{Call, Client, Consumer, Gateway, Json, SharedBroker, Topic};
use tokio::{net::TcpListener, sync::oneshot};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    options::{Options, Role},
    shutdown::shutdown_signal,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A contract: what is asked, where it goes, and what answers it. Gateway and worker share nothing else.
#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Greeting {
    text: String,
}

impl Call for Greet {
    const TOPIC: &'static str = "greetings";
    const EVENT: &'static str = "greet";
    type Reply = Greeting;
}

/// A handler is an async function. One that answers with anything but a `Greeting` does not compile.
async fn greet(Json(greet): Json<Greet>) -> Json<Greeting> {
    Json(Greeting { text: format!("Hello, {}!", greet.name) })
}

/// Answers until it is told to stop. All workers share the work, however many there are.
async fn worker(broker: SharedBroker, options: &Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let consumer = Consumer::new(Topic::new(Greet::TOPIC)?).answer(greet).lease(options.lease);
    consumer.run(broker, shutdown).await?;
    Ok(())
}

/// Turns HTTP requests into messages, and replies into responses.
async fn gateway<F>(broker: SharedBroker, options: &Options, shutdown: F) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let client = Client::new(broker);
    let gateway = Gateway::new(client.clone());
    let app = Router::new().route("/greet", post(gateway.call::<Greet>().timeout(options.timeout)));
    let listener = TcpListener::bind(&options.listen).await.map_err(|error| format!("{}: {error}", options.listen))?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
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
