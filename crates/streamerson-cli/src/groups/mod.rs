//! `streamerson groups`: who reads a topic, and how far they are.

mod drop;

use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::{StreamExt, TryStreamExt, stream, try_join};
use serde::Serialize;
use streamerson::core::{
    BrokerError, EntryId, SharedBroker, StreamKey, Topic,
    broker::{GroupInfo, MemberInfo, Membership, Pending},
};

use self::drop::Drop;
use crate::{
    args::{Common, WireArgs},
    broker,
    failure::Failure,
    human,
    output::{Format, Output},
    table::{Cell, Table},
};

/// How long a live member may be silent, as callers count it who ask whether anybody is there to answer.
pub(crate) const LIVE_IDLE_MAX: Duration = Duration::from_secs(15);

/// Groups that are looked at at the same time.
const AT_ONCE: usize = 16;

/// List the groups that read a topic, or drop one.
///
/// Every group gets every message; the members of one group share them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = HELP)]
pub(crate) struct Groups {
    /// Which topic: NAME, NAMESPACE:NAME or NAMESPACE:NAME#SHARD
    #[arg(required = true)]
    topic: Option<Topic>,

    #[command(flatten)]
    wire: WireArgs,

    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    Drop(Drop),
}

const HELP: &str = r#"Examples:
  streamerson groups orders
  streamerson groups orders --json | jq -r 'select(.live == 0).group'
  streamerson groups drop orders old-group
  streamerson groups default:drop                 a topic that is called drop

  LIVE     members that were heard of in the last 15 seconds
  DEAD     members that were not; what they hold is taken over when its lease ends
  PENDING  entries delivered to some member and not finished, or handed back
  AGE      that of the oldest of them
  LAG      entries that the group was not given yet; ? where the broker cannot tell
  LAST     the last entry that was delivered to any member

As JSON: {"group","live","dead","pending","oldest_pending_ms","lag","last_delivered"}; what is
unknown, or does not exist, is null."#;

/// What is known of a group.
#[derive(Debug, Serialize)]
struct Row {
    group: String,
    live: usize,
    dead: usize,
    pending: u64,
    oldest_pending_ms: Option<u64>,
    lag: Option<u64>,
    last_delivered: Option<EntryId>,
}

impl Groups {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        match (self.action, self.topic) {
            (Some(Action::Drop(drop)), _) => drop.run(common).await,
            (None, Some(topic)) => list(&self.wire.of(&topic), common).await,
            (None, None) => Err(Failure::misused("name a topic")),
        }
    }
}

async fn list(topic: &Topic, common: &Common) -> Result<(), Failure> {
    let broker = broker::connect(common).await?;
    let failed = |error| Failure::failed(format!("cannot list the groups of {topic}")).because(error);
    let key = topic.inbound();
    if broker.stream_info(&key).await.map_err(failed)?.is_none() {
        return Err(no_stream(&key));
    }
    let mut groups = broker.groups(&key).await.map_err(failed)?;
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    let rows = stream::iter(groups).map(|group| Row::of(&broker, &key, group)).buffered(AT_ONCE);
    let rows: Vec<Option<Row>> = rows.try_collect().await.map_err(failed)?;
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    let mut output = Output::new(common);
    match output.format {
        Format::Json => rows.iter().try_for_each(|row| output.json(row))?,
        Format::Human if rows.is_empty() => output.line(&format!("{topic} has no groups: no worker ever ran"))?,
        Format::Human => table(&rows, broker.now().0).print(&mut output)?,
    }
    output.flush()
}

/// Nothing was ever sent to this topic and nobody reads it, so its name may well be a slip.
fn no_stream(key: &StreamKey) -> Failure {
    Failure::failed(format!("there is no stream {key}")).hint("`streamerson topics` lists the topics that there are")
}

/// How many members are live, and how many are not.
fn count(members: &[MemberInfo]) -> (usize, usize) {
    let members = || members.iter().filter(|member| member.name != Membership::NOBODY);
    let live = members().filter(|member| member.idle <= LIVE_IDLE_MAX).count();
    (live, members().count() - live)
}

impl Row {
    /// `None` when the group went meanwhile.
    async fn of(broker: &SharedBroker, key: &StreamKey, group: GroupInfo) -> Result<Option<Self>, BrokerError> {
        let GroupInfo { name, pending, last_delivered, lag, .. } = group;
        let first = Pending { key: key.clone(), group: name.clone(), member: None, from: EntryId::ZERO, count: 1 };
        let (members, oldest) = match try_join!(broker.members(key, &name), broker.pending(first)) {
            Err(BrokerError::NoGroup { .. }) => return Ok(None),
            answers => answers?,
        };
        let (live, dead) = count(&members);
        let age = |id| human::millis(human::since(id, broker.now()));
        Ok(Some(Self {
            group: name.to_string(),
            live,
            dead,
            pending,
            oldest_pending_ms: oldest.first().map(|entry| age(entry.id)),
            lag,
            last_delivered: Some(last_delivered).filter(|id| *id != EntryId::ZERO),
        }))
    }
}

fn table(rows: &[Row], now_ms: u64) -> Table<8> {
    let mut table = Table::new(["GROUP", "LIVE", "DEAD", "PENDING", "AGE", "LAG", "LAST", ""]);
    let age = |ms| human::age(Duration::from_millis(ms));
    for row in rows {
        let waits = row.pending > 0 || row.lag.is_none_or(|lag| lag > 0);
        let ago = row.last_delivered.map(|id| format!("{} ago", age(now_ms.saturating_sub(id.ms))));
        table.row([
            Cell::text(&row.group).bold(),
            // Work that waits for nobody is what somebody looks for here.
            Cell::count(row.live as u64).red_if(row.live == 0 && waits),
            Cell::count(row.dead as u64),
            Cell::count(row.pending),
            row.oldest_pending_ms.map_or_else(Cell::none, |ms| Cell::text(age(ms))).right(),
            row.lag.map_or_else(Cell::unknown, Cell::count),
            row.last_delivered.map_or_else(Cell::none, |id| Cell::text(id.to_string())),
            Cell::text(ago.unwrap_or_default()).dim(),
        ]);
    }
    table
}
