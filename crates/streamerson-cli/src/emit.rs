//! `streamerson emit`: sends one event.

use clap::Args;
use serde::Serialize;
use streamerson::core::{Client, EntryId, EventType, Message};

use crate::{
    args::{self, Common, TopicArgs},
    broker,
    failure::Failure,
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
}

const EXAMPLES: &str = r#"Examples:
  streamerson emit views page.viewed '{"page":"/home"}'
  jq -c .order order.json | streamerson emit shop:orders order.new -
  streamerson emit mail mail.arrived -H 'content-type: message/rfc822' - < mail.eml

As JSON it prints {"id","entry"}: the message's id, and that of its entry in the stream."#;

#[derive(Serialize)]
struct Report<'a> {
    id: &'a str,
    entry: EntryId,
}

impl Emit {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, event, payload } = self;
        let topic = topic.topic();
        let (headers, payload) = payload.read()?;
        let client = Client::new(broker::connect(common).await?);
        let mut message = Message::new(event.clone(), payload).with_id(topic.new_message_id());
        message.headers = headers;
        let emitted = client
            .emit(&topic, message)
            .await
            .map_err(|error| Failure::failed(format!("cannot emit {event} to {topic}")).because(error))?;
        let mut output = Output::new(common);
        match output.format {
            Format::Human => {
                output.line(&format!("emitted {event} to {topic}: message {}, entry {}", emitted.id, emitted.entry))?;
            }
            Format::Json => output.json(&Report { id: &emitted.id, entry: emitted.entry })?,
        }
        output.flush()
    }
}
