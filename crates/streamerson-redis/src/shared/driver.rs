//! The task behind the shared connection: it connects, writes, reads, notices silence and connects again.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    ops::Deref,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Buf;
use streamerson_core::{UnixMillis, broker::Health, metrics::BrokerMetrics};
use tokio::{
    io::AsyncWriteExt,
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{FIRST_EPOCH, Link, Phase, queue::Answered};
use crate::{
    connection::{Broken, ConnectError, Connection, ReplyBuffer},
    eviction,
    resp::{ProtocolError, Reply},
    transport::{self, ReadHalf, WriteHalf},
};

/// The pause after the first failed attempt to connect.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(10);

/// A connection that lasted at least so long starts the pauses anew. One that is lost at once, say for a server that
/// has become a replica, goes on with longer ones.
const STABLE_AFTER: Duration = Duration::from_secs(2);

/// Connections in a row that were lost at once, after which each further one is not worth a line.
const BRIEF_MAX: u32 = 2;

/// Keeps the link connected until its handle is dropped.
pub(super) async fn run(link: Driven, first: Option<Connection>) {
    let mut outage = Outage::default();
    let mut backoff = Backoff { failures: 0, max: link.config.reconnect_delay_max };
    let mut next = first;
    for epoch in FIRST_EPOCH.. {
        let connection = match next.take() {
            Some(connection) => connection,
            None => {
                let Some(connection) = connect(&link, &mut outage, &mut backoff).await else { return };
                link.up(epoch);
                if epoch > FIRST_EPOCH {
                    link.metrics.reconnects.add_one();
                }
                outage.end(&link);
                connection
            }
        };
        let since = Instant::now();
        let lasts = async {
            sleep(STABLE_AFTER).await;
            outage.is_over(&link);
            std::future::pending().await
        };
        let end = tokio::select! {
            end = drive(&link, connection) => end,
            end = lasts => end,
        };
        let cause: Arc<str> = match &end {
            End::Lost(cause) | End::Silent(cause) => cause.as_str().into(),
            End::Closed => "the broker handle was dropped".into(),
        };
        // A server that says nothing will not answer a greeting either; of any other, the next attempt tells.
        let is_down = matches!(end, End::Silent(_));
        link.lost(if is_down { Phase::Down(cause.clone()) } else { Phase::Connecting(cause.clone()) });
        if let End::Closed = end {
            return;
        }
        let brief = since.elapsed() <= STABLE_AFTER;
        outage.brief = if brief { outage.brief.saturating_add(1) } else { 0 };
        outage.begin(&link, &cause);
        if is_down {
            link.health.send_replace(Health::Down { since: outage.since_machine() });
        }
        if !brief {
            backoff.failures = 0;
        } else if !pause(&link, &mut backoff).await {
            return;
        }
    }
}

/// Opens a connection and asks for the server's time, so that deadlines are right from the first call on, and for what
/// it does when its memory is full.
pub(super) async fn open(link: &Link) -> Result<Connection, ConnectError> {
    let mut connection = Connection::open(&link.config, &link.metrics).await?;
    let asked = std::time::Instant::now();
    let reply = connection
        .call(link.config.response_timeout, |commands| {
            commands.command(1).arg("TIME");
        })
        .await;
    link.clock.set(&reply.map_err(|Broken(cause)| ConnectError::Unreachable(cause))?, asked);
    check_eviction(link, &mut connection).await?;
    Ok(connection)
}

/// Warns of a server that drops streams: once, as the next connection most likely leads to the same.
async fn check_eviction(link: &Link, connection: &mut Connection) -> Result<(), ConnectError> {
    let info = connection.call(link.config.response_timeout, |commands| {
        commands.command(2).arg("INFO").arg("memory");
    });
    let info = info.await.map_err(|Broken(cause)| ConnectError::Unreachable(cause))?;
    if let Reply::Error(error) = &info {
        // It is a service to operators; not every server, nor every user, has to answer it.
        let error = String::from_utf8_lossy(error);
        tracing::debug!(address = %link.address, %error, "the eviction policy is not known");
    }
    if let Some((policy, drops)) = eviction::warning(&info)
        && !link.warned_of_eviction.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(
            address = %link.address, maxmemory_policy = policy, drops,
            "redis drops streams when its memory is full; set maxmemory-policy to noeviction"
        );
    }
    Ok(())
}

