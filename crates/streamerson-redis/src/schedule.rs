//! Entries that wait for their time: a sorted set of times, a hash of entries, and scripts that keep the two together.

use bytes::{Bytes, BytesMut};
use streamerson_core::{
    Fields, Schedule, ScheduleId, StreamKey, UnixMillis,
    broker::{BrokerError, Due, ScheduleCursor, Scheduled, ScheduledPage, ScheduledRange, check_movable},
};

use crate::{
    error::unexpected,
    reply::{array, as_count, as_text, stream_error},
    resp::Reply,
    script,
    shared::Shared,
};

/// What errors call the scripts.
const SCHEDULE: &str = "the schedule script";
const MOVE_DUE: &str = "the script that moves due entries";
const SCHEDULED: &str = "the script that lists scheduled entries";
const CANCEL: &str = "the cancel script";

/// The most entries, or ids, given to one run of a script, which the server answers nobody else during.
const SCRIPT_ENTRIES_MAX: usize = 1000;

/// About how many bytes of entries one run of a script takes or moves, for the same reason.
const SCRIPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// About what an entry takes on the wire besides its fields, in bytes.
const ENTRY_BYTES: usize = 512;

/// See [`Broker::schedule`](streamerson_core::Broker::schedule).
pub(crate) async fn schedule(
    shared: &Shared,
    schedule: &Schedule,
    entries: Vec<Scheduled>,
) -> Vec<Result<(), BrokerError>> {
    let mut answers: Vec<_> = entries.iter().map(|entry| check_movable(&entry.fields)).collect();
    let packed = entries.iter().enumerate().filter(|(at, _)| answers[*at].is_ok());
    let packed: Vec<_> = packed.map(|(at, entry)| (at, entry, pack(&entry.fields))).collect();
    let mut run_bytes = 0;
    let runs = packed.chunk_by(|(before, ..), (_, _, packed)| {
        run_bytes += packed.len();
        let goes_on = run_bytes < SCRIPT_BYTES_MAX && (before + 1) % SCRIPT_ENTRIES_MAX != 0;
        run_bytes = if goes_on { run_bytes } else { 0 };
        goes_on
    });
    for run in runs {
        let told = schedule_some(shared, schedule, run).await;
        for (number, (at, ..)) in run.iter().enumerate() {
            answers[*at] = match &told {
                Ok(told) => told.get(number).cloned().unwrap_or(Err(unexpected(SCHEDULE, &Reply::Nil))),
                Err(error) => Err(error.clone()),
            };
        }
    }
    answers
}

async fn schedule_some(
    shared: &Shared,
    schedule: &Schedule,
    entries: &[(usize, &Scheduled, Bytes)],
) -> Result<Vec<Result<(), BrokerError>>, BrokerError> {
    let bytes = entries.iter().map(|(.., packed)| ENTRY_BYTES + packed.len()).sum();
    let reply = script::SCHEDULE.run(shared, 2, 1 + 3 * entries.len(), bytes, |command| {
        command.arg(schedule.key()).arg(schedule.entries_key()).int(schedule.entries_max());
        for (_, Scheduled { id, at, .. }, packed) in entries {
            command.arg(id.as_str()).int((*at).min(Scheduled::AT_MAX).0).payload(packed);
        }
    });
    let told = array(SCHEDULE, checked(SCHEDULE, schedule, reply.await?)?)?;
    let answer = |reply| match reply {
        Reply::Nil => Ok(()),
        Reply::Bulk(message) => Err(refusal(SCHEDULE, &message, schedule.key())),
        other => Err(unexpected(SCHEDULE, &other)),
    };
    Ok(told.into_iter().map(answer).collect())
}

