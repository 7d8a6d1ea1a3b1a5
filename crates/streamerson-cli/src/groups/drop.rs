//! `streamerson groups drop`: removes a group.

use clap::Args;
use futures_util::try_join;
use serde::Serialize;
use streamerson::core::{Name, Topic};

use super::{count, no_stream};
use crate::{
    args::{self, Common, TopicArgs},
    broker,
    failure::Failure,
    human,
    output::{Format, Output},
};

/// Drop a group: its place in the stream, its members, and what is pending in it.
///
/// The entries stay for the other groups. A group that still has members is made again by them. Refused while
/// something is pending, since nobody would finish it; what comes between the look and the drop is not seen.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Drop {
    #[command(flatten)]
    topic: TopicArgs,

    /// Which group
    group: Name,

    /// Drop it with what is pending in it
    #[arg(long)]
    force: bool,
}

const HELP: &str = r#"Examples:
  streamerson groups drop orders old-group
  streamerson groups drop orders old-group --force

As JSON: {"topic","group","pending","live"}: what was dropped, with how much pending and how many
live members.
A user of the broker needs the permission +xgroup|destroy."#;

#[derive(Serialize)]
struct Report<'a> {
    topic: String,
    group: &'a str,
    pending: u64,
    live: usize,
}

impl Drop {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, group, force } = self;
        let topic = topic.topic();
        let broker = broker::connect(common).await?;
        let failed = |error| Failure::failed(format!("cannot drop the group {group} of {topic}")).because(error);
        let key = topic.inbound();
        let (info, groups) = try_join!(broker.stream_info(&key), broker.groups(&key)).map_err(failed)?;
        if info.is_none() {
            return Err(no_stream(&key));
        }
        let Some(info) = groups.into_iter().find(|info| info.name == group) else {
            return Err(no_group(&topic, &group));
        };
        if info.pending > 0 && !force {
            let pending = human::counted(info.pending, "pending entry", "pending entries");
            let message = format!("the group {group} of {topic} has {pending}, which nobody would finish");
            let named = args::named(&topic);
            return Err(Failure::failed(message).hint(format!(
                "`streamerson pending {named} {group}` shows what is pending, and --force drops it too"
            )));
        }
        let (live, _) = count(&broker.members(&key, &group).await.map_err(failed)?);
        if !broker.drop_group(&key, &group).await.map_err(failed)? {
            return Err(no_group(&topic, &group));
        }
        let mut output = Output::new(common);
        match output.format {
            Format::Json => {
                let report = Report { topic: topic.to_string(), group: group.as_str(), pending: info.pending, live };
                output.json(&report)?;
            }
            Format::Human => {
                let with = match info.pending {
                    0 => "nothing was pending".to_owned(),
                    pending => format!("{} went with it", human::counted(pending, "pending entry", "pending entries")),
                };
                output.line(&format!("dropped the group {group} of {topic}; {with}"))?;
                if live > 0 {
                    let members = human::counted(live as u64, "live member", "live members");
                    output.line(&format!("it has {members}, which will make it again"))?;
                }
            }
        }
        output.flush()
    }
}

fn no_group(topic: &Topic, group: &Name) -> Failure {
    Failure::failed(format!("{topic} has no group {group}"))
        .hint(format!("`streamerson groups {}` lists those that it has", args::named(topic)))
}
