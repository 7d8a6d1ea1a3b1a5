//! `streamerson emit`: sends one event, now or later.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use streamerson::core::{Client, EntryId, EventType, Message, Topic, UnixMillis};

use crate::{
    args::{self, Common, TopicArgs},
    broker, duration,
    failure::Failure,
    human, moment,
    output::{Format, Output},
    payload::PayloadArgs,
};

/// Send an event, which nobody answers.
///
/// Prints the id of the message and of its entry once the broker has it; workers get it whenever they run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Emit {
    #[command(flatten)]
    topic: TopicArgs,

    /// The event type, which picks the handler
    #[arg(value_parser = args::event)]
    event: EventType,

    #[command(flatten)]
    payload: PayloadArgs,

    /// Not now but after so long: 90s, 10m, 2h, 1d
    ///
    /// The event waits in the topic's schedule, in the broker, and comes within about a second of its time; while no
    /// member of any group runs, it goes on waiting.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "at")]
    after: Option<Duration>,

    /// Not now but at this time: 2026-12-24T18:00:00Z, or 2026-12-24T18:00 or 18:00 by the clock of this machine
    ///
    /// Unix milliseconds are taken too. A time that has passed is as good as now.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<UnixMillis>,
}

const EXAMPLES: &str = r#"Examples:
  streamerson emit views page.viewed '{"page":"/home"}'
  jq -c .order order.json | streamerson emit shop:orders order.new -
  streamerson emit orders order.remind '{"id":7}' --after 10m
  streamerson emit shop shop.closes --at 18:00
  streamerson emit mail mail.arrived -H 'content-type: message/rfc822' - < mail.eml

As JSON it prints {"id","entry"}: the message's id, and that of its entry in the stream. With
--after or --at the entry is null, and {"at"} says when it is due, in Unix milliseconds;
`streamerson scheduled cancel` takes the id back."#;

#[derive(Serialize)]
struct Report<'a> {
    id: &'a str,
    entry: EntryId,
}

#[derive(Serialize)]
struct Later<'a> {
    id: &'a str,
    /// It has none yet.
    entry: Option<EntryId>,
    at: UnixMillis,
}

impl Emit {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, event, payload, after, at } = self;
        let topic = topic.topic();
        let (headers, payload) = payload.read()?;
        let client = Client::new(broker::connect(common).await?);
        let mut message = Message::new(event.clone(), payload).with_id(topic.new_message_id());
        message.headers = headers;
        let now = client.broker().now();
        let at = after.map(|after| now.plus(after)).or(at);
        let failed = |error| Failure::failed(format!("cannot emit {event} to {topic}")).because(error);
        let mut output = Output::new(common);
        if let Some(at) = at {
            let id = client.emit_at(&topic, message, at).await.map_err(failed)?;
            match output.format {
                Format::Human => output.line(&scheduled(&topic, &event, &id, at, now))?,
                Format::Json => output.json(&Later { id: &id, entry: None, at })?,
            }
            return output.flush();
        }
        let emitted = client.emit(&topic, message).await.map_err(failed)?;
        match output.format {
            Format::Human => {
                output.line(&format!("emitted {event} to {topic}: message {}, entry {}", emitted.id, emitted.entry))?;
            }
            Format::Json => output.json(&Report { id: &emitted.id, entry: emitted.entry })?,
        }
        output.flush()
    }
}

/// When it comes, and how to take it back.
fn scheduled(topic: &Topic, event: &EventType, id: &str, at: UnixMillis, now: UnixMillis) -> String {
    let when = match at.since(now) {
        passed if passed.is_zero() => "at once".to_owned(),
        ahead => format!("in {}, at {}", human::age(ahead), moment::show(at)),
    };
    format!(
        "{event} comes to {topic} {when}: message {id}\n`streamerson scheduled cancel {} {id}` takes it back",
        args::named(topic)
    )
}
