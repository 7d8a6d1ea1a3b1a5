//! Which dead letters a command is about.

use std::time::Duration;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use streamerson::core::{
    EntryId, EventType, Name,
    dead_letter::{Filter, Reason, Selection},
};

use crate::{duration, failure::Failure};

/// Those for which all that is given holds.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which of them")]
pub(super) struct FilterArgs {
    /// With this reason only
    #[arg(long, value_parser = reason())]
    reason: Option<Reason>,

    /// Of this event type only
    #[arg(long, value_name = "TYPE")]
    event: Option<EventType>,

    /// Those that this group gave up on
    #[arg(long, value_name = "NAME")]
    group: Option<Name>,

    /// Dead for at least so long: 15m, 2h, 1d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    older_than: Option<Duration>,

    /// Dead for at most so long
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    younger_than: Option<Duration>,

    /// Whose error says this somewhere, in small letters or capitals
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

impl FilterArgs {
    pub(super) fn filter(self) -> Filter {
        let Self { reason, event, group, older_than, younger_than, error } = self;
        let mut filter = Filter::default();
        filter.reason = reason;
        filter.event = event;
        filter.group = group;
        filter.older_than = older_than;
        filter.younger_than = younger_than;
        filter.error = error;
        filter
    }
}

/// Those that are named, all, or those that a filter wants. Never all because nothing was said.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The dead letters, as `streamerson dead list` names them
    #[arg(value_name = "ID")]
    ids: Vec<EntryId>,

    /// All of them, or all that the options below want
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

impl Which {
    /// Whether the user asked for everything that there is.
    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    pub(super) fn selection(self) -> Result<Selection, Failure> {
        let filter = self.filter.filter();
        let is_filtered = filter != Filter::default();
        match (self.ids.is_empty(), self.all || is_filtered) {
            (false, false) => Ok(Selection::Ids(self.ids)),
            (true, true) => Ok(filter.into()),
            (false, true) => Err(Failure::misused("ids cannot be used with --all or with a filter")
                .hint("name dead letters by their ids, or by what they say, not both")),
            (true, false) => Err(Failure::misused("which dead letters?")
                .hint("name their ids, a filter such as --reason failed, or --all")),
        }
    }
}

/// Reads a reason, and lists all in the help.
fn reason() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
        .try_map(|word| Reason::ALL.into_iter().find(|reason| reason.as_str() == word).ok_or("it is no reason"))
}
