//! A member of a group that does jobs and notes it, for tests that kill it.
//!
//! `faults BROKER JOURNAL [name=value]…`, where the names are those of [`Options`].

use std::{env, process::ExitCode, sync::Arc, time::Duration};

use faults::{Job, Journal, TOPIC, What};
use streamerson::{
    Consumer, Json, State, Topic,
    consumer::{DeduplicateLayer, Failure, Incoming, Retry},
};

/// How the member is configured.
#[derive(Debug)]
struct Options {
    lease_ms: u64,
    shard_lease_ms: u64,
    concurrency: usize,
    shards: u32,
    ordered: bool,
    deduplicate: bool,
    attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        let (lease_ms, shard_lease_ms, concurrency) = (2000, 1000, 32);
        Self { lease_ms, shard_lease_ms, concurrency, shards: 0, ordered: false, deduplicate: false, attempts: 1 }
    }
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        for argument in arguments {
            let wrong = || format!("{argument:?} is no option");
            let (name, value) = argument.split_once('=').ok_or_else(wrong)?;
            let number: u64 = value.parse().map_err(|_| wrong())?;
            let small = || u32::try_from(number).map_err(|_| wrong());
            match name {
                "lease_ms" => options.lease_ms = number,
                "shard_lease_ms" => options.shard_lease_ms = number,
                "concurrency" => options.concurrency = usize::try_from(number).map_err(|_| wrong())?,
                "shards" => options.shards = small()?,
                "ordered" => options.ordered = number > 0,
                "deduplicate" => options.deduplicate = number > 0,
                "attempts" => options.attempts = small()?,
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

/// Does a job: takes its time.
async fn work(
    State(journal): State<Arc<Journal>>,
    incoming: Incoming,
    Json(job): Json<Job>,
) -> Result<Json<u64>, Failure> {
    note(&journal, What::Begun, &incoming, &job)?;
    tokio::time::sleep(Duration::from_millis(job.takes_ms)).await;
    note(&journal, What::Ended, &incoming, &job)?;
    Ok(Json(job.number))
}

/// Takes the process along.
async fn poison(
    State(journal): State<Arc<Journal>>,
    incoming: Incoming,
    Json(job): Json<Job>,
) -> Result<Json<u64>, Failure> {
    note(&journal, What::Begun, &incoming, &job)?;
    tokio::time::sleep(Duration::from_millis(job.takes_ms)).await;
    std::process::abort()
}

fn note(journal: &Journal, what: What, incoming: &Incoming, job: &Job) -> Result<(), Failure> {
    journal.note(what, incoming.message().id.as_str(), incoming.delivery().count, job).map_err(Failure::new)
}

fn consumer(options: &Options, journal: Arc<Journal>) -> Result<Consumer, Box<dyn std::error::Error>> {
    let mut consumer = Consumer::new(Topic::new(TOPIC)?).on("work", work).on("poison", poison);
    if options.deduplicate {
        consumer = consumer.layer(DeduplicateLayer::within(Duration::from_secs(3600)));
    }
    if options.shards > 0 {
        consumer = consumer.shards(options.shards);
    }
    if options.ordered {
        let key = |payload: &[u8]| serde_json::from_slice::<Job>(payload).ok().map(|job| job.key.to_string());
        consumer = consumer.ordered_by(move |message| key(&message.payload));
    }
    Ok(consumer
        .with_state(journal)
        .concurrency(options.concurrency)
        .lease(Duration::from_millis(options.lease_ms))
        .shard_lease(Duration::from_millis(options.shard_lease_ms))
        .block(Duration::from_millis(500))
        .retry(Retry::attempts(options.attempts)))
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(broker), Some(journal)) = (arguments.next(), arguments.next()) else {
        return Err("usage: faults BROKER JOURNAL [name=value]…".into());
    };
    let options = Options::parse(arguments)?;
    let journal = Arc::new(Journal::open(journal)?);
    // A member that starts while the broker is away waits for it, as whatever starts members would.
    loop {
        let started = match streamerson::connect(&broker).await {
            Ok(broker) => consumer(&options, Arc::clone(&journal))?.run(broker, stopped()).await,
            Err(error) => Err(error.into()),
        };
        match started {
            Err(streamerson::consumer::RunError::Broker(error)) if error.is_transient() => {
                tracing::info!("{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            ended => return Ok(ended?),
        }
    }
}

async fn stopped() {
    let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else { return };
    terminated.recv().await;
}
