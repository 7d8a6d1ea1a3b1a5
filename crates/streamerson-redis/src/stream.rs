//! Streams and groups as such: ranges, trimming, removal, making and dropping groups.

use streamerson_core::{
    Entry, Name, StreamKey,
    broker::{BrokerError, GroupStart, Range, TrimTo},
};

use crate::{
    error::unexpected,
    reply::{as_count, entries, is_no_key, stream_error},
    resp::Reply,
    script,
    shared::Shared,
};

/// About what these commands take on the wire, in bytes.
const STREAM_BYTES: usize = 256;

/// See [`Broker::range`](streamerson_core::Broker::range).
pub(crate) async fn range(shared: &Shared, range: &Range) -> Result<Vec<Entry>, BrokerError> {
    if range.count == 0 {
        return Ok(Vec::new());
    }
    let (verb, first, second) = match range.newest_first {
        false => ("XRANGE", range.from, range.to),
        true => ("XREVRANGE", range.to, range.from),
    };
    let ask = shared.call_one(STREAM_BYTES, |batch| {
        let mut command = batch.command(6);
        command.arg(verb).arg(range.key.as_str()).pair(first.ms, first.seq).pair(second.ms, second.seq);
        command.arg("COUNT").int(range.count as u64);
    });
    match ask.await? {
        Reply::Error(message) => Err(stream_error(verb, &message, &range.key, None)),
        reply => entries(verb, reply),
    }
}

/// A server removes so many entries in one go and no more, for the sake of its other clients: 100 nodes of the stream,
/// each of 100 entries unless it is configured otherwise. Where fewer than this went, none are left that could.
const TRIMMED_AT_ONCE: u64 = 1000;

/// See [`Broker::trim`](streamerson_core::Broker::trim). Trimming by whole nodes of the stream (`~`) is what the server
/// does cheaply.
pub(crate) async fn trim(shared: &Shared, key: &StreamKey, to: TrimTo) -> Result<u64, BrokerError> {
    let mut removed = 0;
    loop {
        let more = trim_some(shared, key, to).await?;
        removed += more;
        if more < TRIMMED_AT_ONCE {
            return Ok(removed);
        }
    }
}

async fn trim_some(shared: &Shared, key: &StreamKey, to: TrimTo) -> Result<u64, BrokerError> {
    let (strategy, threshold) = match to {
        TrimTo::Before(id) => ("MINID", id.to_string()),
        TrimTo::Entries(count) => ("MAXLEN", count.to_string()),
        TrimTo::Finished => return trim_finished(shared, key).await,
        _ => return Err(BrokerError::Protocol("this way of trimming is not known to the Redis adapter".into())),
    };
    let ask = shared.call_one(STREAM_BYTES, |batch| {
        batch.command(5).arg("XTRIM").arg(key.as_str()).arg(strategy).arg("~").arg(&threshold);
    });
    trimmed(&ask.await?, key)
}

/// By script, since a group that is made between the look and the trim must not lose what it has not read.
async fn trim_finished(shared: &Shared, key: &StreamKey) -> Result<u64, BrokerError> {
    let run = script::TRIM.run(shared, 1, 0, STREAM_BYTES, |command| {
        command.arg(key.as_str());
    });
    match run.await? {
        Reply::Error(message) if is_no_key(&message) => Ok(0),
        reply => trimmed(&reply, key),
    }
}

fn trimmed(reply: &Reply, key: &StreamKey) -> Result<u64, BrokerError> {
    match reply {
        Reply::Error(message) => Err(stream_error("XTRIM", message, key, None)),
        reply => as_count(reply).ok_or_else(|| unexpected("XTRIM", reply)),
    }
}

/// See [`Broker::remove`](streamerson_core::Broker::remove). One command for each key, as they may lie in different
/// slots of a cluster.
pub(crate) async fn remove(shared: &Shared, keys: &[StreamKey]) -> Result<(), BrokerError> {
    let answer = shared.call(STREAM_BYTES * keys.len(), |batch| {
        keys.iter().for_each(|key| {
            batch.command(2).arg("UNLINK").arg(key.as_str());
        });
    });
    for (key, reply) in keys.iter().zip(answer.await?.replies) {
        if let Reply::Error(message) = reply {
            return Err(stream_error("UNLINK", &message, key, None));
        }
    }
    Ok(())
}

/// See [`Broker::create_group`](streamerson_core::Broker::create_group).
pub(crate) async fn create_group(
    shared: &Shared,
    key: &StreamKey,
    group: &Name,
    start: GroupStart,
) -> Result<bool, BrokerError> {
    let ask = shared.call_one(STREAM_BYTES, |batch| {
        let mut command = batch.command(6);
        command.arg("XGROUP").arg("CREATE").arg(key.as_str()).arg(group.as_str());
        match start {
            GroupStart::After(id) => command.pair(id.ms, id.seq),
            GroupStart::End => command.arg("$"),
        };
        command.arg("MKSTREAM");
    });
    match ask.await? {
        Reply::Status(_) => Ok(true),
        Reply::Error(message) if message.starts_with(b"BUSYGROUP") => Ok(false),
        Reply::Error(message) => Err(stream_error("XGROUP CREATE", &message, key, None)),
        other => Err(unexpected("XGROUP CREATE", &other)),
    }
}

/// See [`Broker::drop_group`](streamerson_core::Broker::drop_group).
pub(crate) async fn drop_group(shared: &Shared, key: &StreamKey, group: &Name) -> Result<bool, BrokerError> {
    let ask = shared.call_one(STREAM_BYTES, |batch| {
        batch.command(4).arg("XGROUP").arg("DESTROY").arg(key.as_str()).arg(group.as_str());
    });
    match ask.await? {
        Reply::Error(message) if is_no_key(&message) => Ok(false),
        Reply::Error(message) => Err(stream_error("XGROUP DESTROY", &message, key, None)),
        reply => as_count(&reply).map(|dropped| dropped > 0).ok_or_else(|| unexpected("XGROUP DESTROY", &reply)),
    }
}
