//! `streamerson dead list`: one line for each dead letter.

use std::num::NonZeroUsize;

use clap::Args;
use serde::Serialize;
use streamerson::core::{
    BrokerError, Entry, EntryId, Message, SharedBroker, StreamKey, UnixMillis, Wire,
    broker::Range,
    dead_letter::{DeadLetter, Reason},
};

use super::reason;
use crate::{
    args::{Common, TopicArgs},
    broker,
    failure::Failure,
    human,
    output::{Format, Output},
    shown::printable,
    table::{Cell, Table},
};

/// Entries that are read at a time while looking for those that are wanted.
const PAGE: usize = 100;

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

    /// With this reason only
    #[arg(long, value_parser = reason())]
    reason: Option<Reason>,
}

const HELP: &str = r#"Examples:
  streamerson dead list orders
  streamerson dead list orders --reason no-handler
  streamerson dead list orders --count 100000 --json | jq -r .dead.reason | sort | uniq -c

As JSON: {"entry","event","id","dead":{"reason","error","group","member","attempts","at","entry"}}
  The outer entry is that of the dead letter, the inner one was the message's. Event and id are null for what is no
  message, and dead is null where somebody else wrote to the stream."#;

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
        let broker = broker::connect(common).await?;
        let key = self.topic.topic().dead();
        let failed = |error| Failure::failed(format!("cannot read {key}")).because(error);
        let rows = self.find(&broker, &key).await.map_err(failed)?;
        let mut output = Output::new(common);
        match output.format {
            Format::Json => rows.iter().try_for_each(|row| output.json(row))?,
            Format::Human if rows.is_empty() => output.line("no dead letters")?,
            Format::Human => table(&rows, broker.now()).print(&mut output)?,
        }
        output.flush()
    }

    /// The newest that are wanted.
    async fn find(&self, broker: &SharedBroker, key: &StreamKey) -> Result<Vec<Row>, BrokerError> {
        let (mut rows, mut to) = (Vec::new(), EntryId::MAX);
        loop {
            let (from, count) = (EntryId::ZERO, PAGE);
            let page = broker.range(Range { key: key.clone(), from, to, count, newest_first: true }).await?;
            let (is_last, oldest) = (page.len() < PAGE, page.last().map(|entry| entry.id));
            for row in page.into_iter().map(Row::read).filter(|row| self.wants(row)) {
                rows.push(row);
                if rows.len() == self.count.get() {
                    return Ok(rows);
                }
            }
            match oldest {
                Some(oldest) if !is_last => to = oldest.previous(),
                _ => return Ok(rows),
            }
        }
    }

    fn wants(&self, row: &Row) -> bool {
        self.reason.is_none_or(|reason| row.dead.as_ref().is_some_and(|dead| dead.reason == reason))
    }
}

impl Row {
    fn read(entry: Entry) -> Self {
        let (dead, fields) = match DeadLetter::split(&entry.fields) {
            Some((dead, original)) => (Some(dead), original),
            None => (None, entry.fields),
        };
        // What lies in the stream is shown, however large: bounds are those of the workers.
        let message = Wire { payload_bytes_max: usize::MAX }.decode(&fields).ok();
        let (event, id) = message.map(|Message { event, id, .. }| (event.to_string(), id.to_string())).unzip();
        Self { entry: entry.id, event, id, dead }
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
fn short(error: &str) -> String {
    let error = printable(error);
    match error.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &error[..end]),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_errors_are_cut_between_characters() {
        assert_eq!(short("no\nluck"), r"no\nluck");
        assert_eq!(short(&"ä".repeat(80)), "ä".repeat(80));
        assert_eq!(short(&"ä".repeat(81)), format!("{}…", "ä".repeat(80)));
    }
}