/// See [`Broker::move_due`](streamerson_core::Broker::move_due).
pub(crate) async fn move_due(shared: &Shared, schedule: &Schedule, count: usize) -> Result<Due, BrokerError> {
    let count = count.min(ScheduledRange::COUNT_MAX);
    let reply = script::MOVE_DUE.run(shared, 3, 2, ENTRY_BYTES, |command| {
        command.arg(schedule.key()).arg(schedule.entries_key()).arg(schedule.into_stream().as_str());
        command.int(count as u64).int(SCRIPT_BYTES_MAX as u64);
    });
    let parts = array(MOVE_DUE, checked(MOVE_DUE, schedule, reply.await?)?)?;
    let [Reply::Integer(moved), Reply::Array(broken), next, now, failure] = parts.as_slice() else {
        return Err(unexpected(MOVE_DUE, &Reply::Array(parts)));
    };
    let due = Due {
        moved: usize::try_from(*moved).unwrap_or(0),
        broken: broken.iter().map(shown).collect(),
        next: time(next),
        now: time(now).ok_or_else(|| unexpected(MOVE_DUE, now))?,
    };
    match failure {
        // What was moved is moved, and the next call meets the error again.
        Reply::Bulk(message) if due.moved == 0 && due.broken.is_empty() => {
            Err(stream_error(MOVE_DUE, message, schedule.into_stream(), None))
        }
        _ => Ok(due),
    }
}

/// See [`Broker::scheduled`](streamerson_core::Broker::scheduled).
pub(crate) async fn scheduled(shared: &Shared, range: &ScheduledRange) -> Result<ScheduledPage, BrokerError> {
    let ScheduledRange { schedule, after, count } = range;
    let count = (*count).min(ScheduledRange::COUNT_MAX);
    let arguments = if after.is_some() { 4 } else { 2 };
    let reply = script::SCHEDULED.run(shared, 2, arguments, ENTRY_BYTES, |command| {
        command.arg(schedule.key()).arg(schedule.entries_key()).int(count as u64).int(SCRIPT_BYTES_MAX as u64);
        if let Some(ScheduleCursor { at, id }) = after {
            command.arg(at).arg(id);
        }
    });
    let mut found = array(SCHEDULED, checked(SCHEDULED, schedule, reply.await?)?)?.into_iter();
    let more = found.next().as_ref().and_then(as_count) == Some(1);
    let (mut entries, mut last) = (Vec::new(), after.clone());
    while let Some(id) = found.next() {
        let (Reply::Bulk(id), Some(Reply::Bulk(at)), Some(packed)) = (id, found.next(), found.next()) else {
            return Err(BrokerError::Protocol(format!("{SCHEDULED} answered no entry").into()));
        };
        let fields = match &packed {
            Reply::Bulk(packed) => unpack(packed),
            _ => None,
        };
        let name = std::str::from_utf8(&id).ok().and_then(|id| ScheduleId::new(id.to_owned()).ok());
        if let (Some(id), Some(at), Some(fields)) = (name, time_of(&at), fields) {
            entries.push(Scheduled { id, at, fields });
        }
        last = Some(ScheduleCursor { at, id });
    }
    Ok(ScheduledPage { entries, next: last.filter(|_| more) })
}

/// See [`Broker::cancel_scheduled`](streamerson_core::Broker::cancel_scheduled).
pub(crate) async fn cancel(
    shared: &Shared,
    schedule: &Schedule,
    ids: &[ScheduleId],
) -> Result<Vec<ScheduleId>, BrokerError> {
    let mut there = Vec::new();
    for ids in ids.chunks(SCRIPT_ENTRIES_MAX) {
        let reply = script::CANCEL.run(shared, 2, ids.len(), 64 * ids.len(), |command| {
            command.arg(schedule.key()).arg(schedule.entries_key());
            ids.iter().for_each(|id| {
                command.arg(id.as_str());
            });
        });
        let removed = array(CANCEL, checked(CANCEL, schedule, reply.await?)?)?;
        there.extend(removed.iter().filter_map(as_text).filter_map(|id| ScheduleId::new(id.to_owned()).ok()));
    }
    Ok(there)
}

/// What kept an entry from being scheduled.
pub(crate) fn refusal(command: &str, message: &[u8], key: &str) -> BrokerError {
    let full = message.strip_prefix(b"FULL ").and_then(|max| std::str::from_utf8(max).ok()?.parse().ok());
    match full {
        Some(max) => BrokerError::Full { key: key.into(), max },
        None => stream_error(command, message, &StreamKey::raw(key.to_owned()), None),
    }
}

