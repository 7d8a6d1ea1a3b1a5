//! `streamerson topics`: what there is at a broker, and how it is doing.

use std::{collections::BTreeSet, time::Duration};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream, try_join};
use serde::Serialize;
use streamerson::core::{BrokerError, SharedBroker, Topic, broker::GroupInfo, wire::WireFormat};

use crate::{
    args::{self, Common},
    broker,
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
pub(crate) struct Topics {}

const HELP: &str = r#"Examples:
  streamerson topics
  streamerson topics --json | jq -r 'select(.dead > 0).topic'

IN, OUT and DEAD are the entries of the topic's streams; the other columns are about IN. A topic of the TypeScript package
is named with --wire js, as the other commands need it:
  GROUPS   the groups that read it
  PENDING  entries delivered to some member and not finished, of all groups
  LAG      entries that the slowest group was not given yet; ? where the broker cannot tell
  OLDEST   the age of the oldest entry

As JSON: {"topic","in","out","dead","groups","pending","lag","oldest_ms"}; what is unknown, or does not exist, is null.
  A topic of the TypeScript package also has "wire":"js".
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
}

impl Topics {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let broker = broker::connect(common).await?;
        let topics = find(&broker).await.map_err(cannot_list)?;
        let rows = stream::iter(topics).map(|topic| Row::of(&broker, topic)).buffered(AT_ONCE);
        let rows: Vec<Row> = rows.try_collect().await.map_err(cannot_list)?;
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
        let lag = match row.lag {
            Some(lag) => Cell::count(lag),
            None if row.groups == 0 => Cell::none().right(),
            None => Cell::unknown(),
        };
        let age = |ms| Cell::text(human::age(Duration::from_millis(ms)));
        table.row([
            Cell::text(&row.named).bold(),
            Cell::count(row.r#in),
            Cell::count(row.out),
            Cell::count(row.dead).red_if(row.dead > 0),
            Cell::count(row.groups as u64),
            Cell::count(row.pending),
            lag,
            row.oldest_ms.map_or_else(Cell::none, age).right(),
        ]);
    }
    table
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
