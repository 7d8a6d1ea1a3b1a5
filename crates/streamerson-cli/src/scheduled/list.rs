//! `streamerson scheduled list`: one line for each entry that waits.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
};

use clap::Args;
use serde::Serialize;
use streamerson::core::{
    BrokerError, Client, Headers, MessageId, ScheduleId, Topic, UnixMillis,
    broker::ScheduledRange,
    client::{Waiting, WaitingEvent},
};

use crate::{
    args::{Common, TopicArgs},
    broker,
    failure::Failure,
    human, moment,
    output::{Format, Output},
    shown::Shown,
    table::{Cell, Table},
};

/// Characters of a payload that people are shown.
const PAYLOAD_CHARS_MAX: usize = 60;

/// List what waits for its time, what is due first at the top.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct List {
    #[command(flatten)]
    topic: TopicArgs,

    /// At most so many
    #[arg(long, value_name = "N", default_value = "100")]
    count: NonZeroUsize,
}

const HELP: &str = r#"Examples:
  streamerson scheduled list orders
  streamerson scheduled list orders --json | jq -r 'select(.event == "order.remind").id'

As JSON: {"id","at","event","message","headers","payload"}
  The id is what `streamerson scheduled cancel` takes; at is in Unix milliseconds of the broker's
  clock; message is the message's own id. All but id and at are null for what is no message. An id
  that begins with "retry/" is an attempt that a group makes later."#;

#[derive(Serialize)]
struct Row<'a> {
    id: &'a ScheduleId,
    at: UnixMillis,
    event: Option<&'a str>,
    message: Option<&'a MessageId>,
    headers: Option<&'a Headers>,
    #[serde(flatten)]
    payload: Payload<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Of(Shown<'a>),
    None { payload: Option<()> },
}

impl List {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, count } = self;
        let topic = topic.topic();
        let client = Client::new(broker::connect(common).await?);
        // One more than is shown, to know whether there are more.
        let mut events = first(&client, &topic, count.get().saturating_add(1)).await.map_err(|error| {
            Failure::failed(format!("cannot list what waits for its time on {topic}")).because(error)
        })?;
        let is_cut = events.len() > count.get();
        events.truncate(count.get());
        let mut output = Output::new(common);
        match output.format {
            Format::Json => events.iter().try_for_each(|event| output.json(&Row::of(event)))?,
            Format::Human if events.is_empty() => output.line("nothing waits for its time")?,
            Format::Human => table(&events, client.broker().now()).print(&mut output)?,
        }
        output.flush()?;
        if is_cut && output.format == Format::Human {
            _ = writeln!(io::stderr(), "there are more: --count shows them");
        }
        Ok(())
    }
}

/// So many that are due first.
async fn first(client: &Client, topic: &Topic, count: usize) -> Result<Vec<WaitingEvent>, BrokerError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let wanted = (count - all.len()).min(ScheduledRange::COUNT_MAX);
        let Waiting { events, next } = client.scheduled(topic, after, wanted).await?;
        all.extend(events);
        match next {
            Some(next) if all.len() < count => after = Some(next),
            _ => return Ok(all),
        }
    }
}

impl<'a> Row<'a> {
    fn of(WaitingEvent { id, at, message }: &'a WaitingEvent) -> Self {
        let message = message.as_ref();
        Self {
            id,
            at: *at,
            event: message.map(|message| &*message.event),
            message: message.map(|message| &message.id),
            headers: message.map(|message| &message.headers),
            payload: message.map_or(Payload::None { payload: None }, |message| {
                Payload::Of(Shown::new(&message.headers, &message.payload))
            }),
        }
    }
}

fn table(events: &[WaitingEvent], now: UnixMillis) -> Table<5> {
    let mut table = Table::new(["ID", "AT", "DUE", "EVENT", "PAYLOAD"]);
    for WaitingEvent { id, at, message } in events {
        let due = match at.since(now) {
            // Nobody moved it yet.
            late if late.is_zero() => Cell::text(format!("{} late", human::age(now.since(*at)))).red_if(true),
            ahead => Cell::text(format!("in {}", human::age(ahead))),
        };
        let payload = message.as_ref().map_or_else(String::new, |message| {
            human::beginning(&Shown::new(&message.headers, &message.payload).to_line(), PAYLOAD_CHARS_MAX)
        });
        table.row([
            Cell::text(id.as_str()),
            Cell::text(moment::show(*at)).dim(),
            due.right(),
            message
                .as_ref()
                .map_or_else(|| Cell::text("(malformed)").red_if(true), |message| Cell::text(&*message.event).bold()),
            Cell::text(payload),
        ]);
    }
    table
}
