//! Taking new deliveries: never more than can be handed out, through outages and lost groups.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::StatusCode;
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, info, warn};

use super::{Delivery, Outcome, catch_up::CatchUp, dispatch::Taken, held::Ended, keeper, member::Shared};
use crate::{
    broker::{BrokerError, Delivered, Membership, Pending},
    dead_letter::Reason,
    entry::{Entry, EntryId},
    name::{EventType, MessageId},
    problem::Problem,
    produce,
};

/// Deliveries in one read, at most.
const READ_MAX: usize = 1000;
/// How long after its time a read may still deliver to a connection that is gone.
const LATE_MAX: Duration = Duration::from_millis(200);
/// The longest pause between two attempts at something that keeps failing.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where deliveries go that were taken: to whoever handles them, or straight to be settled.
#[derive(Clone)]
pub(super) struct Take {
    pub(super) shared: Arc<Shared>,
    /// Held for as long as more may come; see [`Dispatch`](super::dispatch::Dispatch).
    pub(super) _hand_over: mpsc::UnboundedSender<Taken>,
    pub(super) settle: mpsc::Sender<Ended>,
}

impl Take {
    /// Takes a delivery in, and hands it over if a handler should see it. What is no message, too late, meant for
    /// another group or delivered too often ends here.
    pub(super) async fn take_in(&self, delivered: Delivered, since: Instant) {
        let Delivered { entry, count } = delivered;
        let shared = &self.shared;
        let Entry { id: entry, fields } = entry;
        let Some(state) = shared.holdings().take(entry, fields, since) else { return };
        let message = match shared.wire.decode_for(&shared.topic, &state.fields) {
            Ok(message) => message,
            Err(error) => {
                warn!(key = %shared.membership.key, %entry, %error, "malformed entry dead-lettered");
                let outcome = Outcome::Dead { reason: Reason::Malformed, error: error.to_string(), reply: None };
                return self.end(Ended::malformed(entry, state, outcome)).await;
            }
        };
        let delivery = Arc::new(Delivery {
            failures: Delivery::failures_of(&message),
            message,
            topic: shared.topic.clone(),
            membership: Arc::clone(&shared.membership),
            entry,
            count,
            epoch: shared.sole.as_ref().map(|sole| sole.epoch),
        });
        let outcome = if delivery.is_for_others() {
            // Not even answered: the group that it is meant for does that.
            return self.end(Ended { silent: true, ..Ended::new(&delivery, &state, Outcome::Done.into()) }).await;
        } else if delivery.message.event == EventType::CANCEL && !shared.topic.is_js() {
            self.cancel(&delivery.message.id);
            Outcome::Done
        } else if delivery.is_expired(shared.broker.now()) {
            Outcome::Expired
        } else if count > shared.config.deliveries_max {
            abandoned(&delivery)
        } else {
            if delivery.message.inbox.is_some() {
                _ = state.id.set(delivery.message.id.clone());
            }
            return shared.dispatch.arrive(&shared.config, Taken { delivery, state });
        };
        self.end(Ended::new(&delivery, &state, outcome.into())).await;
    }

    /// Whoever sent this request has gone.
    fn cancel(&self, id: &MessageId) {
        let found = self.shared.holdings().cancel(id);
        debug!(member = ?self.shared.membership, %id, found, "a caller has gone");
    }

    async fn end(&self, ended: Ended) {
        let shared = &self.shared;
        let (entry, state) = (ended.entry, Arc::clone(&ended.state));
        state.ended.store(true, Ordering::Release);
        tokio::select! {
            biased;
            // It fails when the member is gone, and then the lease takes care of it.
            _ = self.settle.send(ended) => {}
            // A member that leaves during an outage does not wait for room among what can't be settled.
            () = shared.stopped.cancelled() => shared.dispatch.hand_back(entry, &state),
        }
    }
}

fn abandoned(delivery: &Delivery) -> Outcome {
    let Delivery { message, entry, count, .. } = delivery;
    warn!(event = %message.event, id = %message.id, %entry, count, "delivered too often; dead-lettered");
    let problem = Problem::new(StatusCode::BAD_GATEWAY)
        .with_detail("the request was given up after the workers that had it died")
        .with("id", message.id.as_str());
    let error = format!("{} members had it and none of them ended it", count.saturating_sub(1));
    Outcome::Dead { reason: Reason::Abandoned, error, reply: Some(problem.into()) }
}