fn checked(command: &str, schedule: &Schedule, reply: Reply) -> Result<Reply, BrokerError> {
    match reply {
        Reply::Error(message) => Err(refusal(command, &message, schedule.key())),
        reply => Ok(reply),
    }
}

/// Names and values as netstrings (`1:p,4:text,`), one behind the other: any bytes, and any language can read it.
pub(crate) fn pack(fields: &Fields) -> Bytes {
    let mut packed = BytesMut::with_capacity(fields.bytes_len() + 16 * fields.len());
    for part in fields.iter().flat_map(|(name, value)| [name, value]) {
        packed.extend_from_slice(part.len().to_string().as_bytes());
        packed.extend_from_slice(b":");
        packed.extend_from_slice(part);
        packed.extend_from_slice(b",");
    }
    packed.freeze()
}

/// Reads what [`pack`] wrote, as the script does: what it refuses to move is nothing here either.
fn unpack(packed: &Bytes) -> Option<Fields> {
    let (mut parts, mut rest) = (Vec::new(), packed.clone());
    while !rest.is_empty() {
        let colon = rest.iter().take(11).position(|byte| *byte == b':')?;
        let digits = rest.split_to(colon + 1);
        let digits = &digits[..colon];
        let length: usize =
            digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok())??;
        if rest.get(length) != Some(&b',') {
            return None;
        }
        parts.push(rest.split_to(length));
        rest = rest.slice(1..);
    }
    let pairs = parts.chunks_exact(2);
    let whole = !parts.is_empty() && pairs.remainder().is_empty() && parts.len() <= 7800;
    whole.then(|| Fields::from(pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect::<Vec<_>>()))
}

fn time(reply: &Reply) -> Option<UnixMillis> {
    match reply {
        Reply::Bulk(text) => time_of(text),
        _ => None,
    }
}

/// A time as servers write scores: some of them write large ones with an exponent. Our own are whole and not negative.
fn time_of(score: &[u8]) -> Option<UnixMillis> {
    let score: f64 = std::str::from_utf8(score).ok()?.parse().ok()?;
    let whole = format!("{:.0}", score.max(0.0).floor());
    Some(whole.parse().map_or(Scheduled::AT_MAX, UnixMillis).min(Scheduled::AT_MAX))
}

/// An id of whatever bytes, for people to read.
fn shown(id: &Reply) -> String {
    match id {
        Reply::Bulk(id) => String::from_utf8_lossy(id).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static [u8], &'static [u8])]) -> Fields {
        Fields::from(pairs.iter().map(|(name, value)| (Bytes::from(*name), Bytes::from(*value))).collect::<Vec<_>>())
    }

    #[test]
    fn fields_are_packed_as_netstrings() {
        let all = fields(&[(b"p", b"text"), (b"", b""), (b"\xff\0", b"1:a,"), (b"p", b"12345678901")]);
        let packed = pack(&all);
        assert_eq!(&packed[..], b"1:p,4:text,0:,0:,2:\xff\0,4:1:a,,1:p,11:12345678901,");
        assert_eq!(unpack(&packed), Some(all));
    }

    #[test]
    fn what_is_no_packed_entry_is_none() {
        for bad in
            ["", "x", "1:p,", "1:p,4:tex,", "1:p,4:text", "1:p,-1:,", "1p,1:a,", "99999999999:a,", "1:p,4:text,x"]
        {
            assert_eq!(unpack(&Bytes::from_static(bad.as_bytes())), None, "{bad}");
        }
    }

    #[test]
    fn times_are_read_however_they_are_written() {
        for (text, millis) in
            [("1760000000001", 1_760_000_000_001), ("1.76e+12", 1_760_000_000_000), ("5.9", 5), ("-3", 0)]
        {
            assert_eq!(time_of(text.as_bytes()), Some(UnixMillis(millis)), "{text}");
        }
        assert_eq!(time_of(b"9007199254740991"), Some(Scheduled::AT_MAX));
        assert_eq!(time_of(b"inf"), Some(Scheduled::AT_MAX));
        assert_eq!(time_of(b"soon"), None);
    }
}
