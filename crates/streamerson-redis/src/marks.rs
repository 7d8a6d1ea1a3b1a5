//! Marks: keys with a small value that expire, and meters of the bytes that they take.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use streamerson_core::{
    MarkKey, Name, StreamKey, UnixMillis,
    broker::{BrokerError, Charge, Extension, Mark, Reserved},
};

use crate::{
    append::millis,
    error::unexpected,
    reply::{array, as_text, stream_error},
    resp::Reply,
    shared::{Batch, Shared},
};

/// About what a mark takes on the wire besides its value, in bytes.
const MARK_BYTES: usize = 256;

/// How often a mark is looked for that is there when it is to be set, and gone when it is read.
const LOOKS_MAX: usize = 10;

/// See [`Broker::mark`](streamerson_core::Broker::mark).
pub(crate) async fn mark(shared: &Shared, marks: &[Mark]) -> Result<(), BrokerError> {
    if marks.is_empty() {
        return Ok(());
    }
    let bytes = marks.iter().map(mark_bytes).sum();
    let answer = shared.call(bytes, |batch| marks.iter().for_each(|mark| encode_mark(batch, mark, false)));
    for (reply, mark) in answer.await?.replies.into_iter().zip(marks) {
        match reply {
            Reply::Status(_) => {}
            Reply::Error(message) => return Err(mark_error("SET", &message, mark.key.as_str())),
            other => return Err(unexpected("SET", &other)),
        }
    }
    Ok(())
}

