//! How deliveries end, and how those of the dead go to the living: the steps that span streams.

use super::{
    clock::unix_millis,
    store::{Step, Store, check, no_group},
};
use crate::{
    broker::{
        Append, BrokerError, DeadAppend, Later, Membership, ReclaimFrom, Reclaimed, Replay, ReplyAppend, SettledBatch,
        Settlement, check_movable,
    },
    dead_letter::{DeadLetter, Reason},
    entry::{EntryId, Fields},
    message::UnixMillis,
    topic::StreamKey,
};

impl Store {
    /// Settles a batch; answers what was not the member's. A delivery whose appends can't all be made stays pending:
    /// the others are settled, and the answer is its error.
    pub(super) fn settle(&self, membership: &Membership, batch: &[Settlement]) -> Result<SettledBatch, BrokerError> {
        let Membership { key, group, member } = membership;
        let mut step = self.step(batch.iter().flat_map(keys_of).chain([key]));
        let now = step.now();
        step.group(key, group)?.touch(member, now);
        let (mut settled, mut failed) = (SettledBatch::default(), None);
        for settlement in batch {
            if !step.group(key, group)?.holds(member, settlement.id) {
                settled.lost.push(settlement.id);
                continue;
            }
            match step.commit(settlement) {
                Ok(dead_dropped) => {
                    settled.dead_dropped += dead_dropped;
                    step.group(key, group)?.ack(settlement.id);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(settled), Err)
    }

    /// Takes over what nobody renewed, and buries what is gone.
    pub(super) fn reclaim(&self, from: &ReclaimFrom) -> Result<Reclaimed, BrokerError> {
        let Membership { key, group, member } = &from.membership;
        let missing = || no_group(key, group);
        let mut step = self.step([key, &from.dead]);
        let now = step.now();
        let overdue = step.stream(key).and_then(|stream| stream.overdue(from, now)).ok_or_else(missing)?;
        let mut dead_dropped = 0;
        for id in &overdue.gone {
            let error = "the entry was gone from the stream before the delivery was settled";
            let letter = DeadLetter::new(Reason::Trimmed, error, group.clone(), member.clone(), *id)
                .at(UnixMillis(unix_millis(now)));
            let fields = letter.fields(&Fields::default());
            dead_dropped +=
                step.bury(&DeadAppend { key: from.dead.clone(), fields, entries_max: from.dead_entries_max });
            step.group(key, group)?.ack(*id);
        }
        let claimed = step.stream(key).and_then(|stream| stream.claim(&from.membership, &overdue.held, now));
        let deliveries = claimed.ok_or_else(missing)?;
        Ok(Reclaimed { deliveries, cursor: overdue.cursor, trimmed: overdue.gone, dead_dropped })
    }

    /// Moves a dead letter back into a stream, if it is still there.
    pub(super) fn replay(&self, replay: Replay) -> Result<Option<EntryId>, BrokerError> {
        check_movable(&replay.fields)?;
        let append = Append::new(replay.into, replay.fields);
        let mut step = self.step([&replay.dead, &append.key]);
        if !step.stream(&replay.dead).is_some_and(|stream| stream.holds(replay.id)) {
            return Ok(None);
        }
        step.admit(std::slice::from_ref(&append))?;
        step.stream(&replay.dead).map(|stream| stream.drop_entries(&[replay.id]));
        Ok(step.append(append))
    }
}

impl Step<'_> {
    /// Makes all appends of a settlement, or none; answers how many dead letters had to go for a new one.
    fn commit(&mut self, settlement: &Settlement) -> Result<u64, BrokerError> {
        let Settlement { id: _, reply, emitted, dead, later, mark } = settlement;
        let fields = emitted.iter().map(|append| &append.fields).chain(dead.iter().map(|dead| &dead.fields));
        fields.chain(reply.iter().map(|reply| &reply.fields)).try_for_each(check)?;
        // Replies, dead letters, retries and marks need no room: they end what the broker holds already, so a full one must let
        // them in to become less full. What is emitted is new.
        self.admit(emitted)?;
        if let Some(Later { schedule, scheduled }) = later {
            check_movable(&scheduled.fields)?;
            // Before the appends: of all of them it alone can be refused now.
            self.schedule(schedule, scheduled.clone())?;
        }
        for append in emitted {
            self.append(append.clone());
        }
        let dead_dropped = dead.as_ref().map_or(0, |dead| self.bury(dead));
        if let Some(mark) = mark {
            self.mark(mark.clone());
        }
        if let Some(ReplyAppend { key, fields }) = reply {
            self.append(Append { only_if_exists: true, ..Append::new(key.clone(), fields.clone()) });
        }
        Ok(dead_dropped)
    }
}

/// Every key that a settlement may touch.
fn keys_of(settlement: &Settlement) -> impl Iterator<Item = &StreamKey> {
    let Settlement { id: _, reply, emitted, dead, later, mark } = settlement;
    let emitted = emitted.iter().flat_map(|append| [Some(&append.key), append.keep.as_ref().map(|keep| &keep.key)]);
    let others = [
        reply.as_ref().map(|reply| &reply.key),
        dead.as_ref().map(|dead| &dead.key),
        later.as_ref().map(|later| later.schedule.place()),
        mark.as_ref().map(|mark| mark.key.place()),
    ];
    emitted.chain(others).flatten()
}
