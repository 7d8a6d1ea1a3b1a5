//! `streamerson dead replay`: sends dead letters to their topic once more.

use std::{
    io::{self, Write},
    num::NonZeroU32,
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use serde::Serialize;
use streamerson::core::{
    BrokerError, EntryId,
    dead_letter::{Checked, DeadLetters, Filter, Replayed, Selection},
};
use tokio_util::sync::CancellationToken;

use super::which::Which;
use crate::{
    args::{self, Common, TopicArgs},
    broker,
    failure::{Failure, causes},
    human,
    output::{Format, Output},
    progress::Progress,
    shown::printable,
    stop::Stop,
};

/// How long a replay that is under way may take when told to stop; what is not known by then may have been done.
const LAST_MAX: Duration = Duration::from_secs(5);

/// Send dead letters to their topic once more, the oldest first.
///
/// Each goes to the group that gave up on it and to no other, with its id, without its inbox and its deadline: whoever
/// asked has long since got an error. It leaves the dead letters in the same step, so nothing is lost or done twice
/// wherever this is interrupted; the same command goes on with the rest. What fails again is a dead letter again, and
/// is not among those that are replayed this time.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Replay {
    #[command(flatten)]
    topic: TopicArgs,

    /// How many go each second, at most
    #[arg(long, value_name = "N/s", default_value = "100/s", value_parser = rate)]
    rate: NonZeroU32,

    /// Only say what would be replayed, and what cannot be
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    which: Which,
}

const HELP: &str = r#"Examples:
  streamerson dead replay orders 1700000000000-0
  streamerson dead replay orders --reason failed --dry-run
  streamerson dead replay orders --reason failed --error 'connection refused' --rate 20/s
  streamerson dead replay orders --event order.new --younger-than 2h
  streamerson dead replay orders --all --json | jq -c 'select(.outcome == "failed")'

As JSON, a line for each: {"dead","outcome","entry","error"}
  The outcome is "replayed", with the new entry; "gone" where it is not there any more; "failed",
  with the error; in a dry run "replayable". The last line is
  {"topic","replayed","gone","failed","stopped"}, with "replayable" in the place of "replayed" in
  a dry run.
Exit status 1 where some could not be replayed, or ids are not there."#;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Replayed,
    Replayable,
    Gone,
    Failed,
}

#[derive(Serialize)]
struct Row {
    dead: EntryId,
    outcome: Outcome,
    entry: Option<EntryId>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    topic: String,
    /// How many were replayed, or would be.
    #[serde(flatten)]
    done: Done,
    gone: u64,
    failed: u64,
    /// Whether a signal ended it before all was done.
    stopped: bool,
}

/// Under a name of its own, so that nobody takes what would be for what was.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Done {
    Replayed(u64),
    Replayable(u64),
}

impl Done {
    fn count_one(&mut self) {
        let (Self::Replayed(count) | Self::Replayable(count)) = self;
        *count += 1;
    }

    fn count(self) -> u64 {
        let (Self::Replayed(count) | Self::Replayable(count)) = self;
        count
    }
}

impl Replay {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let Self { topic, which, rate, dry_run } = self;
        let topic = topic.topic();
        let selection = which.selection()?;
        let stop = Stop::listen()?;
        let letters = DeadLetters::new(broker::connect(common).await?, topic.clone());
        let failed =
            |error: BrokerError| Failure::failed(format!("cannot replay the dead letters of {topic}")).because(error);
        let output = Output::new(common);
        let total = match (&selection, output.format) {
            (Selection::Ids(ids), _) => Some(ids.len() as u64),
            // For the progress alone.
            (Selection::Wanted(filter), Format::Human) if *filter == Filter::default() => {
                Some(letters.count().await.map_err(failed)?)
            }
            _ => None,
        };
        let no_more = CancellationToken::new();
        let is_named = matches!(selection, Selection::Ids(_));
        let items = match dry_run {
            true => dry(&letters, selection),
            false => letters.replay_until(selection, Some(rate), no_more.clone()),
        };
        let done = if dry_run { Done::Replayable(0) } else { Done::Replayed(0) };
        let named = args::named(&topic);
        let summary = Summary { topic: topic.to_string(), done, gone: 0, failed: 0, stopped: false };
        let progress = Progress::new(&output, total);
        let mut report = Report { output, named, progress, summary, dry_run, is_named, is_mute: false };
        let outcome = follow(items, &mut report, &stop, &no_more).await;
        report.end(outcome.map_err(failed))
    }
}

/// What a replay would do: what it would replay is an entry with the id of the dead letter.
fn dry(letters: &DeadLetters, selection: Selection) -> BoxStream<'_, Result<Replayed, BrokerError>> {
    let item = |Checked { id, outcome }| Replayed { id, outcome: outcome.map(|is_there| is_there.then_some(id)) };
    letters.check_all(selection).map_ok(item).boxed()
}

