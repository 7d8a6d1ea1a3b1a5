//! `streamerson topics`: what there is at a broker, and how it is doing.

mod rates;
mod watch;

use std::{collections::BTreeSet, num::NonZeroU64, time::Duration};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream, try_join};
use serde::Serialize;
use streamerson::core::{BrokerError, SharedBroker, Topic, broker::GroupInfo, wire::WireFormat};

use self::{rates::Counters, watch::Watch};
use crate::{
    args::{self, Common},
    broker, duration,
    failure::Failure,
    human,
    output::{Format, Output},
    table::{Cell, Table},
};

/// Topics that are looked at at the same time.
const AT_ONCE: usize = 16;

/// List the topics of a broker, with what waits in them.
///
/// The broker walks all its keys for this, in small steps.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Topics {
    /// Show them again and again, with how much comes and is done each second
    #[arg(long)]
    watch: bool,

    /// How often
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse_some, requires = "watch")]
    every: Duration,

    /// End after so many times
    #[arg(long, value_name = "N", requires = "watch")]
    count: Option<NonZeroU64>,
}

const HELP: &str = r#"Examples:
  streamerson topics
  streamerson topics --watch
  streamerson topics --json | jq -r 'select(.dead > 0).topic'
  streamerson topics --watch --every 10s --json | jq -c '.topics[] | select(.lag > 1000)'

IN, OUT and DEAD are the entries of the topic's streams; the other columns are about IN:
  GROUPS   the groups that read it
  PENDING  entries delivered to some member and not finished, of all groups
  LAG      entries that the slowest group was not given yet; ? where the broker cannot tell
  OLDEST   the age of the oldest entry

With --watch, also:
  IN/S     entries that came for the workers, each second
  DONE/S   entries that the slowest group finished, each second
  OUT/S    events for everyone, each second

A topic of the TypeScript package is named with --wire js, as the other commands need it.

As JSON: {"topic","in","out","dead","groups","pending","lag","oldest_ms"}; what is unknown, or
does not exist, is null. A topic of the TypeScript package also has "wire":"js".
With --watch, a line for each time: {"at","topics":[…]}, at in Unix milliseconds of the broker's
clock; each topic has "in_per_second", "done_per_second" and "out_per_second" too, which are null
the first time.
A user of the broker needs the permissions +scan, +xinfo|stream and +xinfo|groups."#;

/// What is known of a topic.
#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    r#in: u64,
    out: u64,
    dead: u64,
    groups: usize,
    pending: u64,
    lag: Option<u64>,
    oldest_ms: Option<u64>,
    /// Where it is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire: Option<&'static str>,
    #[serde(skip)]
    named: String,
    /// What rates are made of.
    #[serde(skip)]
    counters: Counters,
}

impl Topics {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.watch {
            return Watch { every: self.every, count: self.count }.run(common).await;
        }
        let broker = broker::connect(common).await?;
        let topics = find(&broker).await.map_err(cannot_list)?;
        let rows = look(&broker, &topics).await.map_err(cannot_list)?;
        let mut output = Output::new(common);
        match output.format {
            Format::Json => rows.iter().try_for_each(|row| output.json(row))?,
            Format::Human if rows.is_empty() => {
                output.line("no topics yet: `streamerson emit TOPIC EVENT` makes one")?;
            }
            Format::Human => table(&rows).print(&mut output)?,
        }
        output.flush()
    }
}

fn cannot_list(error: BrokerError) -> Failure {
    let is_denied = matches!(&error, BrokerError::Refused { code, .. } if &**code == "NOPERM");
    let failure = Failure::failed("cannot list the topics").because(error);
    match is_denied {
        true => failure.hint(
            "this user of the broker may not look around; it needs +scan, +xinfo|stream and +xinfo|groups.\n      \
             `streamerson groups TOPIC` asks about one topic, without +scan",
        ),
        false => failure,
    }
}

/// All topics that have a stream, in order.
async fn find(broker: &SharedBroker) -> Result<BTreeSet<Topic>, BrokerError> {
    let (mut topics, mut page) = (BTreeSet::new(), Some(0));
    while let Some(at) = page {
        let found = broker.streams(at).await?;
        topics.extend(found.keys.iter().filter_map(|key| key.topic()));
        page = found.next;
    }
    Ok(topics)
}

/// What is known of each, in the same order.
async fn look(broker: &SharedBroker, topics: &BTreeSet<Topic>) -> Result<Vec<Row>, BrokerError> {
    stream::iter(topics.clone()).map(|topic| Row::of(broker, topic)).buffered(AT_ONCE).try_collect().await
}

impl Row {
    async fn of(broker: &SharedBroker, topic: Topic) -> Result<Self, BrokerError> {
        let [inbound, outbound, dead] = [topic.inbound(), topic.outbound(), topic.dead()];
        let (inbound, outbound, dead, groups) = try_join!(
            broker.stream_info(&inbound),
            broker.stream_info(&outbound),
            broker.stream_info(&dead),
            broker.groups(&inbound),
        )?;
        let first = inbound.and_then(|info| info.first);
        let counters = Counters::of(inbound.as_ref(), outbound.as_ref(), &groups);
        // A stream that does not exist holds nothing.
        let [r#in, out, dead] = [inbound, outbound, dead].map(|info| info.map_or(0, |info| info.len));
        Ok(Self {
            topic: topic.to_string(),
            r#in,
            out,
            dead,
            groups: groups.len(),
            pending: groups.iter().map(|group| group.pending).sum(),
            lag: slowest(&groups),
            wire: Some(topic.wire()).filter(|wire| *wire != WireFormat::V1).map(WireFormat::as_str),
            named: args::named(&topic),
            oldest_ms: first.map(|first| human::millis(human::since(first, broker.now()))),
            counters,
        })
    }
}

/// The largest lag; unknown when that of any group is, which may be the slowest.
fn slowest(groups: &[GroupInfo]) -> Option<u64> {
    let lags: Option<Vec<u64>> = groups.iter().map(|group| group.lag).collect();
    lags?.into_iter().max()
}

fn table(rows: &[Row]) -> Table<8> {
    let mut table = Table::new(["TOPIC", "IN", "OUT", "DEAD", "GROUPS", "PENDING", "LAG", "OLDEST"]);
    for row in rows {
        table.row([
            Cell::text(&row.named).bold(),
            Cell::count(row.r#in),
            Cell::count(row.out),
            Cell::count(row.dead).red_if(row.dead > 0),
            Cell::count(row.groups as u64),
            Cell::count(row.pending),
            row.lag_cell(),
            row.oldest_cell(),
        ]);
    }
    table
}

impl Row {
    fn lag_cell(&self) -> Cell {
        match self.lag {
            Some(lag) => Cell::count(lag),
            None if self.groups == 0 => Cell::none().right(),
            None => Cell::unknown(),
        }
    }

    fn oldest_cell(&self) -> Cell {
        self.oldest_ms.map_or_else(Cell::none, |ms| Cell::text(human::age(Duration::from_millis(ms)))).right()
    }
}

#[cfg(test)]
mod tests {
    use streamerson::core::{EntryId, Name};

    use super::*;

    #[test]
    fn an_unknown_lag_is_not_passed_over() {
        let group = |lag| {
            let name = Name::new("g").unwrap();
            GroupInfo { name, members: 0, pending: 0, last_delivered: EntryId::ZERO, lag }
        };
        assert_eq!(slowest(&[group(Some(3)), group(Some(7))]), Some(7));
        assert_eq!(slowest(&[group(Some(3)), group(None)]), None);
        assert_eq!(slowest(&[]), None);
    }
}
