//! What calls of the port take and answer.

use std::{fmt, time::Duration};

use super::{marks::Mark, schedule::Later};
use crate::{
    dead_letter::DEAD_ENTRIES_MAX,
    entry::{Entry, EntryId, Fields},
    message::UnixMillis,
    name::Name,
    topic::StreamKey,
};

/// One entry to be appended.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream.
    pub key: StreamKey,
    /// What the entry holds; at least one field.
    pub fields: Fields,
    /// Append only if the stream exists; else nothing happens and the answer has no id.
    pub only_if_exists: bool,
    /// Let the oldest entries go past about this many. For streams without groups whose entries nobody removes one by
    /// one, so not for dead letters: see [`DeadAppend`].
    pub entries_max: Option<u64>,
    /// A stream that must exist before this entry does: the inbox of a request.
    pub keep: Option<Keep>,
}

impl Append {
    /// Appends an entry to a stream, which is made if it does not exist.
    #[must_use]
    pub fn new(key: StreamKey, fields: Fields) -> Self {
        Self { key, fields, only_if_exists: false, entries_max: None, keep: None }
    }
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The entry's id; `None` when the stream did not exist and had to.
    pub id: Option<EntryId>,
    /// The connection that carried it, as [`Broker::epoch`](super::Broker::epoch) counts them.
    pub epoch: u64,
}

/// A stream to be made if it does not exist, and to go by itself when it is not kept again in time.
#[derive(Debug, Clone)]
pub struct Keep {
    /// The stream.
    pub key: StreamKey,
    /// When it goes, from now; the clock starts again each time that it is kept.
    pub ttl: Duration,
    /// Do nothing if the connection is still this one. A new connection may lead to a server that lost the stream.
    pub unless_epoch: Option<u64>,
}

/// Which entries of a stream are wanted.
#[derive(Debug, Clone)]
pub struct Range {
    /// The stream.
    pub key: StreamKey,
    /// The lowest id.
    pub from: EntryId,
    /// The highest id.
    pub to: EntryId,
    /// At most so many.
    pub count: usize,
    /// From the highest id down, instead of up from the lowest.
    pub newest_first: bool,
}

/// What one read found in one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRead {
    /// Which of the given cursors.
    pub index: usize,
    /// Its entries, in order; never none.
    pub entries: Vec<Entry>,
}

/// Up to where a stream is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrimTo {
    /// Entries below this id go.
    Before(EntryId),
    /// The oldest go until so many are left.
    Entries(u64),
    /// Entries go that every group has finished: below the oldest that is pending or unread in any group. A stream
    /// without groups keeps all.
    Finished,
}

/// What is known of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamInfo {
    /// How many entries it holds.
    pub len: u64,
    /// The oldest entry that it holds.
    pub first: Option<EntryId>,
    /// The highest id that it ever held, `0-0` for none.
    pub last: EntryId,
    /// How many entries were ever appended to it; `None` where the broker does not count them.
    pub appended: Option<u64>,
}

/// Some of the streams that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPage {
    /// Their keys, in no order.
    pub keys: Vec<StreamKey>,
    /// Where the next page starts; `None` after the last one.
    pub next: Option<u64>,
}

/// Where a new group starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStart {
    /// After this id; [`EntryId::ZERO`] for everything that the stream holds.
    After(EntryId),
    /// After the entry that is the last one now.
    End,
}

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: Name,
    /// How many members the broker knows of, the dead included.
    pub members: u64,
    /// How many entries are delivered and not settled.
    pub pending: u64,
    /// The last entry delivered to any member.
    pub last_delivered: EntryId,
    /// How many entries were not delivered yet; `None` where the broker cannot tell.
    pub lag: Option<u64>,
}

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its name; [`Membership::NOBODY`] for what was handed back.
    pub name: String,
    /// How many entries it holds.
    pub pending: u64,
    /// How long ago it last asked the broker for something.
    pub idle: Duration,
}

/// One member of one group on one stream.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The stream.
    pub key: StreamKey,
    /// The group.
    pub group: Name,
    /// The member; its name is never used again.
    pub member: Name,
}

impl Membership {
    /// The pseudo-member that holds what was handed back. It is no valid [`Name`], so no member can be called so.
    pub const NOBODY: &'static str = "-";

    /// A member with a name of its own.
    #[must_use]
    pub fn new(key: StreamKey, group: Name) -> Self {
        Self { key, group, member: Name::unique() }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.key, self.group, self.member)
    }
}

