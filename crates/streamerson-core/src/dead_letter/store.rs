//! The dead letters of a topic: found, tried again, dropped.

use std::{collections::HashSet, time::Duration};

use super::{DeadLetter, Reason};
use crate::{
    broker::{BrokerError, Range, Replay, SharedBroker},
    entry::{Entry, EntryId, Fields},
    headers::Headers,
    message::{Message, UnixMillis},
    name::{EventType, Name},
    topic::Topic,
    wire::Wire,
};

/// Dead letters that one page holds, at most.
const PAGE_MAX: usize = 500;

/// The dead letters of a topic.
///
/// ```
/// use streamerson_core::{Topic, broker::memory::Memory, dead_letter::{DeadLetters, Filter, Reason}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dead = DeadLetters::new(Memory::new(), Topic::new("orders")?);
/// let mut failed = Filter::default();
/// failed.reason = Some(Reason::Failed);
/// let mut page = dead.first_page(&failed).await?;
/// loop {
///     for letter in &page.letters {
///         dead.replay(letter).await?;
///     }
///     let Some(next) = page.next else { break };
///     page = dead.page(&failed, next).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters {
    pub(super) broker: SharedBroker,
    pub(super) topic: Topic,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Dead {
    /// Its own id, by which it is replayed and dropped.
    pub id: EntryId,
    /// What it says; `None` for an entry that something else wrote.
    pub letter: Option<DeadLetter>,
    /// The original fields.
    pub original: Fields,
    /// The original message, where the fields are one.
    pub message: Option<Message>,
}

/// Which of them are wanted: those for which all that is given holds.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Filter {
    /// Why they are dead.
    pub reason: Option<Reason>,
    /// Their event type.
    pub event: Option<EventType>,
    /// The group that gave up.
    pub group: Option<Name>,
    /// Dead for at least so long.
    pub older_than: Option<Duration>,
    /// Dead for at most so long.
    pub younger_than: Option<Duration>,
    /// Their error says this somewhere, in any case of letters.
    pub error: Option<String>,
}

impl Filter {
    /// Whether a dead letter is wanted, at this time of the broker's clock.
    #[must_use]
    pub fn wants(&self, dead: &Dead, now: UnixMillis) -> bool {
        let letter = dead.letter.as_ref();
        let holds = |wanted: bool, is: Option<bool>| !wanted || is == Some(true);
        let age = letter.map(|letter| now.since(UnixMillis(letter.at)));
        let error = self.error.as_ref().map(|error| error.to_lowercase());
        holds(self.reason.is_some(), letter.map(|letter| Some(letter.reason) == self.reason))
            && holds(
                self.event.is_some(),
                dead.message.as_ref().map(|message| Some(&message.event) == self.event.as_ref()),
            )
            && holds(self.group.is_some(), letter.map(|letter| Some(&letter.group) == self.group.as_ref()))
            && self.older_than.is_none_or(|least| age.is_some_and(|age| age >= least))
            && self.younger_than.is_none_or(|most| age.is_some_and(|age| age <= most))
            && error.is_none_or(|error| letter.is_some_and(|letter| letter.error.to_lowercase().contains(&error)))
    }
}

/// Some of them.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadPage {
    /// They, oldest first. Few or none are no sign of the end: others may not have been wanted.
    pub letters: Vec<Dead>,
    /// Where the next page starts; `None` after the last one.
    pub next: Option<EntryId>,
}

