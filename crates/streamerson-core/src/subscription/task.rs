//! The task that reads on behalf of a subscription.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tracing::debug;

use super::{ALL, BLOCK, Control, Cursor, Found, Position, READ_MAX, Received, count::Count};
use crate::{
    broker::{BrokerError, Reader, SharedBroker, StreamInfo, StreamRead},
    entry::EntryId,
    produce,
    topic::StreamKey,
};

/// Streams whose entries are counted at the same time, at most.
const COMPARED_MAX: usize = 16;

pub(super) struct Task {
    pub(super) broker: SharedBroker,
    pub(super) control: Arc<Control>,
    pub(super) batches: mpsc::Sender<Vec<Found>>,
}

/// The streams of one read: cursors, and the positions that they came from.
#[derive(Default)]
struct Round {
    cursors: Vec<(StreamKey, EntryId)>,
    positions: Vec<Position>,
}

/// The subscriber is gone, or has ended it.
struct Over;

impl Task {
    pub(super) async fn run(self, mut reader: Box<dyn Reader>) {
        loop {
            let round = match self.begin().await {
                Ok(Ok(round)) => round,
                Ok(Err(Over)) => return,
                Err(error) => return self.fail(error).await,
            };
            if round.cursors.is_empty() {
                tokio::select! {
                    biased;
                    () = self.control.changed.notified() => continue,
                    () = self.batches.closed() => return,
                }
            }
            let found = match reader.read(&round.cursors, READ_MAX, BLOCK).await {
                Ok(reads) => self.verify(&round, reads).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => {
                    if self.send(found).await.is_err() || self.compare().await.is_err() {
                        return;
                    }
                }
                Err(error) if error.is_transient() => self.rest(&error).await,
                Err(error) => return self.fail(error).await,
            }
        }
    }

