//! Small values that go by themselves.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    budget::{Budget, Share},
    clock::unix_millis,
    store::{Step, Store},
};
use crate::{
    broker::{BrokerError, Charge, Extension, Mark, Reserved},
    keys::{MarkKey, MeterKey},
    message::UnixMillis,
    name::Name,
};

/// About what a mark takes besides its key and its value: its places in two tables.
const MARK_BYTES: usize = 200;

/// The marks of one shard.
#[derive(Debug, Default)]
pub(super) struct Marks {
    held: HashMap<MarkKey, Held>,
    /// When each goes, soonest first.
    expiring: BTreeSet<(Duration, MarkKey)>,
    /// There is one meter for each topic with bounded marks.
    meters: HashMap<MeterKey, Meter>,
}

#[derive(Debug, Default)]
struct Meter {
    /// Bytes by when they are taken off, in Unix milliseconds.
    added: BTreeMap<u64, u64>,
    /// By holder: when the reservation ends, and its bytes.
    reserved: HashMap<Name, (u64, u64)>,
}

#[derive(Debug)]
struct Held {
    value: Bytes,
    expires: Duration,
    /// What it takes of the budget; goes back with it.
    _share: Share,
}

impl Marks {
    fn get(&self, key: &MarkKey, now: Duration) -> Option<&Bytes> {
        // The sweep may not have come to it yet.
        self.held.get(key).filter(|held| held.expires > now).map(|held| &held.value)
    }

    fn set(&mut self, mark: Mark, now: Duration, budget: &Arc<Budget>) {
        let mut share = Share::of(budget);
        share.take(bytes_of(&mark));
        let Mark { key, value, ttl } = mark;
        let expires = now.saturating_add(ttl.max(Duration::from_millis(1)));
        self.expiring.insert((expires, key.clone()));
        let held = Held { value, expires, _share: share };
        if let Some(before) = self.held.insert(key.clone(), held)
            && before.expires != expires
        {
            self.expiring.remove(&(before.expires, key));
        }
    }

    fn extend(&mut self, key: &MarkKey, least: Duration, ttl: Duration, now: Duration) -> Extension {
        let Some(held) = self.held.get_mut(key).filter(|held| held.expires > now) else { return Extension::Absent };
        if held.expires >= now.saturating_add(least) {
            return Extension::Unneeded;
        }
        self.expiring.remove(&(held.expires, key.clone()));
        held.expires = now.saturating_add(ttl.max(Duration::from_millis(1)));
        self.expiring.insert((held.expires, key.clone()));
        Extension::Extended
    }

    /// Adds to a meter, and answers its sum.
    fn charge(&mut self, charge: &Charge, now: UnixMillis) -> u64 {
        let Meter { added, reserved } = self.meters.entry(charge.key.clone()).or_default();
        *added = added.split_off(&(now.0 + 1));
        reserved.retain(|_, (ends, _)| *ends > now.0);
        if charge.bytes > 0 {
            let bytes = added.entry(charge.ends(now)).or_default();
            *bytes = bytes.saturating_add(charge.bytes);
        }
        // The sum is without the caller's own reservation.
        if let Some(own) = &charge.reserved {
            reserved.remove(&own.holder);
        }
        let all = added.values().chain(reserved.values().map(|(_, bytes)| bytes));
        let sum = all.fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        if let Some(Reserved { holder, bytes, ttl }) = charge.reserved.as_ref().filter(|own| own.bytes > 0) {
            reserved.insert(holder.clone(), (now.plus(*ttl).0, *bytes));
        }
        if added.is_empty() && reserved.is_empty() {
            self.meters.remove(&charge.key);
        }
        sum
    }

    /// Removes the next mark whose time has come; answers whether there was one.
    pub(super) fn sweep_one(&mut self, now: Duration) -> bool {
        let Some(due) = self.expiring.first().filter(|(at, _)| *at <= now).cloned() else { return false };
        self.expiring.remove(&due);
        self.held.remove(&due.1);
        true
    }
}

fn bytes_of(mark: &Mark) -> u64 {
    (MARK_BYTES + 2 * mark.key.as_str().len() + mark.value.len()) as u64
}

