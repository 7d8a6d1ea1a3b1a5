//! Settling: outcomes that queue while a batch is under way go next, as one batch.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, warn};

use super::{
    Delivery, Outcome, Settled,
    dispatch::Taken,
    held::{Ended, HeldState},
    member::{MemberConfig, Shared},
};
use crate::{
    broker::{Append, BrokerError, DeadAppend, Fence, Later, Mark, ReplyAppend, Scheduled, Settlement},
    dead_letter::{DeadLetter, Reason},
    entry::EntryId,
    headers::Headers,
    message::{Message, UnixMillis},
    metrics::{End, EventMetrics},
    name::{Name, ScheduleId},
    problem::Problem,
    produce,
    reply::{Reply, StoredReply},
    topic::StreamKey,
    wire::TooLarge,
};

/// Deliveries in one batch, at most.
const BATCH_MAX: usize = 256;
/// Batches under way at the same time, at most. More than one keeps the broker busy while answers travel.
const BATCHES_MAX: usize = 4;

/// When an attempt is due whose pause is longer than the clock goes.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Settles what ends until the last handle is gone, or the member is.
pub(super) async fn settle_all(shared: Arc<Shared>, ended: mpsc::Receiver<Ended>) {
    tokio::select! {
        biased;
        // As after a crash: what is not settled stays pending.
        () = shared.gone.cancelled() => {}
        () = settle_until_closed(&shared, ended) => {}
    }
}

async fn settle_until_closed(shared: &Shared, mut ended: mpsc::Receiver<Ended>) {
    let mut under_way = FuturesUnordered::new();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            // First, as this is what moves batches on.
            Some(()) = under_way.next() => {}
            received = ended.recv_many(&mut batch, BATCH_MAX), if under_way.len() < BATCHES_MAX => {
                if received == 0 {
                    break;
                }
                under_way.push(settle_batch(shared, std::mem::take(&mut batch)));
            }
        }
    }
    while under_way.next().await.is_some() {}
}

async fn settle_batch(shared: &Shared, mut ended: Vec<Ended>) {
    shared.holdings().retain_held(&mut ended);
    ended.retain(|ended| !shared.holds_for_retry(ended));
    if ended.is_empty() {
        return;
    }
    let half_lease = shared.config.lease / 2;
    let fresh = shared.sole.as_ref().is_none_or(|sole| sole.lasts(sole.ttl() / 2))
        && ended.iter().all(|ended| ended.state.is_fresh(half_lease));
    let fence = if fresh { Fence::Renewed } else { Fence::Check };
    let mut counts = Vec::with_capacity(ended.len());
    let (held, batch): (Vec<_>, Vec<_>) = ended
        .into_iter()
        .map(|ended| {
            let (held, mut count) = ((ended.entry, Arc::clone(&ended.state)), Count::of(shared, &ended));
            let settlement = settlement(shared, ended);
            count.correct(&settlement);
            counts.push(count);
            (held, settlement)
        })
        .unzip();
    let Err(error) = settle(shared, &held, &batch, &counts, fence).await else { return };
    if let [(entry, state)] = &held[..] {
        return give_up(shared, *entry, state, &error);
    }
    // One of them cannot be settled; the others must not share its fate.
    for ((held, settlement), count) in held.iter().zip(batch).zip(counts) {
        if let Err(error) = settle(shared, std::slice::from_ref(held), &[settlement], &[count], Fence::Check).await {
            give_up(shared, held.0, &held.1, &error);
        }
    }
}

/// What is counted of a delivery once it is settled.
struct Count<'a> {
    of: &'a EventMetrics,
    end: End,
    /// Whether it was counted before.
    is_counted: bool,
}

impl<'a> Count<'a> {
    fn of(shared: &'a Shared, ended: &Ended) -> Self {
        let event = ended.delivery.as_deref().map(|delivery| &delivery.message.event);
        let end = End::of(&ended.settled.outcome, asked(ended).is_some());
        Self { of: shared.metrics.of_any(event), end, is_counted: ended.counted }
    }