/// Reads new deliveries until the member is stopped. The one owner of the group reader.
pub(super) async fn take_new(take: Take) {
    let shared = &take.shared;
    let mut reader = shared.broker.group_reader(&shared.membership);
    let (waker, stopped) = (reader.waker(), shared.stopped.clone());
    _ = shared.reader.set(waker.clone());
    tokio::spawn(async move {
        stopped.cancelled().await;
        waker.wake();
    });
    let mut trouble = Trouble::default();
    // The last entry that a read brought, and until when a later one may bring more than arrives.
    let (mut last, mut astray) = (EntryId::ZERO, None::<Instant>);
    let mut catch_up = CatchUp::default();
    while let Some(room) = room(shared).await {
        if shared.take_reclaim_is_due() {
            keeper::reclaim(&take).await;
            // There may be no room any more.
            continue;
        }
        // Also what was given back without the broker's hearing of it: it comes before all that is read next.
        if shared.take_strays() {
            astray = astray.or_else(|| Some(Instant::now()));
        }
        if let Some(until) = astray {
            // From before the look, which finds what comes until then.
            let now = Instant::now();
            let looked = !give_up_strays(shared, last).await.is_err_and(|error| error.is_transient());
            shared.is_behind();
            if looked && now >= until {
                astray = None;
            }
        }
        if let Some(sole) = &shared.sole {
            let caught_up = if astray.is_some() { Ok(()) } else { catch_up.go(&take, sole).await };
            if let Err(error) = &caught_up {
                debug!(member = ?shared.membership, %error, "cannot catch up yet");
                astray = Some(Instant::now());
            }
            // Whatever may still arrive comes before what a read would bring.
            if astray.is_some() {
                produce::pause().await;
                continue;
            }
        }
        // Closed while a delivery has to be alone here, which may be for longer than this member.
        let open = tokio::select! {
            biased;
            () = shared.stopped.cancelled() => break,
            open = shared.neighbours.enter() => open,
        };
        // The only one reads on once it has what was left pending, as that comes first.
        if shared.is_behind_now() {
            continue;
        }
        let since = Instant::now();
        // Awaited to its end, whatever happens meanwhile: a read that is dropped may strand deliveries.
        match reader.read(room.min(READ_MAX), shared.config.block).await {
            Ok(delivered) => {
                trouble.is_over(shared);
                if !shared.may_handle() {
                    // Somebody else may be the owner by now.
                    if !delivered.is_empty() {
                        astray = Some(Instant::now());
                    }
                    continue;
                }
                last = delivered.last().map_or(last, |delivered| delivered.entry.id);
                shared.metrics.group.delivered(&delivered);
                for delivered in delivered {
                    take.take_in(delivered, since).await;
                }
            }
            Err(BrokerError::NoGroup { .. }) => {
                drop(open);
                trouble.make_group(shared).await;
            }
            Err(error) => {
                drop(open);
                if matches!(error, BrokerError::Interrupted { .. }) {
                    // The broker may not know that the connection is gone, and deliver to it for as long as it waits.
                    astray = Some(since + shared.config.block + LATE_MAX);
                }
                trouble.rest(shared, &error).await;
            }
        }
    }
    if astray.is_some()
        && let Err(error) = give_up_strays(shared, last).await
    {
        debug!(member = ?shared.membership, %error, "deliveries on their way wait for the end of their lease");
    }
}

/// Hands back what a read that was cut off may have been about to bring: it is pending here, and nobody knows of it.
/// Without this it would wait until a lease that never began is over.
async fn give_up_strays(shared: &Shared, after: EntryId) -> Result<(), BrokerError> {
    let Membership { key, group, member } = &*shared.membership;
    // What an owner was about to take over may lie before what it has read.
    let mut from = if shared.sole.is_some() { EntryId::ZERO } else { after.next() };
    loop {
        let (key, group, member) = (key.clone(), group.clone(), Some(member.clone()));
        let pending = shared.broker.pending(Pending { key, group, member, from, count: READ_MAX }).await?;
        let strays: Vec<_> = pending.iter().map(|entry| entry.id).filter(|id| !shared.holdings().holds(*id)).collect();
        if !strays.is_empty() {
            debug!(member = ?shared.membership, deliveries = strays.len(), "deliveries went astray and are handed back");
            shared.broker.hand_back(&shared.membership, strays).await?;
        }
        match pending.last().filter(|_| pending.len() == READ_MAX) {
            Some(last) => from = last.id.next(),
            None => return Ok(()),
        }
    }
}

/// Waits for room for at least one delivery; `None` when the member is stopped.
async fn room(shared: &Shared) -> Option<usize> {
    loop {
        if shared.stopped.is_cancelled() {
            return None;
        }
        match shared.room() {
            0 => {}
            room => return Some(room),
        }
        tokio::select! {
            biased;
            // What was freed since the look is remembered.
            () = shared.holdings().freed.notified() => {}
            () = shared.stopped.cancelled() => {}
        }
    }
}

/// Failures in a row: one warning for each run of them, and pauses that grow.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    warned: bool,
}

impl Trouble {
    fn is_over(&mut self, shared: &Shared) {
        if self.warned {
            info!(member = ?shared.membership, failures = self.failures, "deliveries are read again");
        }
        *self = Self::default();
    }

    async fn make_group(&mut self, shared: &Shared) {
        shared.make_group().await;
        // The first time there is no pause; a group that goes again and again is not chased in a hot loop.
        if self.failures > 0 {
            self.pause(shared).await;
        }
        self.failures += 1;
    }

    async fn rest(&mut self, shared: &Shared, error: &BrokerError) {
        // An outage is reported once, by the adapter, for all that suffer from it.
        let outage = matches!(error, BrokerError::Unavailable { .. } | BrokerError::Interrupted { .. });
        if outage || self.warned {
            debug!(member = ?shared.membership, %error, "deliveries cannot be read");
        } else {
            self.warned = true;
            warn!(member = ?shared.membership, %error, "deliveries cannot be read; trying again");
        }
        self.failures += 1;
        self.pause(shared).await;
        if outage {
            tokio::select! {
                biased;
                () = produce::wait_until_up(&*shared.broker) => {}
                () = shared.stopped.cancelled() => {}
            }
        }
    }

    async fn pause(&self, shared: &Shared) {
        let pause = Duration::from_millis(50) * 2_u32.saturating_pow(self.failures.min(10));
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause.min(PAUSE_MAX)) => {}
            () = shared.stopped.cancelled() => {}
        }
    }
}
