//! Who holds a delivery: renewal, takeover, hand-back and leaving, each by a script that looks at the owner first.

use streamerson_core::{
    EntryId, Fields,
    broker::{BrokerError, Delivered, Membership, ReclaimFrom, Reclaimed},
    dead_letter::{DeadLetter, FIELD, Reason},
};

use crate::{
    error::unexpected,
    reply::{array, as_count, as_id, entries, stream_error},
    resp::{Command, Reply},
    script,
    shared::Shared,
};

/// The most ids given to one run of a script, which the server answers nobody else during.
const SCRIPT_IDS_MAX: usize = 1000;

/// The most pending entries that one look for abandoned ones goes through.
const PENDING_SEEN_MAX: u64 = 1000;

/// The idle time of what was handed back, in milliseconds: a year, longer than any lease.
const HANDED_BACK_IDLE_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// About what an id takes on the wire, in bytes.
const ID_BYTES: usize = 32;

/// See [`Broker::renew`](streamerson_core::Broker::renew).
pub(crate) async fn renew(
    shared: &Shared,
    membership: &Membership,
    ids: &[EntryId],
) -> Result<Vec<EntryId>, BrokerError> {
    if ids.is_empty() {
        return show_up(shared, membership).await.map(|()| Vec::new());
    }
    let mut lost = Vec::new();
    for ids in ids.chunks(SCRIPT_IDS_MAX) {
        let reply = script::RENEW.run(shared, 1, 2 + ids.len(), ID_BYTES * ids.len(), |command| {
            encode_membership(command, membership);
            ids.iter().for_each(|id| {
                command.pair(id.ms, id.seq);
            });
        });
        let reply = checked("the renew script", membership, reply.await?)?;
        lost.extend(array("the renew script", reply)?.iter().filter_map(as_id));
    }
    Ok(lost)
}

/// A sign of life of a member that holds nothing. Before Redis 7.2 a read that finds nothing new leaves no trace of who
/// asked; a read of the member's own history, here of a part that holds nothing, does. Not of the very last id, by which
/// servers mean `>` inside.
async fn show_up(shared: &Shared, membership: &Membership) -> Result<(), BrokerError> {
    let Membership { key, group, member } = membership;
    let reply = shared.call_one(128, |batch| {
        let mut command = batch.command(9);
        command.arg("XREADGROUP").arg("GROUP").arg(group.as_str()).arg(member.as_str());
        command.arg("COUNT").int(1).arg("STREAMS").arg(key.as_str()).pair(u64::MAX, 0);
    });
    checked("XREADGROUP", membership, reply.await?).map(drop)
}

/// See [`Broker::hand_back`](streamerson_core::Broker::hand_back).
pub(crate) async fn hand_back(shared: &Shared, membership: &Membership, ids: &[EntryId]) -> Result<(), BrokerError> {
    for ids in ids.chunks(SCRIPT_IDS_MAX) {
        let reply = script::HAND_BACK.run(shared, 1, 4 + ids.len(), ID_BYTES * ids.len(), |command| {
            encode_membership(command, membership);
            command.arg(Membership::NOBODY).int(HANDED_BACK_IDLE_MS);
            ids.iter().for_each(|id| {
                command.pair(id.ms, id.seq);
            });
        });
        checked("the hand-back script", membership, reply.await?)?;
    }
    Ok(())
}