    /// An answer that is too large to be sent becomes a dead letter.
    fn correct(&mut self, settlement: &Settlement) {
        if settlement.dead.is_some() && !matches!(self.end, End::Dead(_)) {
            self.end = End::Dead(Reason::Failed);
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        std::ptr::eq(self.of, other.of) && self.end == other.end && self.is_counted == other.is_counted
    }
}

/// Counts what was settled, and what ended alike as one: of a batch most did.
fn count(settled: &[&Count<'_>]) {
    for alike in settled.chunk_by(|one, next| one.is_like(next)) {
        if !alike[0].is_counted {
            alike[0].of.ended(alike[0].end, alike.len() as u64);
        }
    }
}

/// Nothing to be done here: the entry stays pending, and whoever gets it next tries again.
fn give_up(shared: &Shared, entry: EntryId, state: &Arc<HeldState>, error: &BrokerError) {
    warn!(member = ?shared.membership, %entry, %error, "cannot be settled; the message will be delivered again");
    shared.dispatch.forget(entry, state);
}

/// Settles deliveries in one step, through outages and lost groups. What it fails with is for good.
async fn settle(
    shared: &Shared,
    held: &[(EntryId, Arc<HeldState>)],
    batch: &[Settlement],
    counts: &[Count<'_>],
    mut fence: Fence,
) -> Result<(), BrokerError> {
    loop {
        match shared.broker.settle(&shared.membership, batch, fence).await {
            Ok(settled) => {
                let lost = settled.lost;
                if !lost.is_empty() {
                    debug!(member = ?shared.membership, lost = lost.len(), "settled before, or others have them");
                }
                shared.settled(held, &lost);
                shared.metrics.group.batches.observe(batch.len() as u64);
                shared.metrics.group.dead_dropped.add(settled.dead_dropped);
                let is_ours = |(id, _): &(EntryId, _)| !lost.contains(id);
                let ours = held.iter().zip(counts).filter(|(held, _)| is_ours(held)).map(|(_, count)| count);
                count(&ours.collect::<Vec<_>>());
                return Ok(());
            }
            Err(error) if error.is_transient() => {
                debug!(member = ?shared.membership, %error, "settling must wait");
                produce::pause().await;
                produce::wait_until_up(&*shared.broker).await;
            }
            Err(BrokerError::NoGroup { .. }) => {
                // What is held is above the place where the new group starts, so it is delivered again.
                shared.make_group().await;
                produce::pause().await;
            }
            Err(error) => return Err(error),
        }
        // What was renewed before an outage may have been taken over after it, and this may have been done already.
        fence = Fence::Check;
    }
}

fn settlement(shared: &Shared, mut ended: Ended) -> Settlement {
    let settled = std::mem::replace(&mut ended.settled, Outcome::Done.into());
    build(shared, &ended, settled).unwrap_or_else(|too_large| {
        let detail = "the handler's answer is larger than allowed";
        let problem = Problem::new(http::StatusCode::BAD_GATEWAY).with_detail(detail);
        let reply = asked(&ended).map(|(delivery, _)| problem.with("id", delivery.message.id.as_str()).into());
        let outcome = Outcome::Dead { reason: Reason::Failed, error: format!("{detail}: {too_large}"), reply };
        // A problem document of this size fits any bound.
        build(shared, &ended, outcome.into()).unwrap_or_else(|_| Settlement::done(ended.entry))
    })
}

fn build(shared: &Shared, ended: &Ended, settled: Settled) -> Result<Settlement, TooLarge> {
    let mut later = None;
    let mark = mark(ended, &settled);
    let (reply, dead) = match settled.outcome {
        Outcome::Replied(reply) => (Some(reply), None),
        // Whoever waits is told that there is nothing to tell.
        Outcome::Done => (Some(Reply::new("")), None),
        Outcome::Expired => (None, None),
        Outcome::Retried { after, .. } => {
            later = ended.delivery.as_deref().map(|delivery| next_attempt(shared, delivery, after)).transpose()?;
            (None, None)
        }
        Outcome::Dead { reason, error, reply } => {
            let letter = shared.dead_letter(reason, &error, ended.entry).with_attempts(attempts(ended, reason));
            (reply, Some(DeadAppend::new(shared.dead.clone(), letter.fields(&ended.state.fields))))
        }
    };
    let emitted = settled.emitted.into_iter();
    let emitted = emitted.map(|(key, message)| emit(shared, key, &message));
    let emitted = emitted.collect::<Result<_, _>>()?;
    let mut settlement = Settlement { id: ended.entry, reply: None, emitted, dead, later, mark };
    if let (Some(reply), Some((delivery, inbox))) = (reply, asked(ended)) {
        add_reply(&mut settlement, shared, delivery, inbox, reply)?;
    }
    Ok(settlement)
}

fn emit(shared: &Shared, key: StreamKey, message: &Message) -> Result<Append, TooLarge> {
    let is_own = !shared.topic.is_js() && key == shared.topic.outbound();
    let mut append = produce::append_of(shared.wire, key, message)?;
    if is_own {
        append.entries_max = Some(shared.config.out_entries_max);
    }
    Ok(append)
}

fn add_reply(
    settlement: &mut Settlement,
    shared: &Shared,
    delivery: &Delivery,
    inbox: &Name,
    reply: Reply,
) -> Result<(), TooLarge> {
    let (key, mut message) = (delivery.topic.inbox(inbox), reply.into_message(delivery.message.id.clone()));
    if delivery.topic.is_js() {
        // The stream that all clients share may not exist yet, and then this makes it: so it is emitted.
        if let Some(source) = delivery.message.headers.get(Headers::SOURCE) {
            message.headers.set(Headers::SOURCE, source);
        }
        settlement.emitted.push(produce::append_of(shared.wire, key, &message)?);
    } else {
        settlement.reply = Some(ReplyAppend { key, fields: shared.wire.encode(&message)? });
    }
    Ok(())
}

/// The mark that remembers what was handled.
fn mark(ended: &Ended, settled: &Settled) -> Option<Mark> {
    let (remember, delivery) = (settled.remember?, ended.delivery.as_deref()?);
    let nothing = Reply::new("");
    let reply = match &settled.outcome {
        Outcome::Replied(reply) => reply,
        Outcome::Done => &nothing,
        Outcome::Expired | Outcome::Retried { .. } | Outcome::Dead { .. } => return None,
    };
    let fingerprint = delivery.message.fingerprint();
    let value = StoredReply::encode(Some(reply).filter(|_| remember.reply), Some(&fingerprint));
    let ttl = remember.ttl;
    Some(Mark { key: delivery.topic.done_mark(&delivery.membership.group, &delivery.message.id), value, ttl })
}

/// The same message for this group alone, after a while.
fn next_attempt(shared: &Shared, delivery: &Delivery, after: Duration) -> Result<Later, TooLarge> {
    let Delivery { message, topic, membership, failures, .. } = delivery;
    let again = message
        .clone()
        .with_header(Headers::ATTEMPT, failures.saturating_add(1).to_string())
        .with_header(Headers::ONLY_GROUP, membership.group.as_str());
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    let scheduled = Scheduled {
        id: ScheduleId::of_retry(&membership.group, &message.id),
        at: UnixMillis(shared.broker.now().0.saturating_add(after_ms)),
        fields: shared.wire.encode_for(topic, &again)?,
    };
    Ok(Later { schedule: topic.schedule(), scheduled })
}

/// Who is to be answered, and where.
fn asked(ended: &Ended) -> Option<(&Delivery, &Name)> {
    let delivery = ended.delivery.as_deref().filter(|_| !ended.silent)?;
    Some((delivery, delivery.message.inbox.as_ref()?))
}

/// How often a handler ran: what earlier attempts noted, and this one where it came to that.
fn attempts(ended: &Ended, reason: Reason) -> u32 {
    let failures = ended.delivery.as_ref().map_or(0, |delivery| delivery.failures);
    failures.saturating_add(u32::from(matches!(reason, Reason::Failed | Reason::Panicked)))
}

impl Shared {
    /// Keeps a delivery for another attempt, if that is how it ended and this member may hold it for so long.
    fn holds_for_retry(&self, ended: &Ended) -> bool {
        let Outcome::Retried { after, error } = &ended.settled.outcome else { return false };
        let Some(delivery) = &ended.delivery else { return false };
        let MemberConfig { retry_held_max, held_max, ordered_by, .. } = &self.config;
        if self.stopped.is_cancelled() {
            // Whoever has the shard next begins with it.
            if self.keeps_order() {
                self.dispatch.hand_back(ended.entry, &ended.state);
            }
            return self.keeps_order();
        }
        // The schedule would let others with its key overtake it. Of the room half is left for what comes new.
        let short = after <= retry_held_max && self.dispatch.retries() < held_max.div_ceil(2);
        if !(short || ordered_by.is_some()) {
            return false;
        }
        let Delivery { message, entry, .. } = &**delivery;
        let delivery = Delivery { failures: delivery.failures.saturating_add(1), ..Delivery::clone(delivery) };
        debug!(event = %message.event, id = %message.id, %entry, ?after, error, "another attempt will follow");
        ended.state.ended.store(false, Ordering::Release);
        self.metrics.of(&message.event).ended(End::Retried, 1);
        let taken = Taken { delivery: Arc::new(delivery), state: Arc::clone(&ended.state) };
        let now = Instant::now();
        self.dispatch.retry(taken, now.checked_add(*after).unwrap_or(now + FOR_EVER));
        true
    }

    fn dead_letter(&self, reason: Reason, error: &str, entry: EntryId) -> DeadLetter {
        let (group, member) = (self.membership.group.clone(), self.membership.member.clone());
        DeadLetter::new(reason, error, group, member, entry).at(self.broker.now())
    }
}
