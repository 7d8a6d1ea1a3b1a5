//! `streamerson dead show`: all that is known of some dead letters.

use clap::Args;
use streamerson::core::{Entry, EntryId, Headers, UnixMillis, Wire, broker::Range, dead_letter::DeadLetter};

use crate::{
    args::{Common, TopicArgs},
    broker,
    failure::Failure,
    human,
    line::Line,
    output::{Format, Output, Style},
    shown::{Shown, lossy_line, printable},
};

/// Show dead letters: why each is one, and the message as it was.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Show {
    #[command(flatten)]
    topic: TopicArgs,

    /// The entries, as `streamerson dead list` names them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<EntryId>,
}

const HELP: &str = r#"Examples:
  streamerson dead show orders 1700000000000-0
  streamerson dead show orders 1700000000000-0 --json | jq .payload

As JSON, what `streamerson tail --stream dead` prints: the message with a member "dead".
Ids that are not there are told on the standard error, and the exit status is 1."#;

impl Show {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let broker = broker::connect(common).await?;
        let topic = self.topic.topic();
        let key = topic.dead();
        let mut output = Output::new(common);
        let mut missing = Vec::new();
        let mut is_first = true;
        for id in self.ids {
            let range = Range { key: key.clone(), from: id, to: id, count: 1, newest_first: false };
            let found = broker.range(range).await;
            let found = found.map_err(|error| Failure::failed(format!("cannot read {key}")).because(error))?;
            let Some(entry) = found.into_iter().next() else {
                missing.push(id);
                continue;
            };
            match output.format {
                Format::Json => output.line(&Line::read(entry, true).to_json()?)?,
                Format::Human => {
                    if !is_first {
                        output.line("")?;
                    }
                    let style = output.style;
                    describe(&entry, broker.now(), style).iter().try_for_each(|line| output.line(line))?;
                }
            }
            is_first = false;
        }
        output.flush()?;
        super::all_there(&topic, &missing)
    }
}

/// A line for each thing that is known.
fn describe(entry: &Entry, now: UnixMillis, style: Style) -> Vec<String> {
    let Style { bold, dim, red, reset, .. } = style;
    let mut lines = Vec::new();
    let mut say = |name: &str, value: &str| lines.push(format!("{dim}{name:<9}{reset}{value}"));
    let age = human::age(human::since(entry.id, now));
    say("entry", &format!("{}  {dim}{age} ago{reset}", entry.id));
    let letter = DeadLetter::split(&entry.fields);
    if let Some((DeadLetter { reason, error, group, member, attempts, entry, .. }, _)) = &letter {
        say("reason", &format!("{red}{reason}{reset}"));
        say("error", &printable(error));
        say("attempts", &attempts.to_string());
        say("group", &format!("{group}  {dim}member {member}{reset}"));
        say("was", &format!("entry {entry}"));
    }
    let fields = letter.as_ref().map_or(&entry.fields, |(_, original)| original);
    match (Wire { payload_bytes_max: usize::MAX }).decode(fields) {
        Ok(message) => {
            say("event", &format!("{bold}{}{reset}", message.event));
            say("id", &message.id);
            if let Some(inbox) = &message.inbox {
                say("inbox", inbox);
            }
            for (name, value) in message.headers.iter() {
                say("header", &format!("{}: {}", printable(name), printable(value)));
            }
            if !message.payload.is_empty() {
                say("payload", &payload(&message.headers, &message.payload));
            }
        }
        Err(why) => {
            say("content", &format!("{red}malformed{reset}  {}", printable(&why.to_string())));
            for (name, value) in fields {
                say("field", &format!("{}={}", lossy_line(name), lossy_line(value)));
            }
        }
    }
    lines
}

fn payload(headers: &Headers, payload: &[u8]) -> String {
    Shown::new(headers, payload).to_line().into_owned()
}
