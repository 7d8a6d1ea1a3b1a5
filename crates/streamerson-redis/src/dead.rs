//! Dead letters: the bound of their streams, replay and removal.
//!
//! Their entries are removed one by one, with `XDEL`. Servers have bugs where that meets `XTRIM` or `MAXLEN` in one
//! stream (<https://github.com/redis/redis/issues/15808>), so nothing here trims.

use streamerson_core::{
    EntryId, StreamKey,
    broker::{BrokerError, DeadAppend, Range, Replay, check_movable},
};

use crate::{
    append::{encode_fields, fields_bytes},
    error::unexpected,
    inspect::stream_info,
    reply::{as_count, as_id, stream_error},
    resp::Reply,
    script,
    shared::Shared,
    stream::range,
};

/// What errors call the script.
const REPLAY: &str = "the replay script";

/// The most ids removed by one command.
const IDS_MAX: usize = 1000;

/// About what an id takes on the wire, in bytes.
const ID_BYTES: usize = 32;

/// See [`Broker::replay`](streamerson_core::Broker::replay).
pub(crate) async fn replay(shared: &Shared, replay: &Replay) -> Result<Option<EntryId>, BrokerError> {
    let Replay { dead, id, into, fields } = replay;
    check_movable(fields)?;
    let reply = script::REPLAY.run(shared, 2, 1 + 2 * fields.len(), fields_bytes(fields), |command| {
        command.arg(dead.as_str()).arg(into.as_str());
        encode_fields(command.pair(id.ms, id.seq), fields);
    });
    match reply.await? {
        Reply::Nil => Ok(None),
        // About the dead letters, not about the stream.
        Reply::Array(error) => Err(match &error[..] {
            [Reply::Bulk(message)] => stream_error(REPLAY, message, dead, None),
            _ => unexpected(REPLAY, &Reply::Array(error)),
        }),
        Reply::Error(message) => Err(stream_error(REPLAY, &message, into, None)),
        reply => as_id(&reply).map(Some).ok_or_else(|| unexpected(REPLAY, &reply)),
    }
}

/// See [`Broker::drop_entries`](streamerson_core::Broker::drop_entries).
pub(crate) async fn drop_entries(shared: &Shared, key: &StreamKey, ids: &[EntryId]) -> Result<u64, BrokerError> {
    let mut dropped = 0;
    for ids in ids.chunks(IDS_MAX) {
        let reply = shared.call_one(ID_BYTES * (2 + ids.len()), |batch| {
            let mut command = batch.command(2 + ids.len());
            command.arg("XDEL").arg(key.as_str());
            ids.iter().for_each(|id| {
                command.pair(id.ms, id.seq);
            });
        });
        dropped += match reply.await? {
            Reply::Error(message) => return Err(stream_error("XDEL", &message, key, None)),
            reply => as_count(&reply).ok_or_else(|| unexpected("XDEL", &reply))?,
        };
    }
    Ok(dropped)
}

/// Drops the oldest dead letters past the bound, where no script does it; answers how many.
pub(crate) async fn drop_oldest(shared: &Shared, dead: &DeadAppend) -> Result<u64, BrokerError> {
    let len = stream_info(shared, &dead.key).await?.map_or(0, |info| info.len);
    let over = usize::try_from(len.saturating_sub(dead.entries_max)).unwrap_or(usize::MAX).min(100);
    let (from, to) = (EntryId::ZERO, EntryId::MAX);
    let oldest = Range { key: dead.key.clone(), from, to, count: over, newest_first: false };
    let oldest: Vec<_> = range(shared, &oldest).await?.into_iter().map(|entry| entry.id).collect();
    drop_entries(shared, &dead.key, &oldest).await
}
