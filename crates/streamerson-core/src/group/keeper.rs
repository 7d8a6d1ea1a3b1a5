//! Keeping: leases are renewed, abandoned deliveries taken over, finished entries trimmed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until};
use tracing::{debug, info, warn};

use super::{member::Shared, taker::Take};
use crate::{
    broker::{BrokerError, GroupInfo, Membership, Pending, ReclaimFrom, Reclaimed, TrimTo},
    dead_letter::DEAD_ENTRIES_MAX,
    entry::EntryId,
    wire::JS_ENTRIES_MAX,
};

/// How often abandoned deliveries are looked for and finished entries trimmed, at the least.
const RECLAIM_EVERY: Duration = Duration::from_secs(1);
/// How often events for everyone are trimmed that are too old.
const OUT_TRIM_EVERY: Duration = Duration::from_secs(10);
/// Calls in a row that take over while there is no place for suspects, at most.
const FRUITLESS_MAX: u32 = 4;
/// Deliveries taken over in one call, at most.
pub(super) const RECLAIM_MAX: usize = 100;
/// Settled deliveries after which finished entries are trimmed out of turn.
pub(super) const UNTRIMMED_MAX: usize = 10_000;
/// A member says at least so often that it lives, however long its lease: callers ask whether anybody does.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

fn every(period: Duration) -> Interval {
    // A lease of zero would be a period of zero, which an interval does not take.
    let mut interval = tokio::time::interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Renews the leases of all that is held, and passes on at once what is handed back, until the member is gone. A loop of
/// its own, so that nothing slow holds it up.
pub(super) async fn renew(shared: Arc<Shared>) {
    let mut ticks = every((shared.config.lease / 3).min(SIGN_OF_LIFE));
    loop {
        tokio::select! {
            // First: a member that is dropped is a crash, and what its handlers give up then waits for its lease.
            biased;
            () = shared.gone.cancelled() => return,
            () = shared.holdings().given_up.notified() => {
                hand_back(&shared).await;
                continue;
            }
            _ = ticks.tick() => {}
        }
        if let Err(error) = renew_now(&shared).await {
            debug!(member = ?shared.membership, held = shared.holdings().unsettled(), %error, "leases not renewed");
        }
        learn_finished(&shared, 1).await;
    }
}

/// Renews the leases of all that is held. Of nothing it is the sign of life alone.
pub(super) async fn renew_now(shared: &Shared) -> Result<(), BrokerError> {
    let ids = shared.holdings().ids();
    let since = Instant::now();
    let lost = shared.broker.renew(&shared.membership, ids.clone()).await?;
    let lost = shared.holdings().renewed(&ids, &lost, since);
    shared.metrics.group.leases_lost.add(lost as u64);
    if lost > 0 {
        warn!(member = ?shared.membership, lost, "leases lost: others have these deliveries");
    }
    Ok(())
}

/// Learns up to where the whole group has finished, if it has more than `own` members: a sole one knows best itself, unless
/// it has let something go.
pub(super) async fn learn_finished(shared: &Shared, own: u64) {
    if let Err(error) = try_learn_finished(shared, own).await {
        debug!(member = ?shared.membership, %error, "not known what the others hold");
    }
}

async fn try_learn_finished(shared: &Shared, own: u64) -> Result<(), BrokerError> {
    let Membership { key, group, .. } = &*shared.membership;
    let groups = shared.broker.groups(key).await?;
    // A group that is gone is about to be made again, where it was by what is known so far.
    let Some(info) = groups.into_iter().find(|info| info.name == *group) else { return Ok(()) };
    if info.members <= own && !shared.holdings().gave_up() {
        shared.holdings().learn(None);
        return Ok(());
    }
    // Asked after the other question: what was delivered in between lies above either answer.
    let lowest = Pending { key: key.clone(), group: group.clone(), member: None, from: EntryId::ZERO, count: 1 };
    let lowest = shared.broker.pending(lowest).await?;
    shared.holdings().learn(Some(lowest.first().map_or(info.last_delivered, |lowest| lowest.id.previous())));
    Ok(())
}

/// Gives what never started to whoever reclaims next. When it returns, so has every hand-back that began before.
pub(super) async fn hand_back(shared: &Shared) {
    let _one_by_one = shared.handing_back.lock().await;
    let handed_back = shared.holdings().take_handed_back();
    if handed_back.is_empty() {
        return;
    }
    let deliveries = handed_back.len();
    let mut unheard = Unheard(Some(shared));
    match shared.broker.hand_back(&shared.membership, handed_back).await {
        Ok(()) => {
            unheard.0 = None;
            shared.handed_back_count.fetch_add(deliveries, Ordering::Relaxed);
            shared.metrics.group.handed_back.add(deliveries as u64);
        }
        Err(error) => debug!(member = ?shared.membership, deliveries, %error, "not handed back; their leases will end"),
    }
}

/// A hand-back that the broker may not have heard of, when it fails or is dropped.
struct Unheard<'a>(Option<&'a Shared>);

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.leave_strays();
        }
    }
}

/// Takes over what others abandoned and trims what is finished, until the member is stopped.
pub(super) async fn reclaim_and_trim(take: Take) {
    let shared = &take.shared;
    let mut next = Instant::now();
    let mut trimmed_out = Instant::now();
    loop {
        tokio::select! {
            biased;
            // A call that is under way is not dropped: it may be about to bring deliveries.
            () = shared.stopped.cancelled() => return,
            // Before what comes more often than once a second.
            () = sleep_until(next) => {
                // Members that were started together do not look together, nor in step with what kills them.
                next = Instant::now() + RECLAIM_EVERY.mul_f64(0.5 + fastrand::f64() / 2.0);
                reclaim(&take).await;
                trim(shared).await;
                if trimmed_out.elapsed() >= OUT_TRIM_EVERY {
                    trimmed_out = Instant::now();
                    trim_out(shared).await;
                }
            }
            () = shared.trim_soon.notified() => trim(shared).await,
            () = shared.dispatch.hungry.notified() => reclaim(&take).await,
        }
    }
}