impl Store {
    pub(super) fn mark(&self, marks: &[Mark]) -> Result<(), BrokerError> {
        let mut step = self.step(marks.iter().map(|mark| mark.key.place()));
        for mark in marks {
            step.admit_bytes(bytes_of(mark))?;
            step.mark(mark.clone());
        }
        drop(step);
        self.sweep_next();
        Ok(())
    }

    pub(super) fn extend_mark(&self, key: &MarkKey, least: Duration, ttl: Duration) -> Extension {
        let mut step = self.step([key.place()]);
        let now = step.now();
        step.shard(key.place()).marks.extend(key, least, ttl, now)
    }

    pub(super) fn mark_if_absent(&self, marks: &[Mark]) -> Result<Vec<Option<Bytes>>, BrokerError> {
        let mut step = self.step(marks.iter().map(|mark| mark.key.place()));
        let now = step.now();
        let mut found = Vec::with_capacity(marks.len());
        for mark in marks {
            let value = step.shard(mark.key.place()).marks.get(&mark.key, now).cloned();
            if value.is_none() {
                step.admit_bytes(bytes_of(mark))?;
                step.mark(mark.clone());
            }
            found.push(value);
        }
        drop(step);
        self.sweep_next();
        Ok(found)
    }

    pub(super) fn charge(&self, charge: &Charge) -> u64 {
        let mut step = self.step([charge.key.place()]);
        let now = UnixMillis(unix_millis(step.now()));
        step.shard(charge.key.place()).marks.charge(charge, now)
    }

    pub(super) fn recall(&self, keys: &[MarkKey]) -> Vec<Option<Bytes>> {
        let mut step = self.step(keys.iter().map(MarkKey::place));
        let now = step.now();
        keys.iter().map(|key| step.shard(key.place()).marks.get(key, now).cloned()).collect()
    }
}

impl Step<'_> {
    /// Sets a mark, whether or not there is room for it.
    pub(super) fn mark(&mut self, mark: Mark) {
        let (now, budget) = (self.now(), self.budget());
        self.shard(mark.key.place()).marks.set(mark, now, &budget);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use crate::{
        Topic,
        broker::{Append, Broker, BrokerError, Mark, memory::Memory},
        entry::Fields,
        name::{MessageId, Name},
    };
    use std::time::Duration;

    const TTL: Duration = Duration::from_secs(60);

    fn mark(topic: &Topic) -> Mark {
        Mark { key: topic.idempotency_mark(&MessageId::unique()), value: vec![0; 1000].into(), ttl: TTL }
    }

    fn a_topic() -> Topic {
        Topic::new(&Name::unique()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn marks_count_until_they_go_and_do_not_pile_up() {
        let (broker, topic) = (Memory::new(), a_topic());
        let (mut most, again) = (0, mark(&topic));
        for _ in 0..1000 {
            broker.mark(vec![again.clone()]).await.unwrap();
            broker.mark_if_absent(vec![mark(&topic)]).await.unwrap();
            most = most.max(broker.bytes_used());
            advance(TTL / 10).await;
        }
        // Ten others at a time, one that is set again and again, and what a sweep has not come to.
        assert!((12_000..20_000).contains(&most), "{most} bytes at most");
        advance(TTL).await;
        // Other topics sweep too.
        for _ in 0..200 {
            broker.keep(Vec::from([keep()])).await.unwrap();
        }
        assert_eq!(broker.bytes_used(), 0);
    }

    fn keep() -> crate::broker::Keep {
        let key = a_topic().inbox(&Name::unique());
        crate::broker::Keep { key, ttl: Duration::from_millis(1), unless_epoch: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_broker_refuses_marks_and_what_has_gone_elsewhere_keeps_nothing_out() {
        let broker = Memory::with_bytes_max(20_000);
        let mut refused = None;
        for _ in 0..20 {
            refused = refused.or(broker.mark(vec![mark(&a_topic())]).await.err());
        }
        assert!(matches!(refused, Some(BrokerError::Refused { code, .. }) if &*code == "OOM"));
        advance(TTL).await;
        let mut fields = Fields::default();
        fields.push("p", vec![0; 15_000]);
        broker.append(vec![Append::new(a_topic().inbound(), fields)]).await.remove(0).expect("there is room again");
    }
}
