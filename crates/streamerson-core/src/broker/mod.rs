//! The broker port: everything that streamerson asks of the place where streams live.
//!
//! Two adapters implement it, [`memory`] here and Redis in `streamerson-redis`, and one conformance suite holds both to
//! what is written below. The port speaks of streams, entries and groups only. What entries mean is decided above it,
//! in [`crate::wire`]; so what the conformance suite proves of one broker holds for messages on every broker.
//!
//! # Waiting
//!
//! No call waits for ever. A blocking read ends after its `block`; every other call ends after the adapter's own bound
//! on an answer, with an error. Except for [`GroupReader::read`], each future may be dropped at any time: the command
//! may then have been carried out or not, as after [`BrokerError::Interrupted`].
//!
//! A `block` of zero means not to wait.
//!
//! # Groups that are gone
//!
//! What names a group, except for making and dropping it, answers [`BrokerError::NoGroup`] when the group or its stream
//! does not exist. [`Broker::settle`] may instead answer that everything is lost, which is as true.

mod error;
mod marks;
pub mod memory;
mod schedule;
mod types;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub use self::{
    error::BrokerError,
    marks::{Charge, Extension, LeaseRequest, LeaseState, Mark, REGISTRY_NAMES_MAX, Reserved},
    schedule::{Due, Later, Replay, ScheduleCursor, Scheduled, ScheduledPage, ScheduledRange, check_movable},
    types::{
        Append, Appended, DeadAppend, Delivered, Fence, GroupInfo, GroupStart, Health, Keep, MemberInfo, Membership,
        Pending, PendingEntry, Range, ReclaimFrom, Reclaimed, ReplyAppend, SettledBatch, Settlement, StreamInfo,
        StreamPage, StreamRead, TrimTo,
    },
};
use crate::{
    entry::{Entry, EntryId},
    keys::{MarkKey, OwnerKey, RegistryKey, Schedule},
    message::{Message, UnixMillis},
    name::{Name, ScheduleId},
    produce,
    publisher::Publisher,
    subscription::{Cursor, Subscription},
    topic::StreamKey,
    wire::Wire,
};

/// A broker, shared by all that use it.
pub type SharedBroker = Arc<dyn Broker>;

