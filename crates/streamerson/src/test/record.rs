//! What became of each message, as the broker sees it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use streamerson_core::{
    Entry, EntryId, EventType, Headers, Message, Reply, StreamKey, Wire,
    broker::{Append, Delivered, Membership, Settlement},
    dead_letter::DeadLetter,
    group::Outcome,
};

use super::Ended;

/// What is noted of all members.
#[derive(Debug, Default)]
pub(super) struct Record {
    // Locked to add to it or to copy it, never across an await.
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Messages that were delivered, where they lie.
    delivered: HashMap<(StreamKey, EntryId), Message>,
    ended: Vec<Ended>,
    emitted: Vec<(StreamKey, Message)>,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ended(&self) -> Vec<Ended> {
        self.lock().ended.clone()
    }

    pub(super) fn emitted(&self) -> Vec<(StreamKey, Message)> {
        self.lock().emitted.clone()
    }

    pub(super) fn delivered(&self, key: &StreamKey, deliveries: &[Delivered]) {
        let mut notes = self.lock();
        for Delivered { entry: Entry { id, fields }, .. } in deliveries {
            if let Ok(message) = wire().decode(fields) {
                notes.delivered.insert((key.clone(), *id), message);
            }
        }
    }

    /// These were appended by a member, beside what it settles.
    pub(super) fn appended<'a>(&self, appends: impl Iterator<Item = &'a Append>) {
        let mut notes = self.lock();
        notes
            .emitted
            .extend(appends.filter_map(|append| Some((append.key.clone(), wire().decode(&append.fields).ok()?))));
    }

    /// These were settled, except for the lost ones.
    pub(super) fn settled(&self, membership: &Membership, batch: &[Settlement], lost: &[EntryId]) {
        for settlement in batch.iter().filter(|settlement| !lost.contains(&settlement.id)) {
            self.appended(settlement.emitted.iter());
            let mut notes = self.lock();
            let message = notes.delivered.get(&(membership.key.clone(), settlement.id)).cloned();
            let Some(message) = message else { continue };
            let group = membership.group.clone();
            let is_for_others = message.headers.get(Headers::ONLY_GROUP).is_some_and(|only| *only != *group);
            if !is_for_others && message.event != EventType::CANCEL {
                let outcome = outcome(&message, settlement);
                notes.ended.push(Ended { id: message.id, event: message.event, group, outcome });
            }
        }
    }
}

fn wire() -> Wire {
    Wire { payload_bytes_max: usize::MAX }
}

fn outcome(message: &Message, settlement: &Settlement) -> Outcome {
    let reply = settlement.reply.as_ref().and_then(|reply| wire().decode(&reply.fields).ok());
    let reply = reply.and_then(|reply| Reply::from_message(reply).ok());
    if let Some((letter, _)) = settlement.dead.as_ref().and_then(|dead| DeadLetter::split(&dead.fields)) {
        return Outcome::Dead { reason: letter.reason, error: letter.error, reply };
    }
    match (reply, &settlement.later) {
        (Some(reply), _) => Outcome::Replied(reply),
        (None, Some(later)) => {
            let error = format!("to be tried again at {}", later.scheduled.at);
            Outcome::Retried { after: Duration::ZERO, error }
        }
        (None, None) if message.inbox.is_some() => Outcome::Expired,
        (None, None) => Outcome::Done,
    }
}