/// See [`Broker::mark_if_absent`](streamerson_core::Broker::mark_if_absent). Before Redis 7.0 `SET` does not take `NX`
/// together with `GET`, so the value is read behind it.
pub(crate) async fn mark_if_absent(shared: &Shared, marks: &[Mark]) -> Result<Vec<Option<Bytes>>, BrokerError> {
    let mut found = Vec::with_capacity(marks.len());
    let mut looks = 0;
    while let Some(left) = marks.get(found.len()..).filter(|left| !left.is_empty()) {
        looks += 1;
        if looks > LOOKS_MAX {
            let key = &left[0].key;
            return Err(BrokerError::Protocol(
                format!("{key} comes and goes and is never there when it is read").into(),
            ));
        }
        let answer = shared.call(left.iter().map(mark_bytes).sum(), |batch| {
            for mark in left {
                encode_mark(batch, mark, true);
                batch.command(2).arg("GET").arg(mark.key.as_str());
            }
        });
        let replies = answer.await?.replies;
        for (pair, mark) in replies.chunks_exact(2).zip(left) {
            match pair {
                [Reply::Status(_), _] => found.push(None),
                [Reply::Nil, Reply::Bulk(value)] => found.push(Some(value.clone())),
                // The mark expired between the two commands. The marks behind it were not set in order, so they are looked
                // at once more: a mark of the caller's own is found again by its value.
                [Reply::Nil, Reply::Nil] => break,
                [Reply::Error(message), _] => return Err(mark_error("SET", message, mark.key.as_str())),
                [_, Reply::Error(message)] => return Err(mark_error("GET", message, mark.key.as_str())),
                [set, got] => return Err(unexpected("SET or GET", if matches!(set, Reply::Nil) { got } else { set })),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// See [`Broker::extend_mark`](streamerson_core::Broker::extend_mark).
pub(crate) async fn extend_mark(
    shared: &Shared,
    key: &MarkKey,
    least: Duration,
    ttl: Duration,
) -> Result<Extension, BrokerError> {
    let left = shared.call_one(MARK_BYTES, |batch| {
        batch.command(2).arg("PTTL").arg(key.as_str());
    });
    match left.await? {
        Reply::Integer(-2) => return Ok(Extension::Absent),
        // Something else has set it, and it never goes.
        Reply::Integer(-1) => return Ok(Extension::Unneeded),
        Reply::Integer(left) if u64::try_from(left).is_ok_and(|left| left >= millis(least)) => {
            return Ok(Extension::Unneeded);
        }
        Reply::Integer(_) => {}
        Reply::Error(message) => return Err(mark_error("PTTL", &message, key.as_str())),
        other => return Err(unexpected("PTTL", &other)),
    }
    let extended = shared.call_one(MARK_BYTES, |batch| {
        batch.command(3).arg("PEXPIRE").arg(key.as_str()).int(millis(ttl));
    });
    match extended.await? {
        Reply::Integer(1) => Ok(Extension::Extended),
        Reply::Integer(_) => Ok(Extension::Absent),
        Reply::Error(message) => Err(mark_error("PEXPIRE", &message, key.as_str())),
        other => Err(unexpected("PEXPIRE", &other)),
    }
}

/// See [`Broker::charge`](streamerson_core::Broker::charge). A meter is a hash: bytes by when they are taken off, and
/// [reservations](reservation).
pub(crate) async fn charge(shared: &Shared, charge: &Charge) -> Result<u64, BrokerError> {
    let Charge { key, bytes, ttl, reserved } = charge;
    let now = shared.now();
    let reserved_field = reserved.as_ref().map(|Reserved { holder, ttl, .. }| reservation(holder, now.plus(*ttl)));
    let mut commands = Vec::with_capacity(4);
    let answer = shared.call(MARK_BYTES, |batch| {
        // It may be encoded more than once.
        commands.clear();
        if *bytes > 0 {
            commands.push("HINCRBY");
            batch.command(4).arg("HINCRBY").arg(key.as_str()).int(charge.ends(now)).int((*bytes).min(i64::MAX as u64));
        }
        if let (Some(field), Some(Reserved { bytes: bytes @ 1.., .. })) = (&reserved_field, reserved) {
            // The sum would be wrong if a charge within the same millisecond had made the field.
            commands.extend(["HDEL", "HINCRBY"]);
            batch.command(3).arg("HDEL").arg(key.as_str()).arg(field);
            batch.command(4).arg("HINCRBY").arg(key.as_str()).arg(field).int((*bytes).min(i64::MAX as u64));
        }
        if *bytes > 0 || reserved.as_ref().is_some_and(|reserved| reserved.bytes > 0) {
            commands.push("PEXPIRE");
            let kept = ttl.saturating_mul(2).max(Charge::METER_KEPT);
            batch.command(3).arg("PEXPIRE").arg(key.as_str()).int(millis(kept));
        }
        batch.command(2).arg("HGETALL").arg(key.as_str());
    });
    let mut replies = answer.await?.replies;
    let all = replies.pop().unwrap_or(Reply::Nil);
    for (reply, command) in replies.iter().zip(commands) {
        if let Reply::Error(message) = reply {
            let error = mark_error(command, message, key.as_str());
            if command == "PEXPIRE" {
                // The bytes are added by then, and would be once more.
                tracing::debug!(meter = key.as_str(), %error, "a meter keeps its expiry");
                continue;
            }
            return Err(error);
        }
    }
    if let Reply::Error(message) = &all {
        return Err(mark_error("HGETALL", message, key.as_str()));
    }
    let (mut sum, mut over) = (0_u64, Vec::new());
    // Of each other holder the reservation that ends last; the one before it is about to be removed.
    let mut others: HashMap<&str, (u64, u64)> = HashMap::new();
    let all = array("HGETALL", all)?;
    for pair in all.chunks_exact(2) {
        let Some(field) = as_text(&pair[0]) else { continue };
        // A value that something else wrote, and that is no number, counts as nothing.
        let bytes = as_text(&pair[1]).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (ends, holder) = field.split_once(':').map_or((field, None), |(ends, holder)| (ends, Some(holder)));
        let ends = ends.parse::<u64>().ok().filter(|ends| *ends > now.0);
        let is_own = holder.is_some() && holder == reserved.as_ref().map(|reserved| &*reserved.holder);
        match (ends, holder) {
            (Some(_), Some(_)) if is_own => {
                // Without bytes no field was written, and one of this millisecond is an old one.
                let is_current = reserved.as_ref().is_some_and(|reserved| reserved.bytes > 0)
                    && reserved_field.as_deref() == Some(field);
                over.extend((!is_current).then_some(field));
            }
            (Some(ends), Some(holder)) => {
                let last = others.entry(holder).or_default();
                *last = (*last).max((ends, bytes));
            }
            (Some(_), None) => sum = sum.saturating_add(bytes),
            (None, _) => over.push(field),
        }
    }
    let sum = others.values().fold(sum, |sum, (_, bytes)| sum.saturating_add(*bytes));
    if !over.is_empty() {
        let removed = shared.call_one(MARK_BYTES + 48 * over.len(), |batch| {
            let mut command = batch.command(2 + over.len());
            command.arg("HDEL").arg(key.as_str());
            over.iter().for_each(|field| {
                command.arg(field);
            });
        });
        // The sum is known and the bytes are added. Fields that stay are removed by the next charge; one of this holder counts
        // at others until its time is over.
        if let Ok(Reply::Error(message)) = removed.await {
            let error = mark_error("HDEL", &message, key.as_str());
            tracing::debug!(meter = key.as_str(), %error, "fields of a meter that are over were not removed");
        }
    }
    Ok(sum)
}

/// The field of a reservation: when it ends, in Unix milliseconds, and its holder.
fn reservation(holder: &Name, ends: UnixMillis) -> String {
    format!("{}:{holder}", ends.0)
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
        Reply::Error(message) => return Err(mark_error("MGET", &message, first.as_str())),
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

fn mark_error(command: &str, message: &[u8], key: &str) -> BrokerError {
    stream_error(command, message, &StreamKey::raw(key.to_owned()), None)
}
