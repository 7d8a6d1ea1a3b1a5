//! The tasks behind a client: one reads all its inboxes, one keeps them.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    channel::{Channel, Channels},
    gone::Gone,
    pending::PendingCalls,
};
use crate::{
    broker::{BrokerError, ReadWaker, Reader, SharedBroker, TrimTo},
    entry::{Entry, EntryId},
    produce,
    reply::Reply,
    topic::StreamKey,
    wire::Wire,
};

/// How many replies one read takes from each inbox.
const REPLIES_PER_READ: usize = 1000;
/// How many replies may lie behind the cursor of an inbox before it is trimmed out of turn.
const UNTRIMMED_MAX: usize = 10_000;
/// How often inboxes are trimmed, and idle ones looked for.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// How often inboxes are refreshed.
const REFRESH_EVERY: Duration = Duration::from_secs(30);

/// What the tasks share with the client.
#[derive(Debug)]
pub(super) struct Inboxes {
    pub(super) broker: SharedBroker,
    pub(super) wire: Wire,
    pub(super) block: Duration,
    pub(super) channels: Channels,
    pub(super) pending: Arc<PendingCalls>,
    pub(super) closed: CancellationToken,
    pub(super) trim_soon: Notify,
    pub(super) gone: Gone,
}

impl Inboxes {
    /// Reads replies until the client is closed, and hands each to the call that waits for it.
    ///
    /// One reader serves all topics: a reader for each would cost a connection and a wait each.
    pub(super) async fn read(self: Arc<Self>, mut reader: Box<dyn Reader>) {
        let mut cursors: Vec<(StreamKey, EntryId)> = Vec::new();
        let mut channels: Vec<Arc<Channel>> = Vec::new();
        let mut generation = None;
        while !self.closed.is_cancelled() {
            let now = self.channels.generation();
            if generation != Some(now) {
                generation = Some(now);
                channels = self.channels.open_ones();
                cursors = channels.iter().map(|channel| (channel.inbox_key.clone(), EntryId::ZERO)).collect();
            }
            for (cursor, channel) in cursors.iter_mut().zip(&channels) {
                cursor.1 = channel.inbox.cursor();
            }
            match reader.read(&cursors, REPLIES_PER_READ, self.block).await {
                Ok(reads) => {
                    for read in reads {
                        if let Some(channel) = channels.get(read.index) {
                            self.deliver(channel, read.entries);
                        }
                    }
                }
                Err(error) => {
                    // An outage may last; closing does not wait for its end.
                    tokio::select! {
                        biased;
                        () = self.recover(error) => {}
                        () = self.closed.cancelled() => {}
                    }
                }
            }
        }
    }

    async fn recover(&self, error: BrokerError) {
        match error {
            error if error.is_transient() => {
                debug!(%error, "replies cannot be read");
                produce::pause().await;
                produce::wait_until_up(&*self.broker).await;
            }
            BrokerError::WrongType { key } => {
                // One inbox that somebody overwrote must not keep the others from being read.
                warn!(%key, "an inbox is no stream any more; its calls get no replies, and the next makes another");
                self.channels.give_up(&key);
            }
            error => {
                warn!(%error, "replies cannot be read");
                tokio::time::sleep(TRIM_EVERY).await;
            }
        }
    }

