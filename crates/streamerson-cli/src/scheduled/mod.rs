//! `streamerson scheduled`: events that wait for their time.

mod cancel;
mod list;

use clap::{Args, Subcommand};

use self::{cancel::Cancel, list::List};
use crate::{args::Common, failure::Failure};

/// See to what waits for its time on a topic: events for later, and attempts that a group makes later.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Scheduled {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Cancel(Cancel),
}

const HELP: &str = "\
Examples:
  streamerson emit orders order.remind '{\"id\":7}' --after 10m
  streamerson scheduled list orders
  streamerson scheduled cancel orders 01JD3N8Q7ZB6M4K2W5XH0V9TGC

Members of the topic's groups move what is due; while there is none, it goes on waiting.";

impl Scheduled {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run(common).await,
            Action::Cancel(cancel) => cancel.run(common).await,
        }
    }
}
