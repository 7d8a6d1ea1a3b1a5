//! `streamerson tail`: shows entries of a stream as they come.

mod place;

use std::{
    io::{self, Write},
    num::NonZeroU64,
};

use clap::{Args, ValueEnum};
use futures_util::StreamExt;
use streamerson::core::{BrokerError, StreamKey, subscription::Received};

use self::place::Place;
use crate::{
    args::{Common, TopicArgs},
    broker,
    failure::Failure,
    line::Line,
    output::{Format, Output, reader_gone},
    shown::printable,
    stop::Stop,
};

/// Entries that are written before the output is flushed, at most.
const CHUNK: usize = 256;

/// Show the entries of a topic's stream, and go on with what comes.
///
/// Nothing is taken from anybody: tail is in no group and acks nothing. Finished entries are trimmed by the workers, so
/// what is long done may be gone.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tail {
    #[command(flatten)]
    topic: TopicArgs,

    /// Where to start: start, end, the id of an entry, or how long ago as in 15m
    #[arg(long, value_name = "WHERE", default_value = "end")]
    from: Place,

    /// End after so many entries
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    /// Which of the topic's streams
    #[arg(long, value_enum, default_value_t = Stream::In)]
    stream: Stream,
}

const EXAMPLES: &str = r#"Examples:
  streamerson tail orders
  streamerson tail orders --from 15m | jq -c .payload
  streamerson tail orders --from 1700000000000-0 --count 1
  streamerson tail orders --stream dead --from start
  streamerson tail orders --wire js --stream out    as the TypeScript package has them

Each line of JSON is an entry:
  {"entry","event","id","inbox","deadline","headers","payload"}
  The payload is the JSON value, else a string; where it is no text, there is "payload_base64".
  Dead letters have a member "dead". What is no message is {"entry","malformed","fields"}.
A gap, where entries may be missing, is told on the standard error."#;

/// A stream of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stream {
    /// Requests and events for the workers.
    In,
    /// Events for everyone; with --wire js the replies too.
    Out,
    /// Dead letters.
    Dead,
}

impl Tail {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let stop = Stop::listen()?;
        let topic = self.topic.topic();
        let key = match self.stream {
            Stream::In => topic.inbound(),
            Stream::Out => topic.outbound(),
            Stream::Dead => topic.dead(),
        };
        let mut output = Output::new(common);
        tokio::select! {
            biased;
            () = stop.requested() => Ok(()),
            () = reader_gone() => Err(Failure::BrokenPipe),
            result = self.show(&key, &mut output, common) => result,
        }
    }

    /// Shows entries until there were enough of them.
    async fn show(&self, key: &StreamKey, output: &mut Output, common: &Common) -> Result<(), Failure> {
        let failed = |error| Failure::failed(format!("cannot read {key}")).because(error);
        let broker = broker::connect(common).await?;
        let cursor = self.from.find(&broker, key).await.map_err(failed)?;
        if output.format == Format::Human {
            // Silence would look like a command that hangs.
            _ = writeln!(io::stderr(), "tailing {key} from {}; Ctrl-C ends it", self.from);
        }
        let mut entries = broker.subscribe(key.clone(), cursor).ready_chunks(CHUNK);
        let mut left = self.count.map_or(u64::MAX, NonZeroU64::get);
        while let Some(chunk) = entries.next().await {
            for item in chunk {
                match item {
                    Ok(Received { entry, .. }) => {
                        let line = Line::read(entry, self.stream == Stream::Dead);
                        match output.format {
                            Format::Human => output.line(&line.for_people(output.style))?,
                            Format::Json => output.line(&line.to_json()?)?,
                        }
                        left -= 1;
                        if left == 0 {
                            return output.flush();
                        }
                    }
                    // What was shown before stands before it on a terminal too.
                    Err(gap @ BrokerError::Gap { .. }) => {
                        output.flush()?;
                        _ = writeln!(io::stderr(), "warning: {}", printable(&gap.to_string()));
                    }
                    Err(error) => {
                        output.flush()?;
                        return Err(failed(error));
                    }
                }
            }
            output.flush()?;
        }
        Err(Failure::failed(format!("reading {key} ended by itself")))
    }
}
