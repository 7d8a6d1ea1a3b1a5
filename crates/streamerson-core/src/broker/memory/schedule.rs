//! Entries that wait for their time.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use super::{
    budget::{Budget, Share, entry_bytes},
    clock::unix_millis,
    store::{Step, Store},
};
use crate::{
    broker::{Append, BrokerError, Due, ScheduleCursor, Scheduled, ScheduledPage, ScheduledRange, check_movable},
    entry::Fields,
    keys::Schedule,
    message::UnixMillis,
    name::ScheduleId,
};

/// The entries of one schedule, by time and then by id.
#[derive(Debug)]
pub(super) struct Waiting {
    entries: BTreeMap<(UnixMillis, ScheduleId), Fields>,
    times: HashMap<ScheduleId, UnixMillis>,
    share: Share,
}

impl Waiting {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { entries: BTreeMap::new(), times: HashMap::new(), share: Share::of(budget) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn put(&mut self, schedule: &Schedule, scheduled: Scheduled) -> Result<(), BrokerError> {
        let Scheduled { id, at, fields } = scheduled;
        if self.take(&id).is_none() && self.times.len() as u64 >= schedule.entries_max() {
            return Err(BrokerError::Full { key: schedule.key().into(), max: schedule.entries_max() });
        }
        let at = at.min(Scheduled::AT_MAX);
        self.share.take(entry_bytes(&fields));
        self.times.insert(id.clone(), at);
        self.entries.insert((at, id), fields);
        Ok(())
    }

    fn take(&mut self, id: &ScheduleId) -> Option<Fields> {
        let at = self.times.remove(id)?;
        let fields = self.entries.remove(&(at, id.clone()))?;
        self.share.give_back(entry_bytes(&fields));
        Some(fields)
    }

    fn next(&self) -> Option<(UnixMillis, &ScheduleId)> {
        self.entries.first_key_value().map(|((at, id), _)| (*at, id))
    }
}

impl Store {
    /// Lets an entry wait if there is room for it.
    pub(super) fn schedule(&self, schedule: &Schedule, scheduled: Scheduled) -> Result<(), BrokerError> {
        check_movable(&scheduled.fields)?;
        let mut step = self.step([schedule.place()]);
        step.admit_bytes(entry_bytes(&scheduled.fields))?;
        step.schedule(schedule, scheduled)
    }

    pub(super) fn move_due(&self, schedule: &Schedule, count: usize) -> Due {
        let mut step = self.step([schedule.place(), schedule.into_stream()]);
        let now = UnixMillis(unix_millis(step.now()));
        let (mut moved, mut next) = (0, None);
        while let Some(waiting) = step.waiting(schedule) {
            next = waiting.next().map(|(at, _)| at);
            if moved == count.min(ScheduledRange::COUNT_MAX) || next.is_none_or(|at| at > now) {
                break;
            }
            let Some(id) = waiting.next().map(|(_, id)| id.clone()) else { break };
            let Some(fields) = waiting.take(&id) else { break };
            // It is counted already where it was, so it needs no room.
            step.append(Append::new(schedule.into_stream().clone(), fields));
            moved += 1;
            next = None;
        }
        step.forget_if_empty(schedule);
        Due { moved, broken: Vec::new(), next, now }
    }

    pub(super) fn scheduled(&self, range: &ScheduledRange) -> ScheduledPage {
        let count = range.count.min(ScheduledRange::COUNT_MAX);
        let mut step = self.step([range.schedule.place()]);
        let Some(waiting) = step.waiting(&range.schedule) else { return ScheduledPage::default() };
        let after = range.after.as_ref().and_then(|cursor| {
            let [at, id] = [&cursor.at, &cursor.id].map(|bytes| std::str::from_utf8(bytes));
            Some((UnixMillis(at.ok()?.parse().ok()?), ScheduleId::new(id.ok()?.to_owned()).ok()?))
        });
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = waiting.entries.range((from, Bound::Unbounded));
        let entry = |((at, id), fields): (&(UnixMillis, ScheduleId), &Fields)| Scheduled {
            id: id.clone(),
            at: *at,
            fields: fields.clone(),
        };
        let entries: Vec<_> = found.by_ref().take(count).map(entry).collect();
        let cursor = |last: &Scheduled| ScheduleCursor {
            at: last.at.to_string().into(),
            id: last.id.clone().into_text().into_bytes(),
        };
        let next = if found.next().is_some() { entries.last().map(cursor).or(range.after.clone()) } else { None };
        ScheduledPage { entries, next }
    }

    pub(super) fn cancel_scheduled(&self, schedule: &Schedule, mut ids: Vec<ScheduleId>) -> Vec<ScheduleId> {
        let mut step = self.step([schedule.place()]);
        let Some(waiting) = step.waiting(schedule) else { return Vec::new() };
        ids.retain(|id| waiting.take(id).is_some());
        step.forget_if_empty(schedule);
        ids
    }
}

impl Step<'_> {
    /// Lets an entry wait, whether or not there is room for it.
    pub(super) fn schedule(&mut self, schedule: &Schedule, scheduled: Scheduled) -> Result<(), BrokerError> {
        let put = self.waiting_or_new(schedule).put(schedule, scheduled);
        self.forget_if_empty(schedule);
        put
    }

    fn forget_if_empty(&mut self, schedule: &Schedule) {
        if self.waiting(schedule).is_some_and(|waiting| waiting.is_empty()) {
            self.shard(schedule.place()).schedules.remove(schedule.place());
        }
    }

    fn waiting(&mut self, schedule: &Schedule) -> Option<&mut Waiting> {
        self.shard(schedule.place()).schedules.get_mut(schedule.place())
    }

    fn waiting_or_new(&mut self, schedule: &Schedule) -> &mut Waiting {
        let budget = self.budget();
        let schedules = &mut self.shard(schedule.place()).schedules;
        schedules.entry(schedule.place().clone()).or_insert_with(|| Waiting::new(&budget))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::{
        Topic,
        broker::{Broker, memory::Memory},
    };

    #[tokio::test(start_paused = true)]
    async fn what_waits_counts_and_comes_on_the_paused_clock_to_the_millisecond() {
        let (broker, topic) = (Memory::with_bytes_max(10_000), Topic::new("t").unwrap());
        let (schedule, wait) = (topic.schedule(), Duration::from_secs(60));
        let entry = |id: &str, len: usize| {
            let mut fields = Fields::default();
            fields.push("p", vec![0; len]);
            Scheduled { id: ScheduleId::new(id.to_owned()).unwrap(), at: broker.now().plus(wait), fields }
        };
        let answers = broker.schedule(&schedule, vec![entry("a", 5000), entry("a", 4000), entry("b", 6000)]).await;
        assert!(matches!(&answers[..], [Ok(()), Ok(()), Err(BrokerError::Refused { code, .. })] if &**code == "OOM"));
        let used = broker.bytes_used();
        assert!((4000..5000).contains(&used), "{used}");
        advance(wait - Duration::from_millis(1)).await;
        assert_eq!(broker.move_due(&schedule, 10).await.unwrap().moved, 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(broker.move_due(&schedule, 10).await.unwrap().moved, 1);
        assert_eq!(broker.bytes_used(), used, "it only moved");
        broker.remove(vec![topic.inbound()]).await.unwrap();
        assert_eq!(broker.bytes_used(), 0);
    }
}