/// See [`Broker::reclaim`](streamerson_core::Broker::reclaim).
pub(crate) async fn reclaim(shared: &Shared, from: &ReclaimFrom) -> Result<Reclaimed, BrokerError> {
    if from.count == 0 {
        return Ok(Reclaimed { cursor: from.cursor, ..Reclaimed::default() });
    }
    let membership = &from.membership;
    let lease_ms = u64::try_from(from.lease.as_millis()).unwrap_or(u64::MAX).min(i64::MAX as u64);
    let (before_id, after_id) = trimmed_letter(shared, membership);
    let arguments = 9 + usize::from(from.handed_back_first);
    let reply = script::RECLAIM.run(shared, 2, arguments, before_id.len(), |command| {
        command.arg(membership.key.as_str()).arg(from.dead.as_str());
        command.arg(membership.group.as_str()).arg(membership.member.as_str());
        command.int(lease_ms).pair(from.cursor.ms, from.cursor.seq).int(from.count as u64);
        command.int(from.dead_entries_max).arg(&before_id).arg(&after_id).int(PENDING_SEEN_MAX);
        if from.handed_back_first {
            command.arg(Membership::NOBODY);
        }
    });
    let reply = checked("the reclaim script", membership, reply.await?)?;
    let parts = <[Reply; 5]>::try_from(array("the reclaim script", reply)?);
    let [cursor, claimed, gone, failure, dropped] =
        parts.map_err(|parts| unexpected("the reclaim script", &Reply::Array(parts)))?;
    let cursor = as_id(&cursor).ok_or_else(|| unexpected("the reclaim script", &cursor))?;
    let deliveries = array("the reclaim script", claimed)?.into_iter().map(delivered).collect::<Result<_, _>>()?;
    let trimmed: Vec<_> = array("the reclaim script", gone)?.iter().filter_map(as_id).collect();
    if let Reply::Bulk(cause) = failure {
        let (key, cause) = (&from.dead, String::from_utf8_lossy(&cause));
        tracing::warn!(%key, ?trimmed, %cause, "deliveries whose entries are gone left no dead letters");
    }
    Ok(Reclaimed { deliveries, cursor, trimmed, dead_dropped: as_count(&dropped).unwrap_or(0) })
}

/// See [`Broker::leave`](streamerson_core::Broker::leave).
pub(crate) async fn leave(shared: &Shared, membership: &Membership) -> Result<bool, BrokerError> {
    let reply = script::LEAVE.run(shared, 1, 2, 0, |command| encode_membership(command, membership)).await?;
    match checked("the leave script", membership, reply) {
        Ok(reply) => Ok(as_count(&reply) == Some(1)),
        // Where there is no group there is no member.
        Err(BrokerError::NoGroup { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

fn encode_membership(command: &mut Command<'_>, membership: &Membership) {
    command.arg(membership.key.as_str()).arg(membership.group.as_str()).arg(membership.member.as_str());
}

fn checked(command: &str, membership: &Membership, reply: Reply) -> Result<Reply, BrokerError> {
    match reply {
        Reply::Error(message) => Err(stream_error(command, &message, &membership.key, Some(&membership.group))),
        reply => Ok(reply),
    }
}

/// An entry and its delivery count.
fn delivered(reply: Reply) -> Result<Delivered, BrokerError> {
    let mut parts = array("the reclaim script", reply)?.into_iter();
    let entry = parts.next().map(|entry| entries("the reclaim script", Reply::Array(vec![entry])));
    let count = parts.next().as_ref().and_then(as_count);
    match (entry.transpose()?.and_then(|mut entries| entries.pop()), count) {
        (Some(entry), Some(count)) => Ok(Delivered { entry, count: u32::try_from(count).unwrap_or(u32::MAX) }),
        _ => Err(BrokerError::Protocol("the reclaim script answered no delivery".into())),
    }
}

/// What a `trimmed` dead letter says, in two parts: only the server will know the id that belongs between them.
fn trimmed_letter(shared: &Shared, membership: &Membership) -> (Vec<u8>, Vec<u8>) {
    let Membership { group, member, .. } = membership;
    let error = "the entry was removed from the stream before it was handled";
    let letter = DeadLetter::new(Reason::Trimmed, error, group.clone(), member.clone(), EntryId::MAX).at(shared.now());
    let fields = letter.fields(&Fields::default());
    let json = fields.get(FIELD.as_bytes()).map(|json| json.to_vec()).unwrap_or_default();
    let id = EntryId::MAX.to_string();
    match json.windows(id.len()).rposition(|window| window == id.as_bytes()) {
        Some(at) => (json[..at].to_vec(), json[at + id.len()..].to_vec()),
        None => (json, Vec::new()),
    }
}