    fn deliver(&self, channel: &Channel, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.id) else { return };
        let replies = entries.len();
        for entry in entries {
            match self.wire.decode_reply_for(&channel.topic, &entry.fields) {
                // What others write in version 1 to a stream of replies that all share.
                Ok(message) if channel.is_shared() && !message.event.is_reply() => {}
                Ok(message) => {
                    let id = message.id.clone();
                    self.pending.complete(channel.number, id, Reply::from_message(message));
                }
                Err(error) if channel.is_shared() => {
                    debug!(inbox = %channel.inbox_key, entry = %entry.id, %error, "no reply");
                }
                Err(error) => warn!(inbox = %channel.inbox_key, entry = %entry.id, %error, "malformed reply dropped"),
            }
        }
        if channel.inbox.advance(last, replies) >= UNTRIMMED_MAX {
            self.trim_soon.notify_one();
        }
    }

    /// Trims, refreshes and removes inboxes until the client is closed; then ends the reader and removes them all.
    pub(super) async fn keep(self: Arc<Self>, reader: ReadWaker) {
        let mut ticks = tokio::time::interval(TRIM_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refreshed = Instant::now();
        let mut epoch = self.broker.epoch();
        loop {
            tokio::select! {
                biased;
                () = self.closed.cancelled() => break,
                _ = ticks.tick() => {
                    self.trim().await;
                    self.remove(self.channels.sweep()).await;
                    // A new connection may lead to a server that lost the inboxes, and calls may wait for replies there.
                    let now = self.broker.epoch();
                    if now != epoch && self.pin_again().await {
                        reader.wake();
                    }
                    let all = now != epoch || refreshed.elapsed() >= REFRESH_EVERY;
                    if all {
                        (epoch, refreshed) = (now, Instant::now());
                    }
                    let mut channels = self.channels.open_ones();
                    channels.retain(|channel| {
                        let is_silent = channel.is_silent();
                        if is_silent {
                            // Perhaps the handlers are slow. Or the inbox was flushed, or evicted, as keys with an
                            // expiry are first, and no reply would come before the first call has timed out.
                            channel.inbox.doubt();
                        }
                        all || is_silent
                    });
                    if self.refresh(channels, epoch).await {
                        reader.wake();
                    }
                }
                () = self.trim_soon.notified() => self.trim().await,
            }
        }
        reader.wake();
        self.remove(self.channels.open_ones()).await;
    }

    async fn trim(&self) {
        let channels = self.channels.open_ones();
        join_all(channels.iter().map(|channel| self.trim_one(channel))).await;
    }

    async fn trim_one(&self, channel: &Channel) {
        if channel.is_shared() {
            return;
        }
        let Some((read, replies)) = channel.inbox.take_trim() else { return };
        if let Err(error) = self.broker.trim(&channel.inbox_key, TrimTo::Before(read.next())).await {
            channel.inbox.untrim(replies);
            debug!(inbox = %channel.inbox_key, %error, "inbox not trimmed");
        }
    }

    /// Answers whether the reader must start again.
    async fn refresh(&self, mut channels: Vec<Arc<Channel>>, epoch: u64) -> bool {
        channels.retain(|channel| !channel.is_shared());
        if channels.is_empty() {
            return false;
        }
        let keeps = channels.iter().map(|channel| channel.keep()).collect();
        match self.broker.keep(keeps).await {
            // A connection that changed meanwhile proves nothing: the next look asks again.
            Ok(()) if self.broker.epoch() != epoch => false,
            Ok(()) => {
                let mut again = false;
                for channel in channels {
                    again |= channel.inbox.confirm(epoch);
                }
                again
            }
            Err(error) => {
                debug!(%error, "inboxes not refreshed");
                false
            }
        }
    }

    /// Answers whether the reader must start again.
    async fn pin_again(&self) -> bool {
        let mut again = false;
        for channel in self.channels.open_ones().iter().filter(|channel| channel.is_shared()) {
            match channel.pin_again(&*self.broker).await {
                Ok(is_behind) => again |= is_behind,
                Err(error) => debug!(inbox = %channel.inbox_key, %error, "the end of the replies was not found"),
            }
        }
        again
    }

    async fn remove(&self, mut channels: Vec<Arc<Channel>>) {
        channels.retain(|channel| !channel.is_shared());
        if channels.is_empty() {
            return;
        }
        let keys = channels.iter().map(|channel| channel.inbox_key.clone()).collect();
        if let Err(error) = self.broker.remove(keys).await {
            // It goes by itself when its time is over.
            debug!(%error, "inboxes not removed");
        }
    }
}
