//! Many dead letters at once: found, tried again and dropped one after another.

use std::{collections::HashSet, num::NonZeroU32, time::Duration};

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::store::{Dead, DeadLetters, Filter, ReplayError};
use crate::{
    broker::{BrokerError, Range, check_movable},
    entry::{EntryId, Fields},
    name::Name,
};

/// Dead letters that are read at a time.
const PAGE: usize = 100;

/// Ids that are dropped by one command, at most.
const DROPPED_AT_ONCE: usize = 500;

/// How long the groups of a topic count as what they were.
const GROUPS_INTERVAL: Duration = Duration::from_secs(1);

/// How far a replay may be behind its rate and make up for it. What it falls behind beyond that is not made up for, so
/// that a broker that was away is not met with a burst.
const CATCH_UP_MAX: Duration = Duration::from_millis(100);

/// Which dead letters a bulk operation is about.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Selection {
    /// These.
    Ids(Vec<EntryId>),
    /// All that are wanted and were there when it began.
    Wanted(Filter),
}

/// In which order dead letters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    OldestFirst,
    /// The newest first.
    NewestFirst,
}

/// What became of one dead letter that was to be replayed.
#[derive(Debug)]
pub struct Replayed {
    /// The dead letter.
    pub id: EntryId,
    /// The entry that it is now; `None` when it was not there, since somebody else replayed or dropped it; or why it
    /// stays where it is.
    pub outcome: Result<Option<EntryId>, ReplayError>,
}

/// Whether one dead letter could be replayed.
#[derive(Debug)]
pub struct Checked {
    /// The dead letter.
    pub id: EntryId,
    /// Whether it is there; or why it would stay.
    pub outcome: Result<bool, ReplayError>,
}

/// What became of some dead letters that were to be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Those that were to go.
    pub ids: Vec<EntryId>,
    /// How many of them were there.
    pub dropped: u64,
}

impl From<Filter> for Selection {
    fn from(filter: Filter) -> Self {
        Self::Wanted(filter)
    }
}

impl DeadLetters {
    /// Those that are wanted, one after another. What dies after this call is not among them.
    ///
    /// Ends with the first error: [`BrokerError`] when the broker cannot be asked.
    pub fn find(&self, filter: Filter, order: Order) -> BoxStream<'_, Result<Dead, BrokerError>> {
        let pages = stream::try_unfold(Place::Start, move |place| self.next_page(place, order));
        pages
            .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
            .try_flatten()
            .try_filter(move |dead| std::future::ready(filter.wants(dead, self.broker.now())))
            .boxed()
    }

    /// Sends dead letters to their topic once more, the oldest first, as [`DeadLetters::replay`] does with one.
    ///
    /// What dies again meanwhile is not among them, so it ends. `per_second` is how many go each second, at most; without
    /// it they go as fast as the broker takes them, each after the one before. Dropping the stream between two items
    /// leaves the rest where it is; each item says what became of one dead letter, and one that cannot be replayed does
    /// not stop the others.
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use streamerson_core::{Topic, broker::memory::Memory, dead_letter::{DeadLetters, Filter, Reason}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let dead = DeadLetters::new(Memory::new(), Topic::new("orders")?);
    /// let mut failed = Filter::default();
    /// failed.reason = Some(Reason::Failed);
    /// let mut replayed = dead.replay_all(failed.into(), 100.try_into().ok());
    /// while let Some(letter) = replayed.next().await {
    ///     if let Err(error) = letter?.outcome {
    ///         eprintln!("{error}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Ends with the first error of the broker. After [`BrokerError::Interrupted`] the last one may have been replayed;
    /// then it is gone, and doing the same again goes on with the others.
    pub fn replay_all(
        &self,
        selection: Selection,
        per_second: Option<NonZeroU32>,
    ) -> BoxStream<'_, Result<Replayed, BrokerError>> {
        self.replay_until(selection, per_second, CancellationToken::new())
    }

    /// The same, and ends early once `stop` is cancelled: what is under way is done and answered, and no other begun.
    pub fn replay_until(
        &self,
        selection: Selection,
        per_second: Option<NonZeroU32>,
        stop: CancellationToken,
    ) -> BoxStream<'_, Result<Replayed, BrokerError>> {
        self.replaying(selection, Some(Pace { stop, ..Pace::new(per_second) }))
    }

    /// What [`DeadLetters::replay_all`] would do, as far as that can be told without doing it.
    ///
    /// Ends with the first error of the broker.
    pub fn check_all(&self, selection: Selection) -> BoxStream<'_, Result<Checked, BrokerError>> {
        let checked = |Replayed { id, outcome }| Checked { id, outcome: outcome.map(|there| there.is_some()) };
        self.replaying(selection, None).map_ok(checked).boxed()
    }

    /// Removes dead letters for good, the oldest first, some at a time. What dies meanwhile is not among them.
    ///
    /// Ends with the first error of the broker; after [`BrokerError::Interrupted`] the last ones may be gone.
    pub fn drop_all(&self, selection: Selection) -> BoxStream<'_, Result<Dropped, BrokerError>> {
        let ids = match selection {
            Selection::Ids(ids) => stream::iter(ids.into_iter().map(Ok)).boxed(),
            Selection::Wanted(filter) => self.find(filter, Order::OldestFirst).map_ok(|dead| dead.id).boxed(),
        };
        let chunks = ids.try_chunks(DROPPED_AT_ONCE).map_err(|error| error.1);
        chunks.and_then(move |ids| async move { Ok(Dropped { dropped: self.drop(ids.clone()).await?, ids }) }).boxed()
    }

    /// Each that is selected, with its id; `None` for an id that is not there.
    pub fn selected(&self, selection: Selection) -> BoxStream<'_, Result<(EntryId, Option<Dead>), BrokerError>> {
        match selection {
            Selection::Ids(ids) => {
                stream::iter(ids).then(move |id| async move { Ok((id, self.get(id).await?)) }).boxed()
            }
            Selection::Wanted(filter) => {
                self.find(filter, Order::OldestFirst).map_ok(|dead| (dead.id, Some(dead))).boxed()
            }
        }
    }

    /// Replays at a pace, or only looks without one; then the entry that one would be is itself.
    fn replaying(&self, selection: Selection, pace: Option<Pace>) -> BoxStream<'_, Result<Replayed, BrokerError>> {
        let begin = Replaying { letters: self.selected(selection), groups: Groups::default(), pace };
        stream::try_unfold(begin, move |mut replaying| async move {
            let Some((id, dead)) = replaying.letters.try_next().await? else { return Ok(None) };
            let outcome = match dead {
                None => Ok(None),
                Some(dead) => match self.replay_next(&dead, &mut replaying).await {
                    Some(Err(ReplayError::Broker(error))) if is_of_the_broker(&error) => return Err(error),
                    Some(outcome) => outcome,
                    None => return Ok(None),
                },
            };
            Ok(Some((Replayed { id, outcome }, replaying)))
        })
        .boxed()
    }

    /// What came of one; `None` when it was not begun any more.
    async fn replay_next(
        &self,
        dead: &Dead,
        Replaying { groups, pace, .. }: &mut Replaying<'_>,
    ) -> Option<Result<Option<EntryId>, ReplayError>> {
        let fields = match self.checked_fields(dead, groups).await {
            Ok(fields) => fields,
            Err(error) => return Some(Err(error)),
        };
        let Some(pace) = pace else {
            return Some(check_movable(&fields).map(|()| Some(dead.id)).map_err(ReplayError::from));
        };
        if pace.wait().await { Some(self.replay_with(dead, fields).await) } else { None }
    }

    async fn checked_fields(&self, dead: &Dead, groups: &mut Groups) -> Result<Fields, ReplayError> {
        let fields = self.fields_of_replay(dead)?;
        self.check_group(dead, groups.of(self).await?)?;
        Ok(fields)
    }

    async fn next_page(&self, place: Place, order: Order) -> Result<Option<(Vec<Dead>, Place)>, BrokerError> {
        let (from, to) = match place {
            Place::Start => match self.broker.stream_info(&self.topic.dead()).await? {
                Some(info) => (EntryId::ZERO, info.last),
                None => return Ok(None),
            },
            Place::Between(from, to) => (from, to),
            Place::End => return Ok(None),
        };
        let newest_first = order == Order::NewestFirst;
        let range = Range { key: self.topic.dead(), from, to, count: PAGE, newest_first };
        let page = self.broker.range(range).await?;
        let next = match page.last().filter(|_| page.len() == PAGE) {
            // Past the highest id, or below the lowest, lies nothing.
            Some(last) if last.id == to && !newest_first => Place::End,
            Some(last) if last.id == from && newest_first => Place::End,
            Some(last) if newest_first => Place::Between(from, last.id.previous()),
            Some(last) => Place::Between(last.id.next(), to),
            None => Place::End,
        };
        Ok(Some((page.into_iter().map(|entry| self.dead(entry)).collect(), next)))
    }
}