    /// A concrete id for each stream, after a look at those where entries may be missing.
    async fn begin(&self) -> Result<Result<Round, Over>, BrokerError> {
        let mut doubtful = {
            let positions = self.control.lock();
            let doubtful = positions.by_key.iter().filter(|(_, position)| position.is_doubtful());
            doubtful.map(|(key, position)| (key.clone(), *position)).collect::<Vec<_>>()
        };
        while let Some((key, position)) = doubtful.pop() {
            match self.broker.stream_info(&key).await {
                Ok(info) => {
                    let gap = self.look(&key, position, info);
                    if self.send(gap.into_iter().collect()).await.is_err() {
                        return Ok(Err(Over));
                    }
                }
                Err(error) if error.is_transient() => {
                    self.rest(&error).await;
                    doubtful.push((key, position));
                    if self.control.lock().ended {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let positions = self.control.lock();
        if positions.ended {
            return Ok(Err(Over));
        }
        let mut round = Round::default();
        for (key, position) in &positions.by_key {
            // One that was added during the look is looked at in the next round, which its wake-up starts at once.
            if let Cursor::After(id) = position.next {
                round.cursors.push((key.clone(), id));
                round.positions.push(*position);
            }
        }
        Ok(Ok(round))
    }

    /// Makes one position a concrete id, and answers a gap that reading on would not show.
    fn look(&self, key: &StreamKey, looked_at: Position, info: Option<StreamInfo>) -> Option<Found> {
        let (first, last) = info.as_ref().map_or((None, EntryId::ZERO), |info| (info.first, info.last));
        let (next, missing_after) = match looked_at.next {
            Cursor::Start => (EntryId::ZERO, None),
            Cursor::End => (last, None),
            // The stream was made anew, and its ids started again.
            Cursor::After(after) if last < after => (EntryId::ZERO, Some(after)),
            // All that it held after this is gone.
            Cursor::After(after) if first.is_none() && last > after => (last, Some(after)),
            Cursor::After(after) => (after, None),
        };
        let mut positions = self.control.lock();
        let position = positions.by_key.get_mut(key).filter(|now| now.number == looked_at.number)?;
        // Nothing is missing in front of the oldest entry for who starts there, nor for who has had the last one.
        let doubt = next != EntryId::ZERO && next != last;
        (position.next, position.doubt) = (Cursor::After(next), doubt);
        if looked_at.next != Cursor::After(next) || position.count.is_unknown() {
            position.count = Count::at(next, info.as_ref());
        }
        missing_after.map(|after| position.gap(key, after, first))
    }

    /// Moves the positions behind what was read, with a gap before each place where entries may be missing.
    ///
    /// The oldest entry being at or before the cursor, seen after the read, is what proves that the read began where
    /// the cursor was: a look before it proves nothing, as the stream may be trimmed in between.
    async fn verify(&self, round: &Round, reads: Vec<StreamRead>) -> Result<Vec<Found>, BrokerError> {
        let mut looks = Vec::with_capacity(reads.len());
        for read in &reads {
            // A hole means that the read began with the oldest entry that is left, and so took all, or as many as it may.
            // What brings less can follow a hole only in a stream that is kept shorter than one read.
            let doubt = read.entries.len() >= READ_MAX
                || round.positions.get(read.index).is_some_and(|position| position.doubt);
            looks.push(match round.cursors.get(read.index) {
                Some((key, after)) if doubt && *after > EntryId::ZERO => Some(self.broker.stream_info(key).await?),
                _ => None,
            });
        }
        let mut found = Vec::with_capacity(reads.iter().map(|read| read.entries.len()).sum());
        let mut positions = self.control.lock();
        for (read, look) in reads.into_iter().zip(looks) {
            let Some((key, after)) = round.cursors.get(read.index) else { continue };
            let number = round.positions[read.index].number;
            let Some(last) = read.entries.last().map(|entry| entry.id) else { continue };
            // A stream that was removed, or told to start elsewhere, during the read.
            let Some(position) = positions.by_key.get_mut(key).filter(|now| now.number == number) else { continue };
            let first = look.as_ref().map(|info| info.as_ref().and_then(|info| info.first));
            let missed = match first {
                Some(first) if first.is_none_or(|first| first > *after) => {
                    found.push(position.gap(key, *after, first));
                    position.count.lose(&read.entries);
                    None
                }
                _ => position.count.read(&read.entries),
            };
            (position.next, position.doubt) = (Cursor::After(last), false);
            let mut entries = read.entries.into_iter().map(|entry| (number, Ok(Received { key: key.clone(), entry })));
            if let Some(missed) = missed {
                found.extend(entries.by_ref().take(missed.before));
                found.push(position.gap(key, missed.after, missed.first));
            }
            found.extend(entries);
            // From here on it is known how many there were.
            if let Some(missed) = look.flatten().and_then(|info| position.count.compare(last, &info)) {
                found.push(position.gap(key, missed.after, missed.first));
            }
        }
        Ok(found)
    }

    /// Compares, now and then, how many entries were read with how many there were.
    async fn compare(&self) -> Result<(), Over> {
        let due: Vec<_> = {
            let positions = self.control.lock();
            let due = positions.by_key.iter().filter(|(_, position)| position.count.is_due());
            due.map(|(key, position)| (key.clone(), position.number)).take(COMPARED_MAX).collect()
        };
        let infos = join_all(due.iter().map(|(key, _)| self.broker.stream_info(key))).await;
        let mut found = Vec::new();
        {
            let mut positions = self.control.lock();
            for ((key, number), info) in due.iter().zip(infos) {
                let Some(position) = positions.by_key.get_mut(key).filter(|now| now.number == *number) else {
                    continue;
                };
                let Cursor::After(next) = position.next else { continue };
                match info {
                    Ok(Some(info)) if info.last >= next => {
                        let missed = position.count.compare(next, &info);
                        found.extend(missed.map(|missed| position.gap(key, missed.after, missed.first)));
                    }
                    // It was made anew.
                    Ok(_) => position.doubt = true,
                    Err(error) => {
                        position.count.put_off();
                        debug!(%key, %error, "not known whether entries are missing");
                    }
                }
            }
        }
        self.send(found).await
    }

    async fn send(&self, found: Vec<Found>) -> Result<(), Over> {
        if found.is_empty() {
            return Ok(());
        }
        match self.batches.try_send(found) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Over),
            Err(mpsc::error::TrySendError::Full(found)) => {
                // The subscriber is slow, and the streams may be trimmed while nobody reads them.
                let sent = self.batches.send(found).await;
                self.doubt_all();
                sent.map_err(|_| Over)
            }
        }
    }

    fn doubt_all(&self) {
        self.control.lock().by_key.values_mut().for_each(|position| position.doubt = true);
    }

    /// Waits for the broker; after that anything may have happened to the streams.
    async fn rest(&self, error: &BrokerError) {
        debug!(%error, "subscription must wait");
        self.doubt_all();
        let back = async {
            produce::pause().await;
            produce::wait_until_up(&*self.broker).await;
        };
        tokio::select! {
            biased;
            () = back => {}
            () = self.control.changed.notified() => {}
            () = self.batches.closed() => {}
        }
    }

    async fn fail(&self, error: BrokerError) {
        _ = self.batches.send(vec![(ALL, Err(error))]).await;
    }
}

impl Position {
    fn is_doubtful(&self) -> bool {
        self.doubt || !matches!(self.next, Cursor::After(_))
    }

    fn gap(&self, key: &StreamKey, after: EntryId, first: Option<EntryId>) -> Found {
        (self.number, Err(BrokerError::Gap { key: key.clone(), after, first }))
    }
}
