//! `streamerson bench`: how fast a broker is, as this machine sees it.

mod load;
mod report;
mod work;

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    time::Duration,
};

use clap::Args;
use streamerson::core::{Name, SharedBroker, Topic, wire::PAYLOAD_BYTES_MAX};

use self::{report::Report, work::Work};
use crate::{args::Common, broker, duration, failure::Failure, output::Output, stop::Stop};

/// What is appended before it is consumed takes so many bytes in the broker, at most.
const APPENDED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// About what an entry takes beside its payload, in bytes.
const ENTRY_BYTES: usize = 256;

/// Measure a broker: how many messages are appended, consumed and answered each second, and how long each takes.
///
/// Both sides run in this process, as clients and workers with the settings that they come with, so the figures are
/// those of the broker, of the network, and of this machine. A topic of its own is used and removed afterwards. It
/// loads the broker: what else runs there will feel it.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Bench {
    /// Messages of each measurement, at most; fewer where their payloads would take more than 256 MiB
    #[arg(long, value_name = "N", default_value = "100000")]
    count: NonZeroUsize,

    /// How long each measurement takes, at most
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = duration::parse_some)]
    limit: Duration,

    /// How many messages are under way at the same time
    #[arg(long, value_name = "N", default_value = "64", value_parser = in_flight)]
    in_flight: usize,

    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = payload_bytes)]
    payload: usize,

    /// The namespace of the topic that is used, for users of the broker that are bound to one
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: Name,
}

const HELP: &str = r#"Examples:
  streamerson bench
  streamerson bench --in-flight 512 --payload 1024 --for 10s
  streamerson bench --broker memory://                 the embedded broker, for comparison
  streamerson bench --json | jq 'select(.what == "request") | {in_flight, per_second, p99_us}'

  append    events, each confirmed to whoever sent it
  consume   the same events, handled by the one member of a group, and acked
  request   requests that are answered with their payloads: one by one, then so many at a time

As JSON, a line for each measurement:
  {"what","in_flight","payload_bytes","count","seconds","per_second","p50_us","p90_us","p99_us",
  "max_us"}; the last four are in microseconds, and null for consume. A user of the broker needs
  the rights of both sides."#;

impl Bench {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let stop = Stop::listen()?;
        let broker = broker::connect_to_any(common).await?;
        let topic = Topic::new(&format!("{}:bench-{}", self.namespace, Name::unique()))
            .map_err(|error| Failure::misused("the topic of the measurement cannot be named").because(error))?;
        _ = writeln!(io::stderr(), "measuring with the topic {topic}, which is removed afterwards; Ctrl-C ends it");
        let mut report = Report::new(Output::new(common), self.payload);
        let work = Work::new(&broker, self.payload, self.limit);
        let ended = tokio::select! {
            biased;
            () = stop.requested() => Err(Failure::failed("stopped by a signal, before all was measured")),
            ended = self.measure(&work, &topic, &mut report) => ended,
        };
        let removed = tokio::select! {
            removed = remove(work, &broker, &topic) => removed,
            () = stop.demanded() => Err(Failure::at_once()),
        };
        // The figures first: what was measured is worth something whatever came then.
        report.end()?;
        ended.and(removed)
    }

    async fn measure(&self, work: &Work, topic: &Topic, report: &mut Report) -> Result<(), Failure> {
        let count = self.count.get();
        let appended = count.min(APPENDED_BYTES_MAX / (self.payload + ENTRY_BYTES));
        // Requests have a shard of their own, so that nothing that was appended stands before them.
        let [events, requests] = [topic.with_shard(0), topic.with_shard(1)];
        report.progress("what is appended");
        let appended = work.append(&events, self.in_flight, appended).await?;
        report.add("append", Some(self.in_flight), &appended)?;
        report.progress("what is consumed");
        report.add("consume", None, &work.consume(&events, appended.count).await?)?;
        let answering = work.answer(&requests);
        let mut numbers = vec![1, self.in_flight];
        numbers.dedup();
        for in_flight in numbers {
            report.progress(&format!("requests, {in_flight} at a time"));
            report.add("request", Some(in_flight), &work.request(&requests, in_flight, count).await?)?;
        }
        answering.end().await
    }
}

/// Removes all that the measurement left, whether it ended well or not.
async fn remove(work: Work, broker: &SharedBroker, topic: &Topic) -> Result<(), Failure> {
    work.end().await;
    let shards = [topic.with_shard(0), topic.with_shard(1)];
    let keys = shards.iter().flat_map(|shard| [shard.inbound(), shard.outbound(), shard.dead()]).collect();
    broker.remove(keys).await.map_err(|error| {
        Failure::failed(format!("the streams of {topic} could not be removed")).because(error).hint(format!(
            "`redis-cli UNLINK '{}' '{}'` does it",
            shards[0].inbound(),
            shards[1].inbound()
        ))
    })
}

fn in_flight(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("it is a number from 1 to 10000".into()),
    }
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= PAYLOAD_BYTES_MAX => Ok(number),
        _ => Err(format!("it is a number from 0 to {PAYLOAD_BYTES_MAX}")),
    }
}