/// The link while it has a driver. When the task ends in any way, a runtime's shutdown included, nobody is left waiting
/// for it.
pub(super) struct Driven(pub(super) Arc<Link>);

impl Deref for Driven {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.lost(Phase::Down("the runtime that the broker was made in has ended".into()));
    }
}

/// Attempts until one succeeds; `None` when the handle is dropped.
async fn connect(link: &Link, outage: &mut Outage, backoff: &mut Backoff) -> Option<Connection> {
    loop {
        outage.attempts += 1;
        let outcome = tokio::select! {
            outcome = open(link) => outcome,
            () = link.closed.notified() => return None,
        };
        match outcome {
            Ok(connection) => return Some(connection),
            Err(error) => {
                let cause: Arc<str> = error.to_string().into();
                tracing::debug!(address = %link.address, %cause, attempt = outage.attempts, "redis not reachable");
                outage.begin(link, &cause);
                if !matches!(error, ConnectError::Unreachable(_)) {
                    outage.refused(link, &cause);
                }
                link.phase.send_replace(Phase::Down(cause));
                link.health.send_replace(Health::Down { since: outage.since_machine() });
            }
        }
        if !pause(link, backoff).await {
            return None;
        }
    }
}

/// Waits before the next attempt; false when the handle is dropped meanwhile.
async fn pause(link: &Link, backoff: &mut Backoff) -> bool {
    tokio::select! {
        () = sleep(backoff.next()) => true,
        () = link.closed.notified() => false,
    }
}

/// Why a connection is over.
enum End {
    Lost(String),
    /// The connection is there, and the server says nothing.
    Silent(String),
    /// The handle is gone and all replies are in.
    Closed,
}

/// Serves one connection to its end. Reader, writer and watch are one task: a wake-up looks at both halves of the
/// socket, and nothing between them needs a lock of its own.
async fn drive(link: &Link, connection: Connection) -> End {
    let Connection { mut read, mut write, replies, .. } = connection;
    tokio::select! {
        end = read_replies(link, &mut read, replies) => end,
        end = write_commands(link, &mut write) => end,
        end = watch_silence(link) => end,
        end = keep_time(link) => end,
    }
}

async fn write_commands(link: &Link, write: &mut WriteHalf) -> End {
    loop {
        link.unwritten.notified().await;
        // Let the tasks that are ready to run queue their commands first: they then share one write.
        tokio::task::yield_now().await;
        let mut segments = link.queue().take();
        link.metrics.batches.add(u64::from(segments.has_remaining()));
        while segments.has_remaining() {
            match write.write_buf(&mut segments).await {
                Ok(0) => return End::Lost("the connection takes no more bytes".to_owned()),
                Ok(count) => {
                    link.metrics.sent_bytes.add(count as u64);
                    link.queue().wrote(count);
                }
                Err(error) => return End::Lost(transport::explain(&error)),
            }
        }
        // TLS may keep what did not fit the socket until it is asked for, or until the next write.
        if let Err(error) = write.flush().await {
            return End::Lost(transport::explain(&error));
        }
        if link.is_closing() && link.queue().is_idle() {
            return End::Closed;
        }
    }
}

async fn read_replies(link: &Link, read: &mut ReadHalf, mut arrived: ReplyBuffer) -> End {
    let (mut replies, mut answered) = (Vec::new(), Vec::new());
    loop {
        if let Err(Broken(cause)) = arrived.fill(read).await {
            return End::Lost(cause);
        }
        loop {
            match arrived.next() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(Broken(cause)) => return End::Lost(cause),
            }
        }
        // After a failover the server of this address may be a replica. Only a new connection can find the primary.
        let demoted = replies.iter().filter_map(Reply::error).any(|message| message.starts_with(b"READONLY"));

        let expected = link.queue().heard(&mut replies, &mut answered);
        link.room.add_permits(answered.iter().map(|answered| answered.weight).sum());
        count(&link.metrics, &answered);
        answered.drain(..).for_each(|answered| answered.tell());
        if expected.is_err() {
            return End::Lost(ProtocolError::Unsolicited.to_string());
        }
        if demoted {
            return End::Lost("the server has become a read-only replica".to_owned());
        }
        if link.is_closing() && link.queue().is_idle() {
            return End::Closed;
        }
    }
}

