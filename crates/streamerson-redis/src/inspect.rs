//! What is known of streams, groups, members and pending deliveries.

use std::time::Duration;

use streamerson_core::{
    EntryId, Name, StreamKey,
    broker::{BrokerError, GroupInfo, MemberInfo, Membership, Pending, PendingEntry, StreamInfo},
};

use crate::{
    error::unexpected,
    reply::{array, as_count, as_id, as_text, is_no_key, stream_error, value},
    resp::Reply,
    shared::Shared,
};

/// About what these commands take on the wire, in bytes.
const INSPECT_BYTES: usize = 256;

/// See [`Broker::stream_info`](streamerson_core::Broker::stream_info).
pub(crate) async fn stream_info(shared: &Shared, key: &StreamKey) -> Result<Option<StreamInfo>, BrokerError> {
    let ask = shared.call_one(INSPECT_BYTES, |batch| {
        batch.command(3).arg("XINFO").arg("STREAM").arg(key.as_str());
    });
    let info = match ask.await? {
        Reply::Error(message) if is_no_key(&message) => return Ok(None),
        Reply::Error(message) => return Err(stream_error("XINFO STREAM", &message, key, None)),
        reply => array("XINFO STREAM", reply)?,
    };
    let len = value(&info, "length").and_then(as_count);
    let last = value(&info, "last-generated-id").and_then(as_id);
    let first = match value(&info, "first-entry") {
        Some(Reply::Array(entry)) => entry.first().and_then(as_id),
        _ => None,
    };
    // Redis counts them from 7.0 on.
    let appended = value(&info, "entries-added").and_then(as_count);
    match (len, last) {
        (Some(len), Some(last)) => Ok(Some(StreamInfo { len, first, last, appended })),
        _ => Err(unexpected("XINFO STREAM", &Reply::Array(info))),
    }
}

/// See [`Broker::groups`](streamerson_core::Broker::groups). A group whose name is none of ours is left out.
pub(crate) async fn groups(shared: &Shared, key: &StreamKey) -> Result<Vec<GroupInfo>, BrokerError> {
    let ask = shared.call_one(INSPECT_BYTES, |batch| {
        batch.command(3).arg("XINFO").arg("GROUPS").arg(key.as_str());
    });
    let groups = match ask.await? {
        Reply::Error(message) if is_no_key(&message) => return Ok(Vec::new()),
        Reply::Error(message) => return Err(stream_error("XINFO GROUPS", &message, key, None)),
        reply => array("XINFO GROUPS", reply)?,
    };
    let mut known = Vec::with_capacity(groups.len());
    for group in groups {
        let info = array("XINFO GROUPS", group)?;
        let count = |name| value(&info, name).and_then(as_count);
        let name = value(&info, "name").and_then(as_text).and_then(|name| Name::new(name.to_owned()).ok());
        let last_delivered = value(&info, "last-delivered-id").and_then(as_id);
        match (name, count("consumers"), count("pending"), last_delivered) {
            (Some(name), Some(members), Some(pending), Some(last_delivered)) => {
                known.push(GroupInfo { name, members, pending, last_delivered, lag: count("lag") });
            }
            (None, ..) => {}
            _ => return Err(unexpected("XINFO GROUPS", &Reply::Array(info))),
        }
    }
    Ok(known)
}

/// See [`Broker::members`](streamerson_core::Broker::members).
pub(crate) async fn members(shared: &Shared, key: &StreamKey, group: &Name) -> Result<Vec<MemberInfo>, BrokerError> {
    let ask = shared.call_one(INSPECT_BYTES, |batch| {
        batch.command(4).arg("XINFO").arg("CONSUMERS").arg(key.as_str()).arg(group.as_str());
    });
    let members = match ask.await? {
        Reply::Error(message) => return Err(stream_error("XINFO CONSUMERS", &message, key, Some(group))),
        reply => array("XINFO CONSUMERS", reply)?,
    };
    let mut known = Vec::with_capacity(members.len());
    for member in members {
        let info = array("XINFO CONSUMERS", member)?;
        let count = |name| value(&info, name).and_then(as_count);
        let name = value(&info, "name").and_then(as_text);
        match (name, count("pending"), count("idle")) {
            (Some(Membership::NOBODY), Some(0), _) => {}
            (Some(name), Some(pending), Some(idle)) => {
                known.push(MemberInfo { name: name.to_owned(), pending, idle: Duration::from_millis(idle) });
            }
            _ => return Err(unexpected("XINFO CONSUMERS", &Reply::Array(info))),
        }
    }
    Ok(known)
}

/// See [`Broker::pending`](streamerson_core::Broker::pending).
pub(crate) async fn pending(shared: &Shared, wanted: &Pending) -> Result<Vec<PendingEntry>, BrokerError> {
    let Pending { key, group, member, from, count } = wanted;
    if *count == 0 {
        return Ok(Vec::new());
    }
    let ask = shared.call_one(INSPECT_BYTES, |batch| {
        let mut command = batch.command(6 + usize::from(member.is_some()));
        command.arg("XPENDING").arg(key.as_str()).arg(group.as_str());
        command.pair(from.ms, from.seq).arg("+").int(*count as u64);
        if let Some(member) = member {
            command.arg(member.as_str());
        }
    });
    let reply = match ask.await? {
        Reply::Error(message) => return Err(stream_error("XPENDING", &message, key, Some(group))),
        reply => reply,
    };
    array("XPENDING", reply)?.into_iter().map(pending_entry).collect()
}

fn pending_entry(reply: Reply) -> Result<PendingEntry, BrokerError> {
    let parts = array("XPENDING", reply)?;
    let [id, member, idle, count] = parts.as_slice() else {
        return Err(unexpected("XPENDING", &Reply::Array(parts)));
    };
    let fields: Option<(EntryId, &str, u64, u64)> =
        as_id(id).zip(as_text(member)).zip(as_count(idle)).zip(as_count(count)).map(|(((a, b), c), d)| (a, b, c, d));
    let Some((id, member, idle, count)) = fields else {
        return Err(unexpected("XPENDING", &Reply::Array(parts)));
    };
    // What was handed back lies there with one delivery less, which the next reclaim makes up for.
    let count = if member == Membership::NOBODY { count + 1 } else { count };
    Ok(PendingEntry {
        id,
        member: member.to_owned(),
        idle: Duration::from_millis(idle),
        count: u32::try_from(count).unwrap_or(u32::MAX),
    })
}