/// Why a dead letter was not replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Nobody knows which group gave up on it, and a replay is for that group alone.
    #[error("{0} is no dead letter of this project's, so nobody knows which group gave up on it")]
    NoLetter(EntryId),
    /// No such group reads the topic now. The other groups would pass it by, and it would be trimmed behind them.
    #[error("{id} is for the group {group}, which does not read the topic now; start its workers first")]
    NoGroup {
        /// The dead letter.
        id: EntryId,
        /// The group that gave up on it.
        group: Name,
    },
    /// It is no message, so it would only come back.
    #[error("{0} is no message, so it would come back as malformed; drop it")]
    Malformed(EntryId),
    /// It does not fit into an entry with what a replay adds.
    #[error("{0} cannot be replayed")]
    TooLarge(EntryId, #[source] crate::wire::TooLarge),
    /// The broker did not do it. After [`BrokerError::Interrupted`] it may have; then the dead letter is gone.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl DeadLetters {
    /// Those of a topic.
    pub fn new(broker: impl Into<SharedBroker>, topic: Topic) -> Self {
        Self { broker: broker.into(), topic }
    }

    /// The oldest ones.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be asked.
    pub async fn first_page(&self, filter: &Filter) -> Result<DeadPage, BrokerError> {
        self.page(filter, EntryId::ZERO).await
    }

    /// Those from an id on.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be asked.
    pub async fn page(&self, filter: &Filter, from: EntryId) -> Result<DeadPage, BrokerError> {
        let range = Range { key: self.topic.dead(), from, to: EntryId::MAX, count: PAGE_MAX, newest_first: false };
        let entries = self.broker.range(range).await?;
        let next = entries.last().filter(|_| entries.len() == PAGE_MAX).map(|last| last.id.next());
        let now = self.broker.now();
        let letters =
            entries.into_iter().map(|entry| self.dead(entry)).filter(|dead| filter.wants(dead, now)).collect();
        Ok(DeadPage { letters, next })
    }

    /// The one with this id, if it is there.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be asked.
    pub async fn get(&self, id: EntryId) -> Result<Option<Dead>, BrokerError> {
        let range = Range { key: self.topic.dead(), from: id, to: id, count: 1, newest_first: false };
        Ok(self.broker.range(range).await?.pop().map(|entry| self.dead(entry)))
    }

    /// How many there are.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be asked.
    pub async fn count(&self) -> Result<u64, BrokerError> {
        Ok(self.broker.stream_info(&self.topic.dead()).await?.map_or(0, |info| info.len))
    }

    /// Sends it to its topic once more, for the group that gave up on it alone, and removes it, in one step. Answers the id
    /// of the new entry; `None` when it was gone, since somebody else replayed or dropped it.
    ///
    /// The message keeps its id and says in the header `replayed` which dead letter it was. It starts with no failed
    /// attempts, no deadline and no inbox: whoever asked has long since got an error.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when it cannot be, or the broker did not do it.
    pub async fn replay(&self, dead: &Dead) -> Result<Option<EntryId>, ReplayError> {
        let fields = self.fields_of_replay(dead)?;
        self.check_group(dead, &self.groups().await?)?;
        self.replay_with(dead, fields).await
    }

    /// The groups that read the topic now.
    pub(super) async fn groups(&self) -> Result<HashSet<Name>, BrokerError> {
        let groups = self.broker.groups(&self.topic.inbound()).await?;
        Ok(groups.into_iter().map(|group| group.name).collect())
    }

    /// Whether the group that a dead letter is for is one of these.
    pub(super) fn check_group(&self, dead: &Dead, groups: &HashSet<Name>) -> Result<(), ReplayError> {
        match dead.letter.as_ref().map(|letter| &letter.group) {
            Some(group) if !groups.contains(group) => Err(ReplayError::NoGroup { id: dead.id, group: group.clone() }),
            _ => Ok(()),
        }
    }

    pub(super) async fn replay_with(&self, dead: &Dead, fields: Fields) -> Result<Option<EntryId>, ReplayError> {
        let replay = Replay { dead: self.topic.dead(), id: dead.id, into: self.topic.inbound(), fields };
        Ok(self.broker.replay(replay).await?)
    }

    pub(super) fn fields_of_replay(&self, dead: &Dead) -> Result<Fields, ReplayError> {
        let letter = dead.letter.as_ref().ok_or(ReplayError::NoLetter(dead.id))?;
        let message = dead.message.clone().ok_or(ReplayError::Malformed(dead.id))?;
        let mut message = message
            .with_header(Headers::ONLY_GROUP, letter.group.as_str())
            .with_header(Headers::REPLAYED, dead.id.to_string());
        message.headers.remove(Headers::ATTEMPT);
        (message.inbox, message.deadline) = (None, None);
        self.wire().encode_for(&self.topic, &message).map_err(|error| ReplayError::TooLarge(dead.id, error))
    }

    /// Removes them for good. Answers how many were there.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker did not do it.
    pub async fn drop(&self, ids: Vec<EntryId>) -> Result<u64, BrokerError> {
        self.broker.drop_entries(&self.topic.dead(), ids).await
    }

    pub(super) fn dead(&self, Entry { id, fields }: Entry) -> Dead {
        let (letter, original) =
            DeadLetter::split(&fields).map_or((None, fields), |(letter, rest)| (Some(letter), rest));
        let message = self.wire().decode(&original).ok();
        Dead { id, letter, original, message }
    }

    /// Whatever was let in once is let through.
    fn wire(&self) -> Wire {
        Wire { payload_bytes_max: usize::MAX }
    }
}
