//! Appends, and the keeping of inboxes that goes along with them.

use std::time::Duration;

use streamerson_core::{
    Fields, StreamKey,
    broker::{Append, Appended, BrokerError, Keep},
    metrics::BrokerCall,
};

use crate::{
    error::unexpected,
    reply::{as_id, stream_error},
    resp::{Command, Reply},
    shared::{Batch, Shared},
};

/// The group that holds an inbox in being. Nobody reads it; `XGROUP CREATE … MKSTREAM` is how an empty stream is made.
const KEEP_GROUP: &str = "keep";

/// About what an `XADD` has besides its fields, in bytes.
const APPEND_BYTES: usize = 128;

/// About what the two commands of a keep have, in bytes.
const KEEP_BYTES: usize = 256;

/// See [`Broker::append`](streamerson_core::Broker::append). The whole batch goes out next to each other.
pub(crate) async fn append(shared: &Shared, batch: Vec<Append>) -> Vec<Result<Appended, BrokerError>> {
    if batch.is_empty() {
        return Vec::new();
    }
    let bytes = batch.iter().map(append_bytes).sum();
    let encode = |commands: &mut Batch<'_>| {
        commands.counts_as(BrokerCall::Append);
        for append in &batch {
            if let Some(keep) = &append.keep {
                encode_keep(commands, keep);
            }
            encode_append(commands, append);
        }
    };
    let answer = match shared.call(bytes, encode).await {
        Ok(answer) => answer,
        Err(error) => {
            shared.metrics().failed(&error);
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
    };
    let mut replies = answer.replies.into_iter();
    let mut result = |append: &Append| {
        let kept = match &append.keep {
            Some(keep) => check_keep(keep, answer.epoch, &mut replies),
            None => Ok(()),
        };
        let id = match next(&mut replies)? {
            Reply::Nil if append.only_if_exists => None,
            Reply::Error(message) => return Err(stream_error("XADD", &message, &append.key, None)),
            reply => Some(as_id(&reply).ok_or_else(|| unexpected("XADD", &reply))?),
        };
        // An entry whose inbox could not be made is in the stream, but nobody would hear the reply to it.
        kept.map(|()| Appended { id, epoch: answer.epoch })
    };
    let result = |append: &Append| result(append).inspect_err(|error| shared.metrics().failed(error));
    batch.iter().map(result).collect()
}

/// See [`Broker::keep`](streamerson_core::Broker::keep).
pub(crate) async fn keep(shared: &Shared, streams: Vec<Keep>) -> Result<(), BrokerError> {
    let encode = |commands: &mut Batch<'_>| streams.iter().for_each(|keep| encode_keep(commands, keep));
    let answer = shared.call(streams.len() * KEEP_BYTES, encode).await?;
    let mut replies = answer.replies.into_iter();
    streams.iter().try_for_each(|keep| check_keep(keep, answer.epoch, &mut replies))
}

/// About how many bytes an append takes on the wire.
pub(crate) fn append_bytes(append: &Append) -> usize {
    fields_bytes(&append.fields) + append.keep.as_ref().map_or(0, |_| KEEP_BYTES)
}

/// The same for fields alone.
pub(crate) fn fields_bytes(fields: &Fields) -> usize {
    APPEND_BYTES + fields.bytes_len() + 16 * fields.len()
}

fn encode_append(batch: &mut Batch<'_>, append: &Append) {
    let options = usize::from(append.only_if_exists) + if append.entries_max.is_some() { 3 } else { 0 };
    let mut command = batch.command(3 + options + 2 * append.fields.len());
    command.arg("XADD").arg(append.key.as_str());
    if append.only_if_exists {
        command.arg("NOMKSTREAM");
    }
    if let Some(entries_max) = append.entries_max {
        command.arg("MAXLEN").arg("~").int(entries_max);
    }
    encode_fields(command.arg("*"), &append.fields);
}

/// An `XADD` that appends only if the stream exists.
pub(crate) fn encode_reply(batch: &mut Batch<'_>, key: &StreamKey, fields: &Fields) {
    let mut command = batch.command(4 + 2 * fields.len());
    command.arg("XADD").arg(key.as_str()).arg("NOMKSTREAM").arg("*");
    encode_fields(&mut command, fields);
}

/// Names and values, as the last arguments of a command.
pub(crate) fn encode_fields(command: &mut Command<'_>, fields: &Fields) {
    for (name, value) in fields {
        command.payload(name).payload(value);
    }
}

fn encode_keep(batch: &mut Batch<'_>, keep: &Keep) {
    if !wants_keep(keep, batch.epoch()) {
        return;
    }
    batch.command(6).arg("XGROUP").arg("CREATE").arg(keep.key.as_str()).arg(KEEP_GROUP).arg("0").arg("MKSTREAM");
    batch.command(3).arg("PEXPIRE").arg(keep.key.as_str()).int(millis(keep.ttl));
}

fn wants_keep(keep: &Keep, epoch: u64) -> bool {
    keep.unless_epoch != Some(epoch)
}

/// Reads the replies to what [`encode_keep`] encoded on the connection with this number.
fn check_keep(keep: &Keep, epoch: u64, replies: &mut impl Iterator<Item = Reply>) -> Result<(), BrokerError> {
    if !wants_keep(keep, epoch) {
        return Ok(());
    }
    let (made, expires) = (next(replies)?, next(replies)?);
    match made.error().filter(|message| !message.starts_with(b"BUSYGROUP")).or(expires.error()) {
        Some(message) => Err(stream_error("XGROUP CREATE or PEXPIRE", message, &keep.key, None)),
        None => Ok(()),
    }
}

fn next(replies: &mut impl Iterator<Item = Reply>) -> Result<Reply, BrokerError> {
    replies.next().ok_or_else(|| BrokerError::Protocol("a command has no reply".into()))
}

/// Longest time that a command takes, in milliseconds: a server adds its clock, and the sum must fit 63 bits.
const TIME_MAX_MS: u64 = i64::MAX as u64 / 2;

/// Whole milliseconds, at least one: zero means something else to every command that takes a time.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, TIME_MAX_MS)
}
