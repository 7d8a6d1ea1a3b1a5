//! Reads of many streams at once, on a connection of their own that can be woken.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use streamerson_core::{
    EntryId, Name, StreamKey,
    broker::{BrokerError, ReadWaker, Reader, StreamRead},
};
use tokio::sync::Notify;

use crate::{
    append::millis,
    connection::Connection,
    error::{connect_error, refused, unavailable},
    reply::{as_text, denied, is_denial, streams},
    resp::Reply,
    shared::Shared,
};

/// How long an unread wake-up stays in the server, in milliseconds.
const WAKE_TTL_MS: u64 = 60_000;

/// Reads any number of streams. See [`Reader`].
pub(crate) struct RedisReader {
    shared: Arc<Shared>,
    /// None before the first read and after a loss.
    connection: Option<Connection>,
    wake: Arc<Wake>,
    /// The last wake-up that was read, in the wake stream of this key.
    wake_cursor: (StreamKey, EntryId),
}

impl RedisReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let wake = Arc::new(Wake {
            shared: shared.clone(),
            reader: Name::unique(),
            wanted: AtomicBool::new(false),
            waiting: Mutex::new(None),
            cut: Notify::new(),
        });
        Self { shared, connection: None, wake, wake_cursor: (StreamKey::raw(""), EntryId::ZERO) }
    }

    async fn read(
        &mut self,
        cursors: &[(StreamKey, EntryId)],
        count: usize,
        block: Duration,
    ) -> Result<Vec<StreamRead>, BrokerError> {
        if count == 0 {
            // To the server, 0 would mean all.
            return Ok(Vec::new());
        }
        let wake_key = self.wake.key(cursors);
        if self.wake_cursor.0 != wake_key {
            self.wake_cursor = (wake_key.clone(), EntryId::ZERO);
        }
        let wake = self.wake.clone();
        // Made before the look at the flag, so that a wake-up after the look finds it.
        let cut = wake.cut.notified();
        let waiting = Waiting::begin(&wake, wake_key.clone());
        if wake.take() {
            return Ok(Vec::new());
        }
        let reply = tokio::select! {
            reply = self.exchange(cursors, count, block) => reply,
            () = cut => Ok(Reply::Nil),
        };
        drop(waiting);
        wake.take();

        let reply = match reply? {
            Reply::Error(message) => {
                if message.starts_with(b"UNBLOCKED") {
                    // The server's role has changed. A replica answers reads all the same, so nothing else would lead away
                    // from it: only a new connection can find the primary.
                    self.connection = None;
                }
                return Err(refusal(&self.shared, &message, cursors).await);
            }
            reply => reply,
        };
        let mut found = Vec::new();
        let mut index = 0;
        for (key, entries) in streams("XREAD", reply)? {
            if key == wake_key.as_str() {
                self.wake_cursor.1 = entries.last().map_or(self.wake_cursor.1, |entry| entry.id);
                continue;
            }
            // Streams are answered in the order in which they were asked for.
            match cursors[index..].iter().position(|(cursor, _)| key == cursor.as_str()) {
                Some(offset) => index += offset,
                None => return Err(BrokerError::Protocol("XREAD answered a stream that was not asked for".into())),
            }
            if !entries.is_empty() {
                found.push(StreamRead { index, entries });
            }
            index += 1;
        }
        Ok(found)
    }

    async fn exchange(
        &mut self,
        cursors: &[(StreamKey, EntryId)],
        count: usize,
        block: Duration,
    ) -> Result<Reply, BrokerError> {
        let config = self.shared.config();
        let address = self.shared.address();
        // Taken out while in use: when this future is dropped, so is a connection that still owes a reply.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                Connection::open(config, self.shared.metrics()).await.map_err(|error| connect_error(address, &error))?
            }
        };
        let (wake_key, wake_cursor) = &self.wake_cursor;
        let reply = connection.call(block.saturating_add(config.block_margin), |commands| {
            let options = if block.is_zero() { 0 } else { 2 };
            let mut command = commands.command(4 + options + 2 * (cursors.len() + 1));
            command.arg("XREAD").arg("COUNT").int(count as u64);
            if !block.is_zero() {
                command.arg("BLOCK").int(millis(block));
            }
            command.arg("STREAMS");
            cursors.iter().for_each(|(key, _)| {
                command.arg(key.as_str());
            });
            command.arg(wake_key.as_str());
            cursors.iter().for_each(|(_, id)| {
                command.pair(id.ms, id.seq);
            });
            command.pair(wake_cursor.ms, wake_cursor.seq);
        });
        // A read that was cut off changed nothing, so whatever broke, it can be made again.
        let reply = reply.await.map_err(|broken| unavailable(address, broken.0))?;
        self.connection = Some(connection);
        Ok(reply)
    }
}

