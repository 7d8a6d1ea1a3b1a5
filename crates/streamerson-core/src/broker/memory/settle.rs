//! How deliveries end, and how those of the dead go to the living: the steps that span streams.

use super::{
    clock::unix_millis,
    store::{Step, Store, check, no_group},
};
use crate::{
    broker::{Append, BrokerError, Membership, ReclaimFrom, Reclaimed, ReplyAppend, Settlement},
    dead_letter::{DEAD_ENTRIES_MAX, DeadLetter, Reason},
    entry::{EntryId, Fields},
    message::UnixMillis,
    topic::StreamKey,
};

impl Store {
    /// Settles a batch; answers what was not the member's. A delivery whose appends can't all be made stays pending:
    /// the others are settled, and the answer is its error.
    pub(super) fn settle(&self, membership: &Membership, batch: &[Settlement]) -> Result<Vec<EntryId>, BrokerError> {
        let Membership { key, group, member } = membership;
        let mut step = self.step(batch.iter().flat_map(keys_of).chain([key]));
        let now = step.now();
        step.group(key, group)?.touch(member, now);
        let (mut lost, mut failed) = (Vec::new(), None);
        for settlement in batch {
            if !step.group(key, group)?.holds(member, settlement.id) {
                lost.push(settlement.id);
                continue;
            }
            match step.commit(settlement) {
                Ok(()) => step.group(key, group)?.ack(settlement.id),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(lost), Err)
    }

    /// Takes over what nobody renewed, and buries what is gone.
    pub(super) fn reclaim(&self, from: &ReclaimFrom) -> Result<Reclaimed, BrokerError> {
        let Membership { key, group, member } = &from.membership;
        let missing = || no_group(key, group);
        let mut step = self.step([key, &from.dead]);
        let now = step.now();
        let overdue = step.stream(key).and_then(|stream| stream.overdue(from, now)).ok_or_else(missing)?;
        for id in &overdue.gone {
            let error = "the entry was gone from the stream before the delivery was settled";
            let letter = DeadLetter::new(Reason::Trimmed, error, group.clone(), member.clone(), *id)
                .at(UnixMillis(unix_millis(now)));
            let fields = letter.fields(&Fields::default());
            step.append(Append { entries_max: Some(DEAD_ENTRIES_MAX), ..Append::new(from.dead.clone(), fields) });
            step.group(key, group)?.ack(*id);
        }
        let claimed = step.stream(key).and_then(|stream| stream.claim(&from.membership, &overdue.held, now));
        Ok(Reclaimed { deliveries: claimed.ok_or_else(missing)?, cursor: overdue.cursor, trimmed: overdue.gone })
    }
}

impl Step<'_> {
    /// Makes all appends of a settlement, or none.
    fn commit(&mut self, settlement: &Settlement) -> Result<(), BrokerError> {
        let Settlement { id: _, reply, emitted, dead } = settlement;
        let fields = emitted.iter().chain(dead).map(|append| &append.fields);
        fields.chain(reply.iter().map(|reply| &reply.fields)).try_for_each(check)?;
        // Replies and dead letters need no room: they end what the broker holds already, so a full one must let them
        // in to become less full. What is emitted is new.
        self.admit(emitted)?;
        for append in emitted.iter().chain(dead) {
            self.append(append.clone());
        }
        if let Some(ReplyAppend { key, fields }) = reply {
            self.append(Append { only_if_exists: true, ..Append::new(key.clone(), fields.clone()) });
        }
        Ok(())
    }
}

/// Every stream that a settlement may touch.
fn keys_of(settlement: &Settlement) -> impl Iterator<Item = &StreamKey> {
    let appends = settlement.emitted.iter().chain(&settlement.dead);
    let keys = appends.flat_map(|append| [Some(&append.key), append.keep.as_ref().map(|keep| &keep.key)]);
    keys.chain([settlement.reply.as_ref().map(|reply| &reply.key)]).flatten()
}
