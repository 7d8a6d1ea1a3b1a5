//! `streamerson demo`: gateway, workers and an embedded broker in one process.

mod greetings;
mod tour;
mod views;

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use clap::Args;
use futures_util::future::try_join_all;
use streamerson::consumer::{Consumer, Topic};
use streamerson::core::{Client, SharedBroker};
use streamerson::gateway::Gateway;
use tokio::{net::TcpListener, sync::watch};

use self::greetings::Greet;
use crate::{args::Common, broker, failure::Failure, stop::Stop};

/// Members of the group that greets.
const GREETERS: usize = 3;
/// How long one read of a worker waits, and so how long stopping may take at least.
const BLOCK: Duration = Duration::from_millis(200);

/// Run a gateway, workers and a broker in one process, and print what to try.
///
/// Nothing has to be installed or configured. With --broker redis://… the same runs over Redis, where
/// `streamerson tail demo:greetings` shows what goes over the streams.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// Where to listen for HTTP; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: String,
}

const EXAMPLES: &str = "\
Examples:
  streamerson demo
  streamerson demo --listen 127.0.0.1:0
  streamerson demo --broker redis://127.0.0.1:6379";

impl Demo {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let stop = Stop::listen()?;
        let broker = broker::connect_to(common.broker.as_deref().unwrap_or("memory://")).await?;
        let (listener, address) = self.listen().await?;
        let client = Client::new(broker.clone());
        let gateway = gateway(&Gateway::new(client.clone()))?;

        // The workers stop after the gateway, which waits for the replies to what it has begun. Dropping `open` stops them.
        let (open, closed) = watch::channel(());
        let workers = run_all(workers()?, &broker, &closed);
        let edge = async {
            let served = axum::serve(listener, gateway).with_graceful_shutdown(stop.announced()).await;
            drop(open);
            served.map_err(|error| Failure::failed("the gateway stopped").because(error))
        };

        _ = writeln!(io::stderr(), "listening on http://{address}");
        // A demo whose tour nobody reads is a demo still.
        _ = tour::print(address);
        tokio::select! {
            result = async { tokio::try_join!(edge, workers) } => result.map(drop)?,
            () = stop.demanded() => return Err(Failure::at_once()),
        }
        client.close().await;
        Ok(())
    }

    async fn listen(&self) -> Result<(TcpListener, SocketAddr), Failure> {
        let cannot = |error| {
            Failure::failed(format!("cannot listen on {}", self.listen))
                .because(error)
                .hint("an address is HOST:PORT, and `--listen 127.0.0.1:0` picks a free port")
        };
        let listener = TcpListener::bind(&self.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        Ok((listener, address))
    }
}

/// The edge: which HTTP request becomes which message.
fn gateway(gateway: &Gateway) -> Result<Router, Failure> {
    let (greetings, views) = (topic(greetings::TOPIC)?, topic(views::TOPIC)?);
    Ok(Router::new()
        .route("/greet", post(gateway.call::<Greet>()))
        .route("/hello/{name}", get(gateway.request(&greetings, "hello")))
        .route("/views", post(gateway.emit(&views, "page.viewed")))
        .route("/views", get(gateway.request(&views, "views.count"))))
}

/// The services behind it. They know nothing of the gateway, and could be in other processes.
fn workers() -> Result<Vec<Consumer>, Failure> {
    let mut workers = vec![views::worker(topic(views::TOPIC)?)];
    for number in 1..=GREETERS {
        workers.push(greetings::worker(topic(greetings::TOPIC)?, number));
    }
    Ok(workers)
}

async fn run_all(workers: Vec<Consumer>, broker: &SharedBroker, closed: &watch::Receiver<()>) -> Result<(), Failure> {
    let running = workers.into_iter().map(|worker| {
        let mut closed = closed.clone();
        worker.block(BLOCK).run(broker.clone(), async move { _ = closed.changed().await })
    });
    let ended = try_join_all(running).await;
    ended.map(drop).map_err(|error| Failure::failed("a worker stopped").because(error))
}

fn topic(name: &str) -> Result<Topic, Failure> {
    Topic::new(name).map_err(|error| Failure::failed("the demo names a topic wrongly").because(error))
}
