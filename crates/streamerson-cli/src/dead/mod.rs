//! `streamerson dead`: messages that failed for good.

mod list;
mod show;

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use streamerson::core::dead_letter::Reason;

use self::{list::List, show::Show};
use crate::{args::Common, failure::Failure};

/// Look at the dead letters of a topic: messages that failed for good, with cause and attempts.
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
}

const HELP: &str = "\
Examples:
  streamerson dead list orders
  streamerson dead list orders --reason failed --count 100
  streamerson dead show orders 1700000000000-0

`streamerson tail TOPIC --stream dead` shows them as they come.";

/// Every reason that there is.
const REASONS: [Reason; 7] = [
    Reason::Malformed,
    Reason::NoHandler,
    Reason::Failed,
    Reason::Panicked,
    Reason::Rejected,
    Reason::Abandoned,
    Reason::Trimmed,
];

/// Reads one of the [`REASONS`], and lists them in the help.
fn reason() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(REASONS.map(Reason::as_str))
        .try_map(|word| REASONS.into_iter().find(|reason| reason.as_str() == word).ok_or("it is no reason"))
}

impl Dead {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run(common).await,
            Action::Show(show) => show.run(common).await,
        }
    }
}