/// Takes item after item, until there are no more or a signal comes.
async fn follow(
    mut items: BoxStream<'_, Result<Replayed, BrokerError>>,
    report: &mut Report,
    stop: &Stop,
    no_more: &CancellationToken,
) -> Result<(), BrokerError> {
    let begun = Instant::now();
    loop {
        let item = tokio::select! {
            biased;
            item = items.try_next() => item?,
            () = stop.requested() => {
                report.summary.stopped = true;
                no_more.cancel();
                // The one that is under way is not left in doubt.
                match tokio::time::timeout(LAST_MAX, items.try_next()).await {
                    Ok(Ok(Some(item))) => report.add(item, begun),
                    Ok(Err(error)) => return Err(error),
                    Ok(Ok(None)) | Err(_) => {}
                }
                return Ok(());
            }
        };
        let Some(item) = item else { return Ok(()) };
        report.add(item, begun);
    }
}

/// Tells of each item, and of all.
struct Report {
    output: Output,
    /// The topic as a command names it.
    named: String,
    progress: Progress,
    summary: Summary,
    dry_run: bool,
    /// Whether each is one that the user named, so that one that is gone was expected to be there.
    is_named: bool,
    /// Nobody reads the output any more, and the replay goes on.
    is_mute: bool,
}

impl Report {
    fn add(&mut self, Replayed { id, outcome }: Replayed, begun: Instant) {
        let summary = &mut self.summary;
        let row = match outcome {
            Ok(Some(_)) if self.dry_run => Row { dead: id, outcome: Outcome::Replayable, entry: None, error: None },
            Ok(Some(entry)) => Row { dead: id, outcome: Outcome::Replayed, entry: Some(entry), error: None },
            Ok(None) => Row { dead: id, outcome: Outcome::Gone, entry: None, error: None },
            Err(error) => Row { dead: id, outcome: Outcome::Failed, entry: None, error: Some(causes(&error)) },
        };
        match row.outcome {
            Outcome::Replayed | Outcome::Replayable => summary.done.count_one(),
            Outcome::Gone => summary.gone += 1,
            Outcome::Failed => summary.failed += 1,
        }
        match self.output.format {
            Format::Json => self.say(|output| {
                output.json(&row)?;
                output.flush()
            }),
            Format::Human => self.tell(&row, begun),
        }
    }

    fn tell(&mut self, row: &Row, begun: Instant) {
        let complaint = match (&row.error, row.outcome) {
            (Some(error), _) => Some(format!("not replayed: {error}")),
            (None, Outcome::Gone) if self.is_named => Some(format!("not replayed: {} is not there", row.dead)),
            _ => None,
        };
        if let Some(complaint) = complaint {
            self.progress.clear();
            _ = writeln!(io::stderr(), "{}", printable(&complaint));
        }
        let Summary { done, gone, failed, .. } = self.summary;
        let replayed = done.count();
        let per_second = replayed as f64 / begun.elapsed().as_secs_f64().max(0.001);
        let failures = if failed > 0 { format!(", {} failed", human::count(failed)) } else { String::new() };
        let what = if self.dry_run { "looking at" } else { "replaying" };
        self.progress.at(what, replayed + gone + failed, &format!("{failures}, {per_second:.0}/s"));
    }

    fn say(&mut self, write: impl FnOnce(&mut Output) -> Result<(), Failure>) {
        if !self.is_mute {
            self.is_mute = write(&mut self.output).is_err();
        }
    }

    fn end(mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        self.progress.clear();
        match self.output.format {
            Format::Json => {
                let Self { output, summary, is_mute, .. } = &mut self;
                if !*is_mute {
                    output.json(&summary)?;
                }
            }
            Format::Human => {
                let words = self.words();
                self.output.line(&words)?;
            }
        }
        self.output.flush()?;
        outcome?;
        let Summary { topic, gone, failed, stopped, .. } = &self.summary;
        let missing = if self.is_named { *gone } else { 0 };
        if failed + missing > 0 {
            let letters = human::counted(failed + missing, "dead letter", "dead letters");
            return Err(Failure::failed(format!("{letters} of {topic} could not be replayed")).hint(format!(
                "`streamerson dead show {named} ID` shows one whole, `streamerson dead drop {named} ID` removes it",
                named = self.named
            )));
        }
        match stopped {
            true => Err(Failure::failed("stopped by a signal, before all were replayed")
                .hint("the same command goes on with the rest")),
            false => Ok(()),
        }
    }

    fn words(&self) -> String {
        let Summary { topic, done, gone, failed, stopped } = &self.summary;
        let replayed = done.count();
        if replayed + gone + failed == 0 {
            return "no dead letters to replay".to_owned();
        }
        let letters = human::counted(replayed, "dead letter", "dead letters");
        let mut words = match self.dry_run {
            true => format!("would replay {letters} of {topic}"),
            false => format!("replayed {letters} of {topic}"),
        };
        if *gone > 0 && !self.is_named {
            words.push_str(&format!("; {} gone meanwhile", human::count(*gone)));
        }
        if *stopped {
            words.push_str("; stopped by a signal");
        }
        words
    }
}

/// Reads `50/s` or `50`.
fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().map_err(|_| "a rate is a whole number above 0 for each second, as in 50/s".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_for_each_second() {
        assert_eq!(rate("50/s"), Ok(NonZeroU32::new(50).unwrap()));
        assert_eq!(rate("1"), Ok(NonZeroU32::MIN));
        for bad in ["", "0", "0/s", "-1/s", "5/m", "1.5/s", "/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