/// The place where streams live. See the [module](self) for what holds of every call.
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Appends each entry of a batch, in order for each stream. One that fails, for want of fields say, does not stop the
    /// others.
    ///
    /// Answers one result for each, in order: [`BrokerError::Unavailable`] when nothing was sent,
    /// [`BrokerError::Interrupted`] when the entry may have been appended, and what the broker said otherwise.
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, BrokerError>>>;

    /// A reader of any number of streams, with its own connection where there are connections.
    fn reader(&self) -> Box<dyn Reader>;

    /// The entries of one stream between two ids, both included. A stream that does not exist is empty.
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Vec<Entry>, BrokerError>>;

    /// Removes entries from the old end of a stream; answers how many, where the broker says so.
    ///
    /// A broker may keep a little more than asked where that is cheaper, never less. Not for streams of dead letters, see
    /// [`Broker::drop_entries`].
    fn trim(&self, key: &StreamKey, to: TrimTo) -> BoxFuture<'_, Result<u64, BrokerError>>;

    /// Makes streams that do not exist, empty, and sets when each goes by itself. The life of an inbox.
    fn keep(&self, streams: Vec<Keep>) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Removes streams with all they hold. One that does not exist is no error.
    fn remove(&self, keys: Vec<StreamKey>) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// What is known of a stream; `None` when there is no such stream.
    fn stream_info(&self, key: &StreamKey) -> BoxFuture<'_, Result<Option<StreamInfo>, BrokerError>>;

    /// The streams of all topics a page at a time, from 0 on: those that [`StreamKey::topic`] knows, without inboxes. For
    /// people who look around, since a broker may have to walk all its keys for it.
    ///
    /// A page may hold nothing and not be the last. All pages together name every stream that was there from the first
    /// to the last, some perhaps twice; one that came or went meanwhile may be among them.
    fn streams(&self, page: u64) -> BoxFuture<'_, Result<StreamPage, BrokerError>>;

    /// Makes a group, and the stream if it does not exist. Answers whether the group is new; one that exists stays as
    /// it is.
    fn create_group(
        &self,
        key: &StreamKey,
        group: &Name,
        start: GroupStart,
    ) -> BoxFuture<'_, Result<bool, BrokerError>>;

    /// Removes a group with its pending list. Answers whether it existed.
    fn drop_group(&self, key: &StreamKey, group: &Name) -> BoxFuture<'_, Result<bool, BrokerError>>;

    /// The groups of a stream; none when the stream does not exist.
    fn groups(&self, key: &StreamKey) -> BoxFuture<'_, Result<Vec<GroupInfo>, BrokerError>>;

    /// The members of a group, [`Membership::NOBODY`] included where it holds something.
    fn members(&self, key: &StreamKey, group: &Name) -> BoxFuture<'_, Result<Vec<MemberInfo>, BrokerError>>;

    /// Entries that were delivered and not settled, in order of their ids.
    fn pending(&self, pending: Pending) -> BoxFuture<'_, Result<Vec<PendingEntry>, BrokerError>>;

    /// A reader of new deliveries for one member, with its own connection where there are connections.
    fn group_reader(&self, membership: &Membership) -> Box<dyn GroupReader>;

    /// Ends deliveries: for each, in one step, the reply and the emitted entries are appended, the dead letter is
    /// appended, the entry for later is scheduled, the mark is set and the entry is acked. Answers the ids that were not
    /// the member's any more; of those nothing was done.
    ///
    /// With [`Fence::Renewed`] the adapter may skip the look at the owner, and then answers no lost ids. A batch with a
    /// dead letter or an entry for later is always fenced. Emitted entries that can't share the step are appended before
    /// it.
    ///
    /// An append that fails leaves its own delivery pending, and so does a schedule that is full; the rest of the batch
    /// is settled, and the answer is the error. A reply is different: nobody may be there to hear it, so one whose inbox is gone, or is no stream, counts
    /// as sent.
    ///
    /// After [`BrokerError::Interrupted`] the same batch may be sent again with [`Fence::Check`]: what was done the
    /// first time counts as lost the second time.
    fn settle<'a>(
        &'a self,
        membership: &'a Membership,
        batch: &'a [Settlement],
        fence: Fence,
    ) -> BoxFuture<'a, Result<SettledBatch, BrokerError>>;

    /// Says that the member still lives and still holds these: their idle time starts again. Delivery counts stay.
    /// Answers the ids that were not the member's any more. Without ids it is the sign of life alone.
    fn renew(&self, membership: &Membership, ids: Vec<EntryId>) -> BoxFuture<'_, Result<Vec<EntryId>, BrokerError>>;

    /// Takes over deliveries that nobody renewed for a lease; their delivery counts rise by one. Deliveries whose entry
    /// is gone from the stream are dead-lettered as `trimmed`, in the same step, and not answered.
    ///
    /// The member's own deliveries are among them if it did not renew them: it may still be handling those. A lease of
    /// zero takes everything.
    fn reclaim(&self, from: ReclaimFrom) -> BoxFuture<'_, Result<Reclaimed, BrokerError>>;

    /// Gives up deliveries that never started: they go to [`Membership::NOBODY`] with an idle time above any lease, so
    /// that the next reclaim of any member takes them, with the delivery count that they have now: that reclaim does not
    /// raise it. Ids that are not the member's any more are skipped.
    fn hand_back(&self, membership: &Membership, ids: Vec<EntryId>) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Takes the member off the group's list if nothing is pending on it, in one step. Answers whether it is off.
    fn leave(&self, membership: &Membership) -> BoxFuture<'_, Result<bool, BrokerError>>;

    /// Lets entries wait for their time. Each is there whole or not at all, and takes the place of one with the same id.
    ///
    /// Answers one result for each, in order: [`BrokerError::Full`] for one that is new when the schedule holds as many
    /// as it may, and as [`check_movable`] for fields that it can't hold. After [`BrokerError::Interrupted`] the same
    /// call may be made again.
    fn schedule(&self, schedule: &Schedule, entries: Vec<Scheduled>) -> BoxFuture<'_, Vec<Result<(), BrokerError>>>;

    /// Moves entries that are due into the stream, by time and then by id, at most `count` and never more than
    /// [`ScheduledRange::COUNT_MAX`]; a broker may stop earlier where they are large. Each goes in one step, so it comes
    /// once whoever else calls this at the same time, and after [`BrokerError::Interrupted`] too.
    ///
    /// What no entry can be made of is removed and answered. An error stops the move where it is: what was moved before
    /// is answered, and the error comes with the next call.
    fn move_due(&self, schedule: &Schedule, count: usize) -> BoxFuture<'_, Result<Due, BrokerError>>;

    /// Entries that wait, by time and then by id, a page at a time. One that is scheduled meanwhile may be among them or
    /// not; each of the others is there once.
    fn scheduled(&self, range: ScheduledRange) -> BoxFuture<'_, Result<ScheduledPage, BrokerError>>;

    /// Removes entries that wait. Answers which of them were there, in order.
    fn cancel_scheduled(
        &self,
        schedule: &Schedule,
        ids: Vec<ScheduleId>,
    ) -> BoxFuture<'_, Result<Vec<ScheduleId>, BrokerError>>;

    /// Moves a dead letter back into a stream, in one step. Answers the id that it has there, and `None` when the dead
    /// letter was gone: somebody else replayed or dropped it.
    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<Option<EntryId>, BrokerError>>;

    /// Removes single entries. Answers how many were there. For streams of dead letters: a stream that is
    /// [trimmed](Broker::trim) must not be treated so too.
    fn drop_entries(&self, key: &StreamKey, ids: Vec<EntryId>) -> BoxFuture<'_, Result<u64, BrokerError>>;

    /// Sets marks, each in the place of one with its key, in order: a mark is there before the next one is set. All of one
    /// topic. The error is that of the first mark that was refused; the others may have been set.
    fn mark(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Sets each mark unless there is one with its key: answers the value of that one then, and `None` when the mark was
    /// set. In order, one after the other, and all of one topic: between two of them another caller may set the second.
    /// Of many callers that set one key at the same time one gets `None`. After [`BrokerError::Interrupted`] a mark that is
    /// found may be the caller's own, so its value should name the caller.
    fn mark_if_absent(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, BrokerError>>;

    /// The values of marks, in order; `None` for those that are not there. All of one topic.
    fn recall(&self, keys: Vec<MarkKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, BrokerError>>;

    /// Has a mark that would go within `least` stay for `ttl` from now. Its value is not touched, also where this is carried
    /// out late. Once it is [`Extension::Unneeded`] or [`Extension::Extended`], the mark stays for `least` from the call.
    fn extend_mark(
        &self,
        key: &MarkKey,
        least: Duration,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Extension, BrokerError>>;

    /// Adds bytes to a meter, for a while, and answers the sum of all that were added to it and are not over, and of those
    /// that other holders have reserved. Without bytes and a reservation it is the question alone. After
    /// [`BrokerError::Interrupted`] the bytes may have been added.
    ///
    /// Bytes are taken off a little late: by up to a sixteenth of their time, rounded up to a power of two.
    fn charge(&self, charge: Charge) -> BoxFuture<'_, Result<u64, BrokerError>>;

    /// Takes a named lease if nobody holds it, and renews it if the one who asks does. Answers where it stands, whoever
    /// holds it. A holder that comes too late finds its lease again, with the same epoch, if nobody else had it meanwhile.
    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseState, BrokerError>>;

    /// Ends a named lease before its time. Answers whether it was the holder's.
    fn release_lease(&self, key: &OwnerKey, holder: &Name) -> BoxFuture<'_, Result<bool, BrokerError>>;

    /// Says that somebody lives, for as long as `ttl`. Answers the names of all who do, in order.
    /// [`BrokerError::Full`] for a new one when there are [`REGISTRY_NAMES_MAX`].
    fn register(&self, key: &RegistryKey, name: &Name, ttl: Duration) -> BoxFuture<'_, Result<Vec<Name>, BrokerError>>;

    /// Takes a name off a registry before its time. One that is not there is no error.
    fn unregister(&self, key: &RegistryKey, name: &Name) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// The broker's clock, as this process last knew its offset. Does not wait.
    fn now(&self) -> UnixMillis;

    /// Which connection appends use now: a number that rises when there is a new one, so that what an earlier one had
    /// confirmed may have to be confirmed again.
    fn epoch(&self) -> u64;

    /// Whether the broker is reachable, as far as this process knows, and when that changes.
    fn health(&self) -> watch::Receiver<Health>;
}

impl dyn Broker {
    /// Every entry of a stream, from a cursor on; more streams can be added. Must be called within a Tokio runtime.
    pub fn subscribe(self: &Arc<Self>, key: StreamKey, from: Cursor) -> Subscription {
        Subscription::new(Arc::clone(self)).and(key, from)
    }

    /// Appends one message to a stream, once, although connections may break meanwhile. For many, a
    /// [`publisher`](#method.publisher) does so in batches.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker did not take it, at once while it is known to be away.
    pub async fn publish(&self, key: StreamKey, message: &Message) -> Result<EntryId, BrokerError> {
        let append = produce::append_of(Wire::default(), key, message)?;
        Ok(produce::append_once(self, &message.id, append).await?.entry)
    }

    /// A sink of messages for a stream. Must be called within a Tokio runtime.
    pub fn publisher(self: &Arc<Self>, key: StreamKey) -> Publisher {
        Publisher::new(Arc::clone(self), key)
    }
}

/// Reads any number of streams, waiting for entries after the position in each.
pub trait Reader: fmt::Debug + Send {
    /// Entries with ids above the given one in each stream, at most `count` for each stream, in order. Waits up to
    /// `block` for the first when there is none; then, or when woken, the answer is empty. A stream that does not exist
    /// is waited for like an empty one. Each answer names the index of its stream in `cursors`.
    fn read<'a>(
        &'a mut self,
        cursors: &'a [(StreamKey, EntryId)],
        count: usize,
        block: Duration,
    ) -> BoxFuture<'a, Result<Vec<StreamRead>, BrokerError>>;

    /// Ends the read that waits now, or the next one if none does.
    fn waker(&self) -> ReadWaker;
}

/// Ends the wait of a [`Reader`], so that it can be called again with other streams, or of a [`GroupReader`].
#[derive(Clone)]
pub struct ReadWaker(Arc<dyn Fn() + Send + Sync>);

impl ReadWaker {
    /// A waker that calls `wake`, which must not block.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Wakes the reader. Waking it twice before it looks is the same as once.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for ReadWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadWaker")
    }
}

/// Reads new deliveries for one member of a group.
pub trait GroupReader: fmt::Debug + Send {
    /// Up to `count` entries that no member has had yet, which are this member's from now on. Waits up to `block` for
    /// the first, then answers none.
    ///
    /// Not cancel-safe: dropping the future may strand deliveries with this member until their lease ends. One task
    /// owns the reader, awaits each read to its end, and never puts it in a `select!`.
    ///
    /// [`BrokerError::NoGroup`] when the group or the stream is gone; making it again is the caller's part.
    fn read(&mut self, count: usize, block: Duration) -> BoxFuture<'_, Result<Vec<Delivered>, BrokerError>>;

    /// Ends the wait of the read that is under way, and of the next, so that a member stops promptly. A courtesy: where
    /// the broker has no way to do it, the read lasts for its `block`. What it has taken by then is answered as ever.
    fn waker(&self) -> ReadWaker;
}
