//! `streamerson dead list`: one line for each dead letter, or for each kind of them.

use std::num::NonZeroUsize;

use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use streamerson::core::{
    BrokerError, EntryId, UnixMillis,
    dead_letter::{Dead, DeadLetter, DeadLetters, Order},
};

use super::{by_error, which::FilterArgs};
use crate::{
    args::{Common, TopicArgs},
    broker,
    failure::Failure,
    human,
    output::{Format, Output},
    shown::printable,
    table::{Cell, Table},
};

/// Characters of an error that people are shown; `dead show` has the whole.
const ERROR_CHARS_MAX: usize = 80;

/// List the dead letters of a topic, the newest first.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct List {
    #[command(flatten)]
    topic: TopicArgs,

    /// At most so many
    #[arg(long, value_name = "N", default_value = "20")]
    count: NonZeroUsize,

    /// One line for those whose errors say the same, apart from numbers and ids; the most frequent first
    #[arg(long)]
    by_error: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

const HELP: &str = r#"Examples:
  streamerson dead list orders
  streamerson dead list orders --reason no-handler
  streamerson dead list orders --by-error
  streamerson dead list orders --event order.new --error 'connection refused' --younger-than 2h
  streamerson dead list orders --count 100000 --json | jq -r .dead.group | sort | uniq -c

As JSON: {"entry","event","id","dead":{"reason","error","group","member","attempts","at","entry"}}
  The outer entry is that of the dead letter, the inner one was the message's. Event and id are
  null for what is no message, and dead is null where somebody else wrote to the stream.
With --by-error: {"count","reason","error","event","oldest_at","newest_at","example"}
  Event is null where they have several; the times are Unix milliseconds, and the example is the
  newest entry."#;

/// What is known of a dead letter.
#[derive(Debug, Serialize)]
struct Row {
    entry: EntryId,
    event: Option<String>,
    id: Option<String>,
    dead: Option<DeadLetter>,
}

impl List {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, count, by_error, filter } = self;
        let broker = broker::connect(common).await?;
        let topic = topic.topic();
        let letters = DeadLetters::new(broker.clone(), topic.clone());
        let failed = |error: BrokerError| Failure::failed(format!("cannot read {}", topic.dead())).because(error);
        let found = letters.find(filter.filter(), Order::NewestFirst);
        let mut output = Output::new(common);
        let none = "no dead letters";
        if by_error {
            let add = async |mut groups: by_error::Groups, dead| {
                groups.add(&dead);
                Ok(groups)
            };
            let groups = found.try_fold(by_error::Groups::default(), add).await.map_err(failed)?;
            let mut groups = groups.ranked();
            groups.truncate(count.get());
            match output.format {
                Format::Json => groups.iter().try_for_each(|group| output.json(group))?,
                Format::Human if groups.is_empty() => output.line(none)?,
                Format::Human => by_error::table(&groups, broker.now()).print(&mut output)?,
            }
            return output.flush();
        }
        let rows: Vec<Row> = found.take(count.get()).map_ok(Row::from).try_collect().await.map_err(failed)?;
        match output.format {
            Format::Json => rows.iter().try_for_each(|row| output.json(row))?,
            Format::Human if rows.is_empty() => output.line(none)?,
            Format::Human => table(&rows, broker.now()).print(&mut output)?,
        }
        output.flush()
    }
}

impl From<Dead> for Row {
    fn from(dead: Dead) -> Self {
        let Dead { id: entry, letter, message, .. } = dead;
        let (event, id) = message.map(|message| (message.event.to_string(), message.id.to_string())).unzip();
        Self { entry, event, id, dead: letter }
    }
}

fn table(rows: &[Row], now: UnixMillis) -> Table<7> {
    let mut table = Table::new(["ENTRY", "AGE", "REASON", "EVENT", "GROUP", "ATTEMPTS", "ERROR"]);
    for row in rows {
        let dead = row.dead.as_ref();
        table.row([
            Cell::text(row.entry.to_string()),
            Cell::text(human::age(human::since(row.entry, now))).right(),
            dead.map_or_else(Cell::none, |dead| Cell::text(dead.reason.as_str()).red_if(true)),
            row.event.as_ref().map_or_else(Cell::none, |event| Cell::text(event).bold()),
            dead.map_or_else(Cell::none, |dead| Cell::text(dead.group.as_str())),
            dead.map_or_else(|| Cell::none().right(), |dead| Cell::count(dead.attempts.into())),
            dead.map_or_else(Cell::none, |dead| Cell::text(short(&dead.error))),
        ]);
    }
    table
}

/// The beginning of an error, on one line.
pub(super) fn short(error: &str) -> String {
    human::beginning(&printable(error), ERROR_CHARS_MAX)
}