/// An entry handed to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The entry.
    pub entry: Entry,
    /// How often it was delivered, this time included. Renewal and hand-back do not count.
    pub count: u32,
}

/// How one delivery ends.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The delivery.
    pub id: EntryId,
    /// The answer to whoever asked; an inbox that does not exist swallows it.
    pub reply: Option<ReplyAppend>,
    /// What the handler sent out.
    pub emitted: Vec<Append>,
    /// The dead letter: original fields and all.
    pub dead: Option<DeadAppend>,
    /// The entry by which it goes on later.
    pub later: Option<Later>,
    /// What is remembered of it.
    pub mark: Option<Mark>,
}

impl Settlement {
    /// The delivery is acked and nothing else happens.
    #[must_use]
    pub fn done(id: EntryId) -> Self {
        Self { id, reply: None, emitted: Vec::new(), dead: None, later: None, mark: None }
    }
}

/// An entry for an inbox.
#[derive(Debug, Clone)]
pub struct ReplyAppend {
    /// The inbox. Nothing is appended when it does not exist.
    pub key: StreamKey,
    /// What the reply holds.
    pub fields: Fields,
}

/// An entry for a stream of dead letters, whose oldest entries are removed one by one past the bound.
#[derive(Debug, Clone)]
pub struct DeadAppend {
    /// The stream.
    pub key: StreamKey,
    /// What the dead letter holds; at least one field.
    pub fields: Fields,
    /// How many entries the stream keeps, this one included.
    pub entries_max: u64,
}

impl DeadAppend {
    /// Appends to a stream that keeps [`DEAD_ENTRIES_MAX`].
    #[must_use]
    pub fn new(key: StreamKey, fields: Fields) -> Self {
        Self { key, fields, entries_max: DEAD_ENTRIES_MAX }
    }
}

/// What became of a batch of settlements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettledBatch {
    /// The deliveries that were not the member's any more; of those nothing was done.
    pub lost: Vec<EntryId>,
    /// How many of the oldest dead letters were dropped to make room.
    pub dead_dropped: u64,
}

/// Whether settling looks at the owner first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The member renewed all of these less than half a lease ago, so that nobody can have taken them.
    Renewed,
    /// Look: the lease may have ended, or this batch may have been settled before.
    Check,
}

/// What is taken over from members that no longer renew.
#[derive(Debug, Clone)]
pub struct ReclaimFrom {
    /// The member that takes over.
    pub membership: Membership,
    /// Deliveries idle for at least so long are anybody's.
    pub lease: Duration,
    /// Where to go on, from the last answer; [`EntryId::ZERO`] at first.
    pub cursor: EntryId,
    /// At most so many.
    pub count: usize,
    /// Whether what was handed back comes first, wherever the cursor is, unless members died of it before. Without it all is
    /// in the order of the stream.
    pub handed_back_first: bool,
    /// Where deliveries go whose entry is gone.
    pub dead: StreamKey,
    /// How many dead letters are kept there; the oldest go.
    pub dead_entries_max: u64,
}

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// Deliveries that are the member's now.
    pub deliveries: Vec<Delivered>,
    /// Where the next call goes on; [`EntryId::ZERO`] when the whole list was seen.
    pub cursor: EntryId,
    /// Deliveries whose entry was gone, and which are dead letters now.
    pub trimmed: Vec<EntryId>,
    /// How many of the oldest dead letters were dropped to make room.
    pub dead_dropped: u64,
}

/// Which pending entries are wanted.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The stream.
    pub key: StreamKey,
    /// The group.
    pub group: Name,
    /// Of this member only.
    pub member: Option<Name>,
    /// The lowest id.
    pub from: EntryId,
    /// At most so many.
    pub count: usize,
}

/// An entry that was delivered and not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEntry {
    /// The entry.
    pub id: EntryId,
    /// Who holds it; [`Membership::NOBODY`] when it was handed back.
    pub member: String,
    /// Since when nobody delivered or renewed it.
    pub idle: Duration,
    /// How often it was delivered.
    pub count: u32,
}

/// Whether a broker is reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// The last that was heard of it was good. Right after a loss, while the first attempt to get back is under way,
    /// this still holds: calls wait for that attempt.
    Up,
    /// It could not be reached at this time, of this machine's clock; calls fail at once until it is back.
    Down {
        /// When it was lost.
        since: UnixMillis,
    },
}

impl Health {
    /// Whether calls are worth a try.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up)
    }
}
