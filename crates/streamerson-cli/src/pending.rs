//! `streamerson pending`: what was delivered and is not finished.

use std::{
    io::{self, Write},
    num::NonZeroU32,
    time::Duration,
};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use streamerson::core::{
    BrokerError, EntryId, Message, Name, SharedBroker, StreamKey, Topic, Wire,
    broker::{Membership, Pending as Wanted, PendingEntry, Range},
};

use crate::{
    args::{self, Common, TopicArgs},
    broker,
    failure::Failure,
    human,
    output::{Format, Output},
    table::{Cell, Table},
};

/// Entries that are asked for at the same time.
const AT_ONCE: usize = 64;

/// List what was delivered to members of a group and is not finished, the oldest first.
///
/// A member that lives renews what it holds every third of its lease, so that a long idle time is a sign of a dead one.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Pending {
    #[command(flatten)]
    topic: TopicArgs,

    /// Which group
    group: Name,

    /// Of this member only
    #[arg(long, value_name = "NAME")]
    member: Option<Name>,

    /// At most so many
    #[arg(long, value_name = "N", default_value = "100")]
    count: NonZeroU32,
}

const HELP: &str = r#"Examples:
  streamerson pending orders shipping
  streamerson pending orders shipping --count 10000 --json | jq -r 'select(.deliveries > 1).entry'

As JSON: {"entry","state","event","id","member","idle_ms","deliveries"}
  The state is "message", "malformed", or "trimmed" where the entry is gone from the stream; event
  and id are null unless it is a message. What was handed back is free for any member: its member
  and idle_ms are null."#;

/// What is known of a pending entry.
#[derive(Debug, Serialize)]
struct Row {
    entry: EntryId,
    state: State,
    event: Option<String>,
    id: Option<String>,
    member: Option<String>,
    idle_ms: Option<u64>,
    deliveries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Message,
    Malformed,
    Trimmed,
}

impl Pending {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, group, member, count } = self;
        let topic = topic.topic();
        let broker = broker::connect(common).await?;
        let key = topic.inbound();
        let count = count.get() as usize;
        // One more than is shown, to know whether there are more.
        let wanted = Wanted { key: key.clone(), group, member, from: EntryId::ZERO, count: count.saturating_add(1) };
        let mut pending = broker.pending(wanted).await.map_err(|error| cannot_list(&topic, error))?;
        let is_cut = pending.len() > count;
        pending.truncate(count);
        let rows = stream::iter(pending).map(|pending| Row::of(&broker, &key, pending)).buffered(AT_ONCE);
        let rows: Vec<Row> = rows.try_collect().await.map_err(|error| cannot_list(&topic, error))?;
        let mut output = Output::new(common);
        match output.format {
            Format::Json => rows.iter().try_for_each(|row| output.json(row))?,
            Format::Human if rows.is_empty() => output.line("nothing is pending")?,
            Format::Human => table(&rows).print(&mut output)?,
        }
        output.flush()?;
        if is_cut && output.format == Format::Human {
            _ = writeln!(io::stderr(), "there are more: --count shows them");
        }
        Ok(())
    }
}

fn cannot_list(topic: &Topic, error: BrokerError) -> Failure {
    let hint = matches!(error, BrokerError::NoGroup { .. })
        .then(|| format!("`streamerson groups {}` lists the groups that there are", args::named(topic)));
    let failure = Failure::failed("cannot list what is pending").because(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

impl Row {
    async fn of(broker: &SharedBroker, key: &StreamKey, pending: PendingEntry) -> Result<Self, BrokerError> {
        let PendingEntry { id: entry, member, idle, count } = pending;
        let range = Range { key: key.clone(), from: entry, to: entry, count: 1, newest_first: false };
        let found = broker.range(range).await?.pop();
        // What lies in the stream is shown, however large: bounds are those of the workers.
        let wire = Wire { payload_bytes_max: usize::MAX };
        let (state, message) = match found.map(|found| wire.decode(&found.fields)) {
            Some(Ok(message)) => (State::Message, Some(message)),
            Some(Err(_)) => (State::Malformed, None),
            None => (State::Trimmed, None),
        };
        let (event, id) = message.map(|Message { event, id, .. }| (event.to_string(), id.to_string())).unzip();
        // What was handed back lies there with an idle time of no meaning.
        let holder = (member != Membership::NOBODY).then(|| (member, human::millis(idle)));
        let (member, idle_ms) = holder.unzip();
        Ok(Self { entry, state, event, id, member, idle_ms, deliveries: count })
    }
}

fn table(rows: &[Row]) -> Table<6> {
    let mut table = Table::new(["ENTRY", "EVENT", "ID", "MEMBER", "IDLE", "DELIVERIES"]);
    let idle = |ms| Cell::text(human::age(Duration::from_millis(ms)));
    for row in rows {
        let event = match (&row.event, row.state) {
            (Some(event), _) => Cell::text(event).bold(),
            (None, State::Trimmed) => Cell::text("(trimmed)").red_if(true),
            (None, _) => Cell::text("(malformed)").red_if(true),
        };
        let member = row.member.as_ref().map_or_else(|| Cell::text("(handed back)").dim(), Cell::text);
        table.row([
            Cell::text(row.entry.to_string()),
            event,
            row.id.as_ref().map_or_else(Cell::none, |id| Cell::text(id).dim()),
            member,
            row.idle_ms.map_or_else(Cell::none, idle).right(),
            // From the second on somebody died with it.
            Cell::count(row.deliveries.into()).red_if(row.deliveries > 1),
        ]);
    }
    table
}
