//! Dead letters: messages that failed for good, with cause and attempts.

mod bulk;
mod store;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    bulk::{Checked, Dropped, Order, Replayed, Selection},
    store::{Dead, DeadLetters, DeadPage, Filter, ReplayError},
};
use crate::{
    entry::{EntryId, Fields},
    message::UnixMillis,
    name::Name,
};

/// The field that a dead letter adds to the original ones.
pub const FIELD: &str = "d";

/// Most entries that a topic's stream of dead letters keeps; past it the oldest go.
pub const DEAD_ENTRIES_MAX: u64 = 100_000;

/// Longest error text that a dead letter keeps, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// Why a message is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The entry is not a message.
    Malformed,
    /// No handler takes its event type.
    NoHandler,
    /// The handler failed.
    Failed,
    /// The handler panicked.
    Panicked,
    /// An extractor refused the message, and nobody waits for an answer that says so.
    Rejected,
    /// Too many members died while they held it.
    Abandoned,
    /// The entry was gone from the stream before it was handled.
    Trimmed,
}

impl Reason {
    /// Every reason that there is.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::NoHandler,
        Self::Failed,
        Self::Panicked,
        Self::Rejected,
        Self::Abandoned,
        Self::Trimmed,
    ];

    /// The word that stands for this reason on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoHandler => "no-handler",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
            Self::Trimmed => "trimmed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a dead letter says of its message, as JSON in the field `d`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why.
    pub reason: Reason,
    /// What went wrong, for a person to read; at most 4 KiB.
    pub error: String,
    /// The group whose member gave up.
    pub group: Name,
    /// The member that gave up.
    pub member: Name,
    /// How often a handler ran.
    pub attempts: u32,
    /// When, in Unix milliseconds of the broker's clock.
    pub at: u64,
    /// The id of the original entry.
    pub entry: EntryId,
}

impl DeadLetter {
    /// A dead letter for an entry, at this time.
    #[must_use]
    pub fn new(reason: Reason, error: impl Into<String>, group: Name, member: Name, entry: EntryId) -> Self {
        let mut error = error.into();
        error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
        Self { reason, error, group, member, attempts: 0, at: 0, entry }
    }

    /// The same letter after this many runs of a handler.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The same letter, written at this time.
    #[must_use]
    pub fn at(mut self, at: UnixMillis) -> Self {
        self.at = at.0;
        self
    }

    /// The fields of the dead letter: the original ones, byte for byte, and `d` at the end.
    ///
    /// An original that has a field `d` keeps it: the dead letter's own is always the last.
    #[must_use]
    pub fn fields(&self, original: &Fields) -> Fields {
        let mut fields = original.clone();
        // Texts and numbers always have a JSON form.
        fields.push(FIELD, serde_json::to_vec(self).unwrap_or_default());
        fields
    }

    /// What the fields of a dead letter say, and the original fields.
    #[must_use]
    pub fn split(fields: &Fields) -> Option<(Self, Fields)> {
        let mut all: Vec<_> = fields.iter().cloned().collect();
        let (name, value) = all.pop()?;
        if name != FIELD {
            return None;
        }
        Some((serde_json::from_slice(&value).ok()?, Fields::from(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_keeps_the_original_fields_and_reads_back() {
        let mut original = Fields::default();
        original.push(vec![0xff], vec![0, 1]);
        original.push("d", "mine");
        let name = Name::new("g").unwrap();
        let letter = DeadLetter::new(Reason::NoHandler, "x".repeat(9000), name.clone(), name, EntryId::new(1, 2))
            .at(UnixMillis(5));
        assert_eq!(letter.error.len(), 4096);
        let fields = letter.fields(&original);
        let json = String::from_utf8(fields.iter().last().unwrap().1.to_vec()).unwrap();
        assert!(json.contains(r#""reason":"no-handler""#) && json.contains(r#""entry":"1-2""#), "{json}");
        assert_eq!(DeadLetter::split(&fields), Some((letter, original)));
    }
}