/// A replay that is under way.
struct Replaying<'a> {
    letters: BoxStream<'a, Result<(EntryId, Option<Dead>), BrokerError>>,
    groups: Groups,
    pace: Option<Pace>,
}

/// The groups of the topic, as they were not long ago.
#[derive(Default)]
struct Groups {
    names: HashSet<Name>,
    looked: Option<Instant>,
}

impl Groups {
    async fn of(&mut self, letters: &DeadLetters) -> Result<&HashSet<Name>, BrokerError> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= GROUPS_INTERVAL) {
            self.names = letters.groups().await?;
            self.looked = Some(Instant::now());
        }
        Ok(&self.names)
    }
}

/// What fails for one dead letter fails for this one alone, unless the broker or the stream is the reason.
fn is_of_the_broker(error: &BrokerError) -> bool {
    match error {
        // Too many fields for a script: another dead letter may have fewer.
        BrokerError::Refused { code, .. } => &**code != "ERR",
        _ => true,
    }
}

/// Where the next page begins and ends.
enum Place {
    Start,
    Between(EntryId, EntryId),
    End,
}

/// Holds to a rate.
struct Pace {
    period: Duration,
    due: Instant,
    stop: CancellationToken,
}

impl Pace {
    fn new(per_second: Option<NonZeroU32>) -> Self {
        let period = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Self { period, due: Instant::now(), stop: CancellationToken::new() }
    }

    /// Waits for the next one's time; whether there is to be a next one.
    async fn wait(&mut self) -> bool {
        if self.period.is_zero() {
            return !self.stop.is_cancelled();
        }
        let now = Instant::now();
        self.due = self.due.max(now.checked_sub(CATCH_UP_MAX).unwrap_or(now));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return false,
            () = sleep_until(self.due) => {}
        }
        self.due += self.period;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_when_there_is_to_be_no_other() {
        let mut pace = Pace::new(NonZeroU32::new(1));
        assert!(pace.wait().await);
        pace.stop.cancel();
        assert!(!pace.wait().await && !Pace { stop: pace.stop, ..Pace::new(None) }.wait().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_held_to_and_not_made_up_for() {
        let begun = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(10));
        for _ in 0..21 {
            pace.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        // Ten seconds without anything are not followed by a hundred at once.
        tokio::time::advance(Duration::from_secs(10)).await;
        let begun = Instant::now();
        for _ in 0..12 {
            pace.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let begun = Instant::now();
        let mut pace = Pace::new(None);
        for _ in 0..1000 {
            pace.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
