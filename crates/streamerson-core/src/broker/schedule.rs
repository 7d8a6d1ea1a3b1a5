//! Entries for later, and dead letters that are tried again: what these calls take and answer.

use bytes::Bytes;

use super::BrokerError;
use crate::{
    entry::{EntryId, Fields},
    keys::Schedule,
    message::UnixMillis,
    name::ScheduleId,
    topic::StreamKey,
};

/// One entry that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// Names it within its schedule. An entry with the same id takes its place, time and fields.
    pub id: ScheduleId,
    /// When it is due, in the broker's clock; after [`Scheduled::AT_MAX`] counts as then.
    pub at: UnixMillis,
    /// What the entry will hold.
    pub fields: Fields,
}

impl Scheduled {
    /// The latest time that every broker can tell from the millisecond before it: some 285,000 years from now.
    pub const AT_MAX: UnixMillis = UnixMillis((1 << 53) - 1);
    /// The most fields that an entry may have which is moved by a script: scheduled, or replayed.
    pub const FIELDS_MAX: usize = 1000;
}

/// A delivery that goes on later: how a retry is scheduled in one step with its ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Where it waits.
    pub schedule: Schedule,
    /// The entry that comes back.
    pub scheduled: Scheduled,
}

/// What became of the entries that were due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// How many went into the stream.
    pub moved: usize,
    /// The ids of those that no entry could be made of, since something else wrote them. They are removed.
    pub broken: Vec<String>,
    /// When the next one is due. In the past when there is more to move at once.
    pub next: Option<UnixMillis>,
    /// The broker's time when it looked.
    pub now: UnixMillis,
}

/// Which waiting entries are wanted.
#[derive(Debug, Clone)]
pub struct ScheduledRange {
    /// The schedule.
    pub schedule: Schedule,
    /// Where to go on, from the last answer; none at first.
    pub after: Option<ScheduleCursor>,
    /// At most so many, and never more than [`ScheduledRange::COUNT_MAX`].
    pub count: usize,
}

impl ScheduledRange {
    /// The most entries of one page.
    pub const COUNT_MAX: usize = 1000;
}

/// A place in a schedule: everything up to it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleCursor {
    /// When the last entry that was seen is due, as the broker writes it.
    pub at: Bytes,
    /// Its id, as it is stored.
    pub id: Bytes,
}

/// Some of the entries that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScheduledPage {
    /// They, by time and then by id. Those that something else wrote, and that no entry can be made of, are left out.
    pub entries: Vec<Scheduled>,
    /// Where the next page starts; `None` after the last one.
    pub next: Option<ScheduleCursor>,
}

/// A dead letter that goes back into a stream.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The stream of dead letters.
    pub dead: StreamKey,
    /// The dead letter, which is removed.
    pub id: EntryId,
    /// The stream that it goes into; of the same topic.
    pub into: StreamKey,
    /// What its entry holds there.
    pub fields: Fields,
}

/// Whether a script can move an entry with these fields.
///
/// # Errors
///
/// [`BrokerError::Refused`] when there is none, or more than [`Scheduled::FIELDS_MAX`].
pub fn check_movable(fields: &Fields) -> Result<(), BrokerError> {
    let message = match fields.len() {
        0 => "an entry needs a field".to_owned(),
        len if len > Scheduled::FIELDS_MAX => {
            format!(
                "an entry that is scheduled or replayed has at most {} fields, and not {len}",
                Scheduled::FIELDS_MAX
            )
        }
        _ => return Ok(()),
    };
    Err(BrokerError::Refused { code: "ERR".into(), message: message.into() })
}