/// The error to a read. The server does not say which key has the wrong type, so each is asked for its own.
async fn refusal(shared: &Shared, message: &[u8], cursors: &[(StreamKey, EntryId)]) -> BrokerError {
    if message.starts_with(b"WRONGTYPE") {
        let ask = shared.call(128 * cursors.len(), |batch| {
            cursors.iter().for_each(|(key, _)| {
                batch.command(2).arg("TYPE").arg(key.as_str());
            });
        });
        let kinds = ask.await.map(|answer| answer.replies).unwrap_or_default();
        let is_other = |kind: &Reply| as_text(kind).is_some_and(|kind| kind != "stream" && kind != "none");
        if let Some(((key, _), _)) = cursors.iter().zip(&kinds).find(|(_, kind)| is_other(kind)) {
            return BrokerError::WrongType { key: key.clone() };
        }
    }
    match cursors.first() {
        Some((key, _)) if is_denial(message) => denied("XREAD", message, key),
        _ => refused(message),
    }
}

impl Reader for RedisReader {
    fn read<'a>(
        &'a mut self,
        cursors: &'a [(StreamKey, EntryId)],
        count: usize,
        block: Duration,
    ) -> BoxFuture<'a, Result<Vec<StreamRead>, BrokerError>> {
        Box::pin(async move {
            let metrics = Arc::clone(self.shared.metrics());
            self.read(cursors, count, block).await.inspect_err(|error| metrics.failed(error))
        })
    }

    fn waker(&self) -> ReadWaker {
        let wake = self.wake.clone();
        ReadWaker::new(move || wake.wake())
    }
}

impl fmt::Debug for RedisReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReader").field("broker", self.shared.address()).finish_non_exhaustive()
    }
}

/// How a blocked read is woken: each reads a private stream along with the others, and a waker appends to it.
struct Wake {
    shared: Arc<Shared>,
    reader: Name,
    /// A wake-up that no read has seen.
    wanted: AtomicBool,
    /// The wake stream of the read that waits, or is about to. Held for a clone at most.
    waiting: Mutex<Option<StreamKey>>,
    /// Ends the read by cutting its connection, for when a wake-up cannot be sent.
    cut: Notify,
}

impl Wake {
    /// The wake stream that can be read together with these: it carries the hash tag of the first.
    fn key(&self, cursors: &[(StreamKey, EntryId)]) -> StreamKey {
        let tag = cursors.first().map_or("streamerson", |(key, _)| key.tag());
        StreamKey::raw(format!("{{{tag}}}:wake:{}", self.reader))
    }

    /// Ends the read that waits, or the next one.
    ///
    /// A read first says that it waits and then looks for a wake-up; this does it the other way round. So one of the two
    /// sees the other. An entry that arrives before the read does ends it as well, as the read has a cursor.
    fn wake(&self) {
        if self.wanted.swap(true, Ordering::SeqCst) {
            return;
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(key) = waiting {
            let sent = self.shared.send(256, |batch| {
                let key = key.as_str();
                batch.command(7).arg("XADD").arg(key).arg("MAXLEN").arg("1").arg("*").arg("w").arg("1");
                batch.command(3).arg("PEXPIRE").arg(key).int(WAKE_TTL_MS);
            });
            if !sent {
                self.cut.notify_waiters();
            }
        }
    }

    /// Whether a wake-up came; it counts as seen.
    fn take(&self) -> bool {
        self.wanted.swap(false, Ordering::SeqCst)
    }
}

/// While this lives, wakers have somebody to wake. A dropped read is no longer waiting, hence a guard.
struct Waiting<'a>(&'a Wake);

impl<'a> Waiting<'a> {
    fn begin(wake: &'a Wake, key: StreamKey) -> Self {
        *wake.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Self(wake)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
