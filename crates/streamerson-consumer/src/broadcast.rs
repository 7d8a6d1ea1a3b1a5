//! Events for everyone: each process that listens handles all of them, without a group.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use futures_util::StreamExt;
use streamerson_core::{
    BrokerError, Cursor, Message, Topic, Wire,
    broker::Membership,
    group::Delivery,
    subscription::Received,
    wire::{JS_REPLY, WireFormat},
};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::{
    error::RunError,
    handler_error::{HandlerError, Kind},
    incoming::Incoming,
    outcome,
    worker::{Handling, Running},
};

impl Running {
    pub(crate) async fn broadcast(self, topic: Topic, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { broker, group, member, drain, handling } = self;
        let (concurrency, handlers) = (member.concurrency, handling.router.routes.len());
        let wire = Wire { payload_bytes_max: member.payload_bytes_max };
        let listener = Arc::new(Membership::new(topic.outbound(), group));
        let mut events = broker.subscribe(topic.outbound(), Cursor::End);
        info!(%topic, concurrency, handlers, "consumer of events for everyone started");

        // Whoever drops this future instead of ending it does not leave handlers behind.
        let _ended = handling.run.over.clone().drop_guard();
        let (tasks, permits) = (TaskTracker::new(), Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))));
        let mut shutdown = pin!(shutdown);
        let ended = loop {
            let next = async {
                // No more is taken than can be handled. The semaphore is never closed.
                let permit = Arc::clone(&permits).acquire_owned().await.ok();
                (permit, events.next().await)
            };
            let (permit, event) = tokio::select! {
                biased;
                () = &mut shutdown => break Ok(()),
                next = next => next,
            };
            let received = match event {
                Some(Ok(received)) => received,
                Some(Err(error @ BrokerError::Gap { .. })) => {
                    warn!(%topic, %error, "events for everyone were missed");
                    continue;
                }
                Some(Err(error)) => break Err(error.into()),
                // Nobody ends it but this.
                None => break Ok(()),
            };
            let Some(delivery) = delivery(&received, &topic, wire, &listener) else { continue };
            let handling = Arc::clone(&handling);
            tasks.spawn(Box::pin(async move {
                handling.handle_event(delivery).await;
                drop(permit);
            }));
        };
        handling.run.end(&tasks, Instant::now() + drain).await;
        let handled = handling.handled.load(Ordering::Relaxed);
        info!(%topic, handled, unfinished = tasks.len(), "consumer of events for everyone stopped");
        ended
    }
}

fn delivery(received: &Received, topic: &Topic, wire: Wire, listener: &Arc<Membership>) -> Option<Delivery> {
    let entry = received.entry.id;
    match wire.decode_for(topic, &received.entry.fields) {
        // Not meant for everyone, although it lies there.
        Ok(message) if topic.wire() == WireFormat::Js && message.event.as_str() == JS_REPLY => None,
        Ok(message) => Some(Delivery::ungrouped(message, topic.clone(), Arc::clone(listener), entry)),
        Err(error) => {
            // Everybody who listens finds the same, so nobody keeps it.
            warn!(%topic, %entry, %error, "malformed event for everyone ignored");
            None
        }
    }
}

impl Handling {
    /// One event. Where nobody asked, and nothing is held, a failure is only to be told of.
    async fn handle_event(&self, delivery: Delivery) {
        let incoming = Incoming::of_event(delivery, Arc::clone(&self.run));
        let Some(result) = self.come_to(&incoming).await else { return };
        self.handled.fetch_add(1, Ordering::Relaxed);
        let Message { event, id, .. } = incoming.message();
        match result.and_then(outcome::refuse_failures) {
            Ok(reply) if outcome::status(&reply).as_u16() < 400 => self.send_out(&incoming).await,
            Ok(reply) => warn!(%event, %id, answer = %reply.problem(), "event for everyone refused"),
            Err(HandlerError { kind: Kind::Failed { reason, .. }, error }) => {
                warn!(%event, %id, %reason, error, "event for everyone not handled");
            }
            Err(error) => debug!(%event, %id, %error, "event for everyone not handled"),
        }
    }

    async fn send_out(&self, incoming: &Incoming) {
        for (key, message) in incoming.take_emitted() {
            if let Err(error) = self.run.broker.publish(key.clone(), &message).await {
                let Message { event, id, .. } = &message;
                warn!(%event, %id, %key, %error, "what a handler of an event for everyone sent out may be lost");
            }
        }
    }
}
