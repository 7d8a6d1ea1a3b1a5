//! `streamerson dead`: messages that failed for good.

mod by_error;
mod drop;
mod list;
mod replay;
mod show;
mod which;

use clap::{Args, Subcommand};
use streamerson::core::{EntryId, Topic};

use self::{drop::Drop, list::List, replay::Replay, show::Show};
use crate::{
    args::{self, Common},
    failure::Failure,
};

/// See to the dead letters of a topic: messages that failed for good, with cause and attempts.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Dead {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Replay(Replay),
    Drop(Drop),
}

const HELP: &str = "\
Examples:
  streamerson dead list orders --by-error
  streamerson dead list orders --reason failed --younger-than 1h
  streamerson dead show orders 1700000000000-0
  streamerson dead replay orders --reason failed --rate 50/s
  streamerson dead drop orders --older-than 30d

`streamerson tail TOPIC --stream dead` shows them as they come.";

impl Dead {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run(common).await,
            Action::Show(show) => show.run(common).await,
            Action::Replay(replay) => replay.run(common).await,
            Action::Drop(drop) => drop.run(common).await,
        }
    }
}

/// Fails where ids were named that are not there.
fn all_there(topic: &Topic, missing: &[EntryId]) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.iter().map(EntryId::to_string).collect();
    Err(Failure::failed(format!("{} has no {}", topic.dead(), missing.join(", ")))
        .hint(format!("`streamerson dead list {}` names those that it has", args::named(topic))))
}