/// Takes over what nobody renewed, as far as there is room. Where there is none, whoever waits for room does so first.
pub(super) async fn reclaim(take: &Take) {
    let shared = &take.shared;
    if shared.sole.is_some() {
        // Whoever reads takes over too, in the order of the stream.
        return shared.is_behind();
    }
    let mut cursor = shared.reclaim_cursor.lock().await;
    // What members died of is given back where there is no place for it, so a long list of it is not walked in one go.
    let mut fruitless = 0;
    while fruitless < FRUITLESS_MAX {
        // Closed while a delivery has to be alone here.
        let Some(_open) = shared.neighbours.try_enter() else { return };
        if shared.stopped.is_cancelled() {
            return;
        }
        let room = shared.room().min(RECLAIM_MAX);
        if room == 0 {
            return shared.reclaim_is_due();
        }
        let Some((next, found)) = reclaim_some(take, *cursor, room).await else { return };
        *cursor = next;
        // Where something was found, more may follow. A list of what is all alive is looked through at leisure.
        if next == EntryId::ZERO || found == 0 {
            return;
        }
        fruitless += u32::from(shared.dispatch.is_full());
    }
}

/// One step of it: where to go on, and how much was found.
async fn reclaim_some(take: &Take, cursor: EntryId, count: usize) -> Option<(EntryId, usize)> {
    let shared = &take.shared;
    let since = Instant::now();
    match reclaim_from(shared, shared.config.lease, cursor, count).await {
        Ok(reclaimed) => {
            let deliveries = reclaimed.deliveries.len();
            if deliveries > 0 {
                info!(member = ?shared.membership, deliveries, "took over deliveries that nobody held any more");
            }
            shared.metrics.group.delivered(&reclaimed.deliveries);
            for delivered in reclaimed.deliveries {
                take.take_in(delivered, since).await;
            }
            Some((reclaimed.cursor, deliveries + reclaimed.trimmed.len()))
        }
        Err(error) => {
            debug!(member = ?shared.membership, %error, "could not look for abandoned deliveries");
            None
        }
    }
}

/// Takes over what was idle for so long.
pub(super) async fn reclaim_from(
    shared: &Shared,
    idle: Duration,
    cursor: EntryId,
    count: usize,
) -> Result<Reclaimed, BrokerError> {
    let from = ReclaimFrom {
        membership: (*shared.membership).clone(),
        lease: idle,
        cursor,
        count,
        // Whoever is the only one takes all in the order of the stream.
        handed_back_first: shared.sole.is_none(),
        dead: shared.dead.clone(),
        dead_entries_max: DEAD_ENTRIES_MAX,
    };
    let reclaimed = shared.broker.reclaim(from).await?;
    let metrics = &shared.metrics.group;
    metrics.taken_over.add(reclaimed.deliveries.len() as u64);
    metrics.dead_dropped.add(reclaimed.dead_dropped);
    metrics.trimmed(reclaimed.trimmed.len() as u64);
    if !reclaimed.trimmed.is_empty() {
        let entries = reclaimed.trimmed.len();
        warn!(key = %shared.membership.key, entries, "pending entries were gone from the stream; dead-lettered");
    }
    Ok(reclaimed)
}

/// Trims the stream if anything was settled since the last time.
pub(super) async fn trim(shared: &Shared) {
    let settled = shared.untrimmed.swap(0, Ordering::Relaxed);
    if settled == 0 {
        return;
    }
    let trimmed = if shared.topic.is_js() {
        trim_js(shared).await
    } else {
        shared.broker.trim(&shared.membership.key, TrimTo::Finished).await.map(drop)
    };
    if let Err(error) = trimmed {
        shared.untrimmed.fetch_add(settled, Ordering::Relaxed);
        debug!(key = %shared.membership.key, %error, "finished entries not trimmed");
    }
}

/// Removes events for everyone that are too old, whoever sent them. How many there are is bounded where they are sent.
async fn trim_out(shared: &Shared) {
    if shared.topic.is_js() {
        return;
    }
    let kept_ms = u64::try_from(shared.config.out_kept.as_millis()).unwrap_or(u64::MAX);
    let oldest = EntryId::new(shared.broker.now().0.saturating_sub(kept_ms), 0);
    let key = shared.topic.outbound();
    if let Err(error) = shared.broker.trim(&key, TrimTo::Before(oldest)).await {
        debug!(%key, %error, "old events not trimmed");
    }
}

/// In the original's format others read without a group, so what the groups have finished stays for them, up to a
/// number of entries. Their clients never trim. Where more than that many wait, nothing goes: they would be lost.
async fn trim_js(shared: &Shared) -> Result<(), BrokerError> {
    let key = &shared.membership.key;
    let Some(info) = shared.broker.stream_info(key).await?.filter(|info| info.len > JS_ENTRIES_MAX) else {
        return Ok(());
    };
    let waits = |group: GroupInfo| {
        let lag = group.lag.or((group.last_delivered >= info.last).then_some(0))?;
        Some(lag.saturating_add(group.pending))
    };
    let mut groups = shared.broker.groups(key).await?.into_iter();
    if groups.all(|group| waits(group).is_some_and(|waiting| waiting < JS_ENTRIES_MAX)) {
        shared.broker.trim(key, TrimTo::Entries(JS_ENTRIES_MAX)).await?;
    }
    Ok(())
}
