//! Marks: keys with a small value that go by themselves.

use bytes::Bytes;
use streamerson_core::{
    MarkKey, StreamKey,
    broker::{BrokerError, Mark},
};

use crate::{
    append::millis,
    error::unexpected,
    reply::{array, stream_error},
    resp::Reply,
    shared::{Batch, Shared},
};

/// About what a mark takes on the wire besides its value, in bytes.
const MARK_BYTES: usize = 256;

/// How often a mark is looked for that is there when it is to be set, and gone when it is read.
const LOOKS_MAX: usize = 10;

/// See [`Broker::mark`](streamerson_core::Broker::mark).
pub(crate) async fn mark(shared: &Shared, mark: &Mark) -> Result<(), BrokerError> {
    let ask = shared.call_one(MARK_BYTES + mark.value.len(), |batch| encode_mark(batch, mark, false));
    match ask.await? {
        Reply::Status(_) => Ok(()),
        Reply::Error(message) => Err(mark_error("SET", &message, &mark.key)),
        other => Err(unexpected("SET", &other)),
    }
}

/// See [`Broker::mark_if_absent`](streamerson_core::Broker::mark_if_absent). Before Redis 7.0 `SET` does not take `NX`
/// together with `GET`, so the value is read behind it.
pub(crate) async fn mark_if_absent(shared: &Shared, mark: &Mark) -> Result<Option<Bytes>, BrokerError> {
    for _ in 0..LOOKS_MAX {
        let answer = shared.call(MARK_BYTES + mark.value.len(), |batch| {
            encode_mark(batch, mark, true);
            batch.command(2).arg("GET").arg(mark.key.as_str());
        });
        let mut replies = answer.await?.replies.into_iter();
        match (replies.next(), replies.next()) {
            (Some(Reply::Status(_)), _) => return Ok(None),
            (Some(Reply::Nil), Some(Reply::Bulk(value))) => return Ok(Some(value)),
            // It went between the two.
            (Some(Reply::Nil), Some(Reply::Nil)) => {}
            (Some(Reply::Error(message)), _) => return Err(mark_error("SET", &message, &mark.key)),
            (_, Some(Reply::Error(message))) => return Err(mark_error("GET", &message, &mark.key)),
            (_, other) => return Err(unexpected("SET or GET", &other.unwrap_or(Reply::Nil))),
        }
    }
    Err(BrokerError::Protocol(format!("{} comes and goes and is never there when it is read", mark.key).into()))
}

/// See [`Broker::recall`](streamerson_core::Broker::recall).
pub(crate) async fn recall(shared: &Shared, keys: &[MarkKey]) -> Result<Vec<Option<Bytes>>, BrokerError> {
    let Some(first) = keys.first() else { return Ok(Vec::new()) };
    let ask = shared.call_one(MARK_BYTES * keys.len(), |batch| {
        let mut command = batch.command(1 + keys.len());
        command.arg("MGET");
        keys.iter().for_each(|key| {
            command.arg(key.as_str());
        });
    });
    let values = match ask.await? {
        Reply::Error(message) => return Err(mark_error("MGET", &message, first)),
        reply => array("MGET", reply)?,
    };
    let value = |reply| match reply {
        Reply::Bulk(value) => Ok(Some(value)),
        Reply::Nil => Ok(None),
        other => Err(unexpected("MGET", &other)),
    };
    values.into_iter().map(value).collect()
}

/// A `SET` with an expiry.
pub(crate) fn encode_mark(batch: &mut Batch<'_>, mark: &Mark, only_if_absent: bool) {
    let mut command = batch.command(5 + usize::from(only_if_absent));
    command.arg("SET").arg(mark.key.as_str()).payload(&mark.value).arg("PX").int(millis(mark.ttl));
    if only_if_absent {
        command.arg("NX");
    }
}

/// About how many bytes it takes on the wire.
pub(crate) fn mark_bytes(mark: &Mark) -> usize {
    MARK_BYTES + mark.value.len()
}

fn mark_error(command: &str, message: &[u8], key: &MarkKey) -> BrokerError {
    stream_error(command, message, &StreamKey::raw(key.as_str().to_owned()), None)
}
