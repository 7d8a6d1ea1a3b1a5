//! `streamerson scheduled cancel`: takes entries out of a schedule.

use clap::Args;
use serde::Serialize;
use streamerson::core::{BrokerError, Client, ScheduleId, Topic, broker::ScheduledRange};

use crate::{
    args::{self, Common, TopicArgs},
    broker, confirm,
    failure::Failure,
    human,
    output::{Format, Output},
};

/// Take what waits for its time out of the schedule, so that it never comes.
///
/// With --all a person at a terminal is asked first; programs are not, and --yes answers for them. What --all takes are
/// the attempts that groups make later, too.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Cancel {
    #[command(flatten)]
    topic: TopicArgs,

    /// What `streamerson scheduled list` and `streamerson emit --after` call id
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<ScheduleId>,

    /// All that waits
    #[arg(long)]
    all: bool,

    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
}

const HELP: &str = r#"Examples:
  streamerson scheduled cancel orders 01JD3N8Q7ZB6M4K2W5XH0V9TGC
  streamerson scheduled cancel orders --all

As JSON: {"topic","cancelled","missing"}; missing are the ids that were named and do not wait,
since they were never there, or came already. The exit status is 1 then."#;

#[derive(Serialize)]
struct Report<'a> {
    topic: String,
    cancelled: u64,
    missing: &'a [ScheduleId],
}

impl Cancel {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, ids, all, yes } = self;
        let topic = topic.topic();
        let client = Client::new(broker::connect(common).await?);
        let failed =
            |error: BrokerError| Failure::failed(format!("cannot cancel what waits on {topic}")).because(error);
        let (cancelled, missing) = if all {
            if !yes {
                confirm::ask(&format!("cancel all that waits for its time on {topic}?"))?;
            }
            (cancel_all(&client, &topic).await.map_err(failed)?, Vec::new())
        } else {
            cancel_some(&client, &topic, ids).await.map_err(failed)?
        };
        let mut output = Output::new(common);
        match output.format {
            Format::Json => output.json(&Report { topic: topic.to_string(), cancelled, missing: &missing })?,
            Format::Human => {
                let entries = human::counted(cancelled, "entry", "entries");
                output.line(&format!("cancelled {entries} of the schedule of {topic}"))?;
            }
        }
        output.flush()?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<_> = missing.iter().map(ScheduleId::as_str).collect();
        Err(Failure::failed(format!("the schedule of {topic} has no {}", missing.join(", ")))
            .hint(format!("`streamerson scheduled list {}` names those that wait", args::named(&topic))))
    }
}

/// How many were there, and which were not.
async fn cancel_some(
    client: &Client,
    topic: &Topic,
    ids: Vec<ScheduleId>,
) -> Result<(u64, Vec<ScheduleId>), BrokerError> {
    let mut there = 0;
    let mut missing = ids.clone();
    for some in ids.chunks(ScheduledRange::COUNT_MAX) {
        let cancelled = client.cancel_scheduled(topic, some.to_vec()).await?;
        there += cancelled.len() as u64;
        missing.retain(|id| !cancelled.contains(id));
    }
    Ok((there, missing))
}

/// Page after page. What is scheduled meanwhile may go too.
async fn cancel_all(client: &Client, topic: &Topic) -> Result<u64, BrokerError> {
    let (mut cancelled, mut after) = (0, None);
    loop {
        let page = client.scheduled(topic, after, ScheduledRange::COUNT_MAX).await?;
        let ids: Vec<_> = page.events.into_iter().map(|event| event.id).collect();
        if !ids.is_empty() {
            cancelled += client.cancel_scheduled(topic, ids).await?.len() as u64;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(cancelled),
        }
    }
}
