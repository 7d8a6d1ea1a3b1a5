//! One shard, from when this process has it until it does not.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::super::{
    held::Held,
    member::{Member, MemberConfig, Place},
    neighbours::Neighbours,
    ownership::Ownership,
};
use crate::{
    broker::{BrokerError, SharedBroker},
    name::Name,
    produce,
    topic::Topic,
};

/// How long a shard that moves waits for handlers: they decide. A shard moves only once nothing is at work in it.
const UNTIL_DONE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// After what time it is said that a shard waits for its handlers, each time.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What the owners of all shards of this process share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) broker: SharedBroker,
    pub(super) group: Name,
    pub(super) config: MemberConfig,
    pub(super) neighbours: Arc<Neighbours>,
    /// How many deliveries are handled at the same time, over all shards.
    pub(super) permits: Arc<Semaphore>,
    pub(super) hand_over: mpsc::Sender<Handed>,
}

/// A delivery on its way to whoever handles it, and the right to handle it.
pub(super) type Handed = (Held, Arc<Ownership>);

/// How it ended that this process had a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All is settled or handed back, so many of them, and the shard is free for another.
    Left(usize),
    /// Somebody else has it.
    Lost,
}

/// Why a delivery was not handed over, or the member is to be no more.
enum Stop {
    Released,
    Lost,
}

/// Handles one shard until it is to be released or is lost.
pub(super) async fn own(
    common: Arc<Common>,
    topic: Topic,
    ownership: Arc<Ownership>,
    released: CancellationToken,
) -> End {
    let owner = Owner { common: &common, topic: &topic, ownership: &ownership, released: &released };
    let member = tokio::select! {
        biased;
        () = released.cancelled() => return End::Left(0),
        () = ownership.lost() => return End::Lost,
        member = owner.join() => member,
    };
    owner.run(member).await
}

struct Owner<'a> {
    common: &'a Arc<Common>,
    topic: &'a Topic,
    ownership: &'a Arc<Ownership>,
    released: &'a CancellationToken,
}

impl Owner<'_> {
    /// Becomes a member of the group on this shard, however long it takes.
    async fn join(&self) -> Member {
        let Common { broker, group, config, neighbours, .. } = &**self.common;
        let mut warned = false;
        loop {
            let place = Place { neighbours: Arc::clone(neighbours), sole: Some(Arc::clone(self.ownership)) };
            let joined =
                Member::join_beside(broker.clone(), self.topic.clone(), group.clone(), config.clone(), place).await;
            match joined {
                Ok(member) => return member,
                Err(error) => self.say_why_not(&error, &mut warned),
            }
            produce::pause().await;
            produce::wait_until_up(&**broker).await;
        }
    }

    fn say_why_not(&self, error: &BrokerError, warned: &mut bool) {
        let Self { topic, .. } = self;
        // An outage is reported once, by the adapter, for all that suffer from it.
        if error.is_transient() || std::mem::replace(warned, true) {
            debug!(%topic, %error, "the shard cannot be handled yet");
        } else {
            warn!(%topic, %error, "the shard cannot be handled; trying again");
        }
    }

    async fn run(&self, mut member: Member) -> End {
        let held_by = Arc::clone(member.shared());
        let stop = loop {
            tokio::select! {
                biased;
                () = self.ownership.lost() => break Stop::Lost,
                () = self.released.cancelled() => break Stop::Released,
                held = member.next() => {
                    let Some(held) = held else { break Stop::Released };
                    if let Err(stop) = self.pass_on(held).await {
                        break stop;
                    }
                }
            }
        };
        if let Stop::Released = stop {
            let leave = member.leave(UNTIL_DONE);
            tokio::select! {
                biased;
                () = self.ownership.lost() => {}
                handed_back = leave => return End::Left(handed_back),
                never = self.say_that_it_waits() => match never {},
            }
        }
        // As after a crash: whoever has the shard now has taken all of it, and what handlers come to is discarded.
        let lost = held_by.holdings().lose_all();
        held_by.metrics.group.leases_lost.add(lost as u64);
        End::Lost
    }

    /// Passes a delivery on to whoever handles it, under a permit of all shards.
    async fn pass_on(&self, mut held: Held) -> Result<(), Stop> {
        let ready = async {
            let permit = self.permit().await;
            // By now the lease may be in doubt.
            let lasts = self.ownership.until_it_lasts(Duration::ZERO).await;
            Some((permit, self.common.hand_over.reserve().await.ok()?)).filter(|_| lasts)
        };
        let stop = tokio::select! {
            biased;
            () = self.ownership.lost() => Stop::Lost,
            () = self.released.cancelled() => Stop::Released,
            ready = ready => match ready {
                Some((permit, room)) => {
                    held.permit = permit;
                    room.send((held, Arc::clone(self.ownership)));
                    return Ok(());
                }
                // Nobody waits for deliveries any more.
                None => Stop::Released,
            },
        };
        held.hand_back();
        Err(stop)
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.common.permits).acquire_owned().await.ok()
    }

    async fn say_that_it_waits(&self) -> Infallible {
        let topic = self.topic;
        loop {
            tokio::time::sleep(SAY_EVERY).await;
            warn!(%topic, "the shard is to go to another member, and waits for handlers that are at work in it");
        }
    }
}
