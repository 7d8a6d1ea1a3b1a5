//! `streamerson request`: sends one request and prints the reply.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use serde_json::Value;
use streamerson::core::{Client, EventType, Problem, Reply, client, text::printable_json};

use crate::{
    args::{self, Common, TopicArgs},
    broker, duration,
    failure::Failure,
    output::{Format, Output},
    payload::PayloadArgs,
    shown::{Shown, printable},
};

/// How long the inbox of this process may take to go. It goes by itself soon after.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Send a request and print the payload of the reply.
///
/// A reply whose status is 400 or above is a problem: it goes to the standard error, and the exit status is 1.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Request {
    #[command(flatten)]
    topic: TopicArgs,

    /// The event type, which picks the handler
    #[arg(value_parser = args::event)]
    event: EventType,

    #[command(flatten)]
    payload: PayloadArgs,

    /// How long to wait for the reply: 250ms, 5s, 15m
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse_some)]
    timeout: Duration,
}

const EXAMPLES: &str = r#"Examples:
  streamerson request orders order.get '{"id":7}'
  streamerson request orders order.get '{"id":7}' --timeout 30s | jq .total
  streamerson request orders order.get -H 'http.param.id: 7'
  streamerson request images invert -H 'content-type: image/png' - < a.png > b.png

The payload is printed as it came; --json puts it on one line, as the JSON value, else as a
string."#;

impl Request {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, event, payload, timeout } = self;
        let topic = topic.topic();
        let (headers, payload) = payload.read()?;
        let client = Client::new(broker::connect(common).await?);
        let mut request = client::Request::new(event.clone(), payload).with_id(topic.new_message_id());
        request.timeout = Some(timeout);
        request.headers = headers;
        let reply = client.request(&topic, request).await;
        // The inbox goes now, rather than by itself in some minutes. Only politeness: the answer is there.
        _ = tokio::time::timeout(CLOSE_MAX, client.close()).await;
        let reply =
            reply.map_err(|error| Failure::failed(format!("no reply to {event} from {topic}")).because(error))?;
        if reply.is_error || reply.status_or_ok().as_u16() >= 400 {
            print_problem(&reply, common)?;
            return Err(Failure::Told);
        }
        print_payload(&reply, common)
    }
}

fn print_payload(reply: &Reply, common: &Common) -> Result<(), Failure> {
    let mut output = Output::new(common);
    if common.format() == Some(Format::Json) {
        if !reply.payload.is_empty() {
            output.line(&Shown::new(&reply.headers, &reply.payload).to_json()?)?;
        }
        return output.flush();
    }
    output.payload(&reply.payload)?;
    // The shell's prompt starts on a line of its own, and bytes that are no text stay as they are.
    if str::from_utf8(&reply.payload).is_ok_and(|text| !text.is_empty() && !text.ends_with('\n')) {
        output.bytes(b"\n")?;
    }
    output.flush()
}

fn print_problem(reply: &Reply, common: &Common) -> Result<(), Failure> {
    let usual = || if io::stderr().is_terminal() { Format::Human } else { Format::Json };
    let problem = problem(reply)?;
    let text = match common.format().unwrap_or_else(usual) {
        Format::Human => for_people(&problem),
        Format::Json => printable_json(&serde_json::to_string(&problem)?).into_owned(),
    };
    // A closed standard error leaves the exit status to tell of it.
    _ = writeln!(io::stderr(), "{text}");
    Ok(())
}

/// The problem document that the reply is, or one made of its status, with the payload in it.
fn problem(reply: &Reply) -> Result<Problem, serde_json::Error> {
    let problem = reply.problem();
    let is_document = serde_json::from_slice::<Problem>(&reply.payload).is_ok();
    if is_document || reply.payload.is_empty() {
        return Ok(problem);
    }
    let payload: Value = serde_json::from_str(&Shown::new(&reply.headers, &reply.payload).to_json()?)?;
    Ok(problem.with("payload", payload))
}

/// The problem in a sentence, and its other members below.
fn for_people(problem: &Problem) -> String {
    let mut text = format!("error: {}", printable(&problem.to_string()));
    for (member, value) in &problem.extensions {
        // A text without its quotes.
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("\n  {}: {}", printable(member), printable(&value)));
    }
    text
}