/// Counts the calls that are timed here. Those of one batch took the same time, and are counted as one.
fn count(metrics: &BrokerMetrics, answered: &[Answered]) {
    let now = Instant::now();
    for alike in answered.chunk_by(|one, next| one.timed == next.timed) {
        if let Some((call, since)) = alike[0].timed {
            metrics.answered(call, now - since, alike.len() as u64);
        }
    }
}

/// Ends a connection whose server owes replies and sends nothing: a frozen server, or a network that drops packets.
async fn watch_silence(link: &Link) -> End {
    loop {
        sleep(link.silence_interval()).await;
        let silent_since = link.queue().silent_since();
        if silent_since.is_some_and(|since| since.elapsed() >= link.config.response_timeout) {
            return End::Silent(format!("no answer within {:?}", link.config.response_timeout));
        }
    }
}

/// Asks for the server's time now and then.
async fn keep_time(link: &Link) -> End {
    loop {
        sleep(link.config.clock_interval).await;
        let asked = std::time::Instant::now();
        let (tell, outcome) = oneshot::channel();
        let pushed = link.push(0, Some(tell), &mut |batch| {
            batch.command(1).arg("TIME");
        });
        if let (Ok(_), Ok(Ok(replies))) = (pushed, outcome.await) {
            replies.iter().for_each(|reply| link.clock.set(reply, asked));
        }
    }
}

/// Pauses between attempts: doubling from the shortest to the longest, each with jitter, so that processes that lost the
/// same server don't return in step.
struct Backoff {
    failures: u32,
    max: Duration,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let whole = RECONNECT_DELAY_MIN.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        // A hasher's keys are random, and that is all the randomness needed here.
        let random = RandomState::new().hash_one(0) % 1000;
        whole.mul_f64(0.5 + random as f64 / 2000.0)
    }
}

/// One outage, logged when it begins and when it ends, here and nowhere else.
#[derive(Default)]
struct Outage {
    since: Option<(Instant, UnixMillis)>,
    attempts: u32,
    refused: bool,
    /// How many connections in a row were lost at once: to a replica, say, which takes none of what is sent.
    brief: u32,
}

impl Outage {
    fn begin(&mut self, link: &Link, cause: &str) {
        if self.since.is_some() {
            return;
        }
        self.since = Some((Instant::now(), UnixMillis::of_this_machine()));
        let address = &link.address;
        match self.brief {
            0..BRIEF_MAX => tracing::warn!(%address, cause, "lost redis, reconnecting"),
            BRIEF_MAX => tracing::warn!(%address, cause, "redis is lost as soon as it is back; trying again"),
            _ => tracing::debug!(%address, cause, "lost redis again"),
        }
    }

    /// The server is there and lets nobody in, which somebody has to put right: a password was changed, say.
    fn refused(&mut self, link: &Link, cause: &str) {
        if !std::mem::replace(&mut self.refused, true) {
            tracing::warn!(address = %link.address, cause, "redis is there and cannot be used; trying again");
        }
    }

    fn end(&mut self, link: &Link) {
        self.refused = false;
        if let Some((since, _)) = self.since.take() {
            let gone_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (address, attempts) = (&link.address, self.attempts);
            if self.brief < BRIEF_MAX {
                tracing::info!(%address, gone_ms, attempts, "redis is back");
            } else {
                tracing::debug!(%address, gone_ms, attempts, "redis is back for now");
            }
        }
        self.attempts = 0;
    }

    /// A connection has lasted for a while.
    fn is_over(&mut self, link: &Link) {
        if std::mem::take(&mut self.brief) >= BRIEF_MAX {
            tracing::info!(address = %link.address, "redis is back and stays");
        }
    }

    fn since_machine(&self) -> UnixMillis {
        self.since.map_or_else(UnixMillis::of_this_machine, |(_, machine)| machine)
    }
}
