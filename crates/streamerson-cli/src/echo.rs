//! `streamerson echo`: a worker that answers everything.

use std::{
    io::{self, Write},
    net::SocketAddr,
    num::NonZeroUsize,
    time::Duration,
};

use clap::Args;
use http::StatusCode;
use streamerson::consumer::{Consumer, Incoming, State};
use streamerson::core::{Headers, Metrics, Name, Reply};
use streamerson::gateway::server::{ListenAddr, serve_metrics};
use tokio::net::TcpListener;

use crate::{
    args::{Common, TopicArgs},
    broker, duration,
    failure::Failure,
    stop::Stop,
};

/// How long one read waits, and so how long stopping may take at least. Short, because a person waits for it.
const BLOCK: Duration = Duration::from_millis(500);

/// Run a worker that answers every request with its own payload, and acks every event.
///
/// It joins a group as one member: start several, and they share the messages. A new group starts with the oldest
/// message that the topic holds. Ctrl-C or SIGTERM ends it once what it has is answered; a second one ends it at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Echo {
    #[command(flatten)]
    topic: TopicArgs,

    /// The group to join; every group gets every message
    #[arg(long, value_name = "NAME", default_value = "echo")]
    group: Name,

    /// How many messages are handled at the same time, at most
    #[arg(long, value_name = "N", default_value = "256")]
    concurrency: NonZeroUsize,

    /// How long to think about each message
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = duration::parse)]
    delay: Duration,

    /// How long a message stays with this member without a sign of life
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse_some)]
    lease: Duration,

    /// How long to finish what was begun, when told to stop
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration::parse)]
    drain: Duration,

    /// Where to serve /metrics for Prometheus, without a login; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    metrics: Option<ListenAddr>,
}

const EXAMPLES: &str = "\
Examples:
  streamerson echo orders
  streamerson echo orders --delay 200ms --concurrency 4    a slow worker, to see a backlog grow
  streamerson echo shop:orders --group audit
  streamerson echo orders --wire js                        for the TypeScript package's callers
  streamerson echo orders --metrics 127.0.0.1:9091         and curl 127.0.0.1:9091/metrics

Replies have the content type of their requests; an empty one is answered with 204.";

impl Echo {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, group, concurrency, delay, lease, drain, metrics: listen } = self;
        let topic = topic.topic();
        let stop = Stop::listen()?;
        let metrics = Metrics::new();
        let listener = match &listen {
            Some(address) => Some(listener(address).await?),
            None => None,
        };
        let broker = broker::connect_with_metrics(common, &metrics).await?;
        if let Some((listener, address)) = listener {
            _ = writeln!(io::stderr(), "metrics on http://{address}/metrics");
            tokio::spawn(serve_metrics(listener, metrics.clone()));
        }
        _ = writeln!(io::stderr(), "echoing {topic} as a member of the group {group}; Ctrl-C ends it");
        let consumer = Consumer::new(topic.clone())
            .fallback(echo)
            .with_state(delay)
            .group(&group)
            .concurrency(concurrency.get())
            .lease(lease)
            .block(BLOCK)
            .drain(drain)
            .metrics(&metrics);
        tokio::select! {
            result = consumer.run(broker, stop.announced()) => {
                result.map_err(|error| Failure::failed(format!("cannot echo {topic}")).because(error))
            }
            () = stop.demanded() => Err(Failure::at_once()),
        }
    }
}

async fn listener(address: &ListenAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let cannot = |error| {
        Failure::failed(format!("cannot serve metrics on {address}"))
            .because(error)
            .hint("`--metrics 127.0.0.1:0` picks a free port")
    };
    let listener = TcpListener::bind(address.as_str()).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    Ok((listener, address))
}

async fn echo(State(delay): State<Duration>, incoming: Incoming) -> Reply {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let message = incoming.message();
    let mut reply = Reply::new(message.payload.clone());
    if message.payload.is_empty() {
        reply.status = Some(StatusCode::NO_CONTENT);
    }
    if let Some(media_type) = message.headers.get(Headers::CONTENT_TYPE) {
        reply.headers.set(Headers::CONTENT_TYPE, media_type);
    }
    reply
}
