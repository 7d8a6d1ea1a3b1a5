//! `streamerson dead drop`: removes dead letters for good.

use clap::Args;
use futures_util::TryStreamExt;
use serde::Serialize;
use streamerson::core::{
    BrokerError, EntryId, Topic,
    dead_letter::{DeadLetters, Filter, Selection},
};

use super::which::Which;
use crate::{
    args::{Common, TopicArgs},
    broker, confirm,
    failure::Failure,
    human,
    output::{Format, Output},
    progress::Progress,
    stop::Stop,
};

/// Remove dead letters for good.
///
/// With --all a person at a terminal is asked first; programs are not, and --yes answers for them.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Drop {
    #[command(flatten)]
    topic: TopicArgs,

    /// Only say how many would go
    #[arg(long)]
    dry_run: bool,

    /// Ask nothing
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    which: Which,
}

const HELP: &str = r#"Examples:
  streamerson dead drop orders 1700000000000-0
  streamerson dead drop orders --reason malformed
  streamerson dead drop orders --older-than 30d --dry-run
  streamerson dead drop orders --all

A copy first, if they matter:
  streamerson tail orders --stream dead --from start --json > orders-dead.ndjson

As JSON: {"topic","dropped","missing"}; missing are the ids that were named and not there. The
exit status is 1 then. In a dry run, "droppable" is in the place of "dropped".
A user of the broker needs the permission +xdel."#;

#[derive(Serialize)]
struct Report<'a> {
    topic: String,
    #[serde(flatten)]
    done: Done,
    missing: &'a [EntryId],
}

/// Under a name of its own, so that nobody takes what would be for what was.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Done {
    Dropped(u64),
    Droppable(u64),
}

impl Drop {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, which, dry_run, yes } = self;
        let topic = topic.topic();
        let is_all = which.is_all();
        let selection = which.selection()?;
        let letters = DeadLetters::new(broker::connect(common).await?, topic.clone());
        let failed =
            |error: BrokerError| Failure::failed(format!("cannot drop dead letters of {topic}")).because(error);
        let (selection, missing) = known(&letters, selection).await.map_err(failed)?;
        let mut output = Output::new(common);
        let total = match &selection {
            Selection::Wanted(filter) if *filter == Filter::default() => Some(letters.count().await.map_err(failed)?),
            _ => None,
        };
        if is_all && !dry_run && !yes && total != Some(0) {
            confirm::ask(&question(&topic, total))?;
        }
        let progress = Progress::new(&output, total);
        let (dropped, ended) = if dry_run {
            let count = letters.selected(selection).try_fold(0, async |count, _| Ok(count + 1));
            (count.await.map_err(failed)?, Ok(()))
        } else {
            let stop = Stop::listen()?;
            drop_all(&letters, selection, progress, &stop, failed).await
        };
        match output.format {
            Format::Json => {
                let done = if dry_run { Done::Droppable(dropped) } else { Done::Dropped(dropped) };
                output.json(&Report { topic: topic.to_string(), done, missing: &missing })?;
            }
            Format::Human => {
                let letters = human::counted(dropped, "dead letter", "dead letters");
                let verb = if dry_run { "would drop" } else { "dropped" };
                output.line(&format!("{verb} {letters} of {topic}"))?;
            }
        }
        output.flush()?;
        ended?;
        super::all_there(&topic, &missing)
    }
}

fn question(topic: &Topic, total: Option<u64>) -> String {
    match total {
        Some(total) => {
            let letters = human::counted(total, "dead letter", "dead letters");
            format!("drop {letters} of {topic} for good?")
        }
        None => format!("drop all dead letters of {topic} that these options want, for good?"),
    }
}

/// Of ids that are named, those that are there, and the others.
async fn known(letters: &DeadLetters, selection: Selection) -> Result<(Selection, Vec<EntryId>), BrokerError> {
    if !matches!(selection, Selection::Ids(_)) {
        return Ok((selection, Vec::new()));
    }
    let looked: Vec<_> = letters.selected(selection).map_ok(|(id, dead)| (id, dead.is_some())).try_collect().await?;
    let (there, missing): (Vec<_>, Vec<_>) = looked.into_iter().partition(|(_, is_there)| *is_there);
    let ids = |looked: Vec<(EntryId, bool)>| looked.into_iter().map(|(id, _)| id).collect();
    Ok((Selection::Ids(ids(there)), ids(missing)))
}

/// How many were dropped, and why not all were.
async fn drop_all(
    letters: &DeadLetters,
    selection: Selection,
    mut progress: Progress,
    stop: &Stop,
    failed: impl Fn(BrokerError) -> Failure,
) -> (u64, Result<(), Failure>) {
    let mut dropped = 0;
    let mut items = letters.drop_all(selection);
    loop {
        match items.try_next().await {
            Ok(Some(some)) => dropped += some.dropped,
            Ok(None) => return (dropped, Ok(())),
            Err(error) => return (dropped, Err(failed(error))),
        }
        progress.at("dropping", dropped, "");
        if stop.is_requested() {
            let stopped = Failure::failed("stopped by a signal, before all were dropped");
            return (dropped, Err(stopped.hint("the same command goes on with the rest")));
        }
    }
}
