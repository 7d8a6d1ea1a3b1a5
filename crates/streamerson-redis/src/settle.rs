//! The ends of deliveries: replies, emitted entries and dead letters, each in one step with its ack.

use std::collections::HashMap;

use streamerson_core::{
    EntryId, Fields, StreamKey,
    broker::{Append, BrokerError, Fence, Membership, Pending, Settlement},
};

use crate::{
    append::{append, encode_fields, encode_reply, fields_bytes, keep},
    error::{refused, unexpected},
    inspect::pending,
    reply::{array, as_count, as_id, stream_error},
    resp::{Command, Reply},
    script,
    shared::Shared,
};

/// What errors call the script.
const SCRIPT: &str = "the settle script";

/// The most deliveries settled by one run of the script, which the server answers nobody else during.
const SCRIPT_SETTLEMENTS_MAX: usize = 1000;

/// The most fields of an entry that a script can append: Lua's stack holds 8,000 values.
const SCRIPT_FIELDS_MAX: usize = 3900;

/// See [`Broker::settle`](streamerson_core::Broker::settle).
pub(crate) async fn settle(
    shared: &Shared,
    membership: &Membership,
    batch: &[Settlement],
    fence: Fence,
) -> Result<Vec<EntryId>, BrokerError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    // Within a transaction, an append that fails does not keep the ack from being carried out. That is as it should be
    // for a reply, whose inbox may be gone; nothing else may be lost so.
    let replies_only = |settlement: &Settlement| settlement.emitted.is_empty() && settlement.dead.is_none();
    if fence == Fence::Renewed && batch.iter().all(replies_only) {
        return settle_plainly(shared, membership, batch).await.map(|()| Vec::new());
    }

    let keeps: Vec<_> = appends(batch).filter_map(|append| append.keep.clone()).collect();
    if !keeps.is_empty() {
        keep(shared, keeps).await?;
    }
    let (wide, narrow): (Vec<_>, Vec<_>) = batch.iter().partition(|settlement| is_wide(settlement));
    let mut lost = Vec::new();
    for chunk in narrow.chunks(SCRIPT_SETTLEMENTS_MAX) {
        lost.append(&mut settle_by_script(shared, membership, chunk).await?);
    }
    for settlement in wide {
        if !settle_step_by_step(shared, membership, settlement).await? {
            lost.push(settlement.id);
        }
    }
    Ok(lost)
}

/// One transaction for the whole batch: the replies, then one ack for all. Without replies the ack alone.
async fn settle_plainly(shared: &Shared, membership: &Membership, batch: &[Settlement]) -> Result<(), BrokerError> {
    let Membership { key, group, .. } = membership;
    let replies = || batch.iter().filter_map(|settlement| settlement.reply.as_ref());
    let transaction = replies().next().is_some();
    let bytes = 64 * batch.len() + replies().map(|reply| fields_bytes(&reply.fields)).sum::<usize>();
    let answer = shared.call(bytes, |commands| {
        if transaction {
            commands.command(1).arg("MULTI");
        }
        replies().for_each(|reply| encode_reply(commands, &reply.key, &reply.fields));
        let mut ack = commands.command(3 + batch.len());
        ack.arg("XACK").arg(key.as_str()).arg(group.as_str());
        batch.iter().for_each(|settlement| {
            ack.pair(settlement.id.ms, settlement.id.seq);
        });
        drop(ack);
        if transaction {
            commands.command(1).arg("EXEC");
        }
    });
    let mut answers = answer.await?.replies;
    let last = answers.pop().unwrap_or(Reply::Nil);
    let results = match last {
        Reply::Array(results) if transaction => results,
        // What was refused while it was queued; the transaction then did nothing.
        Reply::Error(message) if transaction => {
            let first = answers.iter().find_map(Reply::error).unwrap_or(&message);
            return Err(stream_error("XADD or XACK in MULTI", first, key, Some(group)));
        }
        ack => vec![ack],
    };
    match results.split_last() {
        Some((Reply::Integer(_), appended)) => {
            for message in appended.iter().filter_map(Reply::error) {
                tracing::debug!(%key, error = %String::from_utf8_lossy(message), "a reply could not be appended");
            }
            Ok(())
        }
        Some((Reply::Error(message), _)) => Err(stream_error("XACK", message, key, Some(group))),
        _ => Err(BrokerError::Protocol("XACK was answered by something other than a number".into())),
    }
}

/// The script looks at the owner of each delivery and acks only what was appended.
async fn settle_by_script(
    shared: &Shared,
    membership: &Membership,
    batch: &[&Settlement],
) -> Result<Vec<EntryId>, BrokerError> {
    let Membership { key, group, member } = membership;
    let mut keys = vec![key];
    let mut indexes = HashMap::new();
    let targets = batch.iter().flat_map(|settlement| steps(settlement)).map(|step| step.key);
    targets.for_each(|target| {
        indexes.entry(target).or_insert_with(|| {
            keys.push(target);
            keys.len() as u64
        });
    });

    let arguments =
        2 + batch.iter().map(|settlement| 2 + steps(settlement).map(Step::arguments).sum::<usize>()).sum::<usize>();
    let bytes =
        batch.iter().flat_map(|settlement| steps(settlement)).map(|step| fields_bytes(step.fields)).sum::<usize>();
    let encode = |command: &mut Command<'_>| {
        keys.iter().for_each(|key| {
            command.arg(key.as_str());
        });
        command.arg(group.as_str()).arg(member.as_str());
        for settlement in batch {
            command.pair(settlement.id.ms, settlement.id.seq).int(steps(settlement).count() as u64);
            for step in steps(settlement) {
                command.int(indexes.get(step.key).copied().unwrap_or(0)).arg(step.kind);
                match step.entries_max {
                    Some(entries_max) => command.int(entries_max),
                    None => command.arg(""),
                };
                encode_fields(command.int(2 * step.fields.len() as u64), step.fields);
            }
        }
    };
    let reply = script::SETTLE.run(shared, keys.len(), arguments, 64 * batch.len() + bytes, encode).await?;
    if let Reply::Error(message) = &reply {
        return Err(stream_error(SCRIPT, message, key, Some(group)));
    }
    let parts = array(SCRIPT, reply)?;
    match parts.as_slice() {
        [Reply::Array(lost), Reply::Nil, _] => Ok(lost.iter().filter_map(as_id).collect()),
        [_, Reply::Bulk(message), index] => {
            let index = as_count(index).and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
            Err(match keys.get(index.wrapping_sub(1)) {
                Some(key) => stream_error(SCRIPT, message, key, None),
                None => refused(message),
            })
        }
        _ => Err(unexpected(SCRIPT, &Reply::Array(parts))),
    }
}

/// The same for a delivery with an entry that no script can append: look, append, ack, one after the other. A crash
/// between them repeats the appends.
async fn settle_step_by_step(
    shared: &Shared,
    membership: &Membership,
    settlement: &Settlement,
) -> Result<bool, BrokerError> {
    let Membership { key, group, member } = membership;
    let id = settlement.id;
    let look = Pending { key: key.clone(), group: group.clone(), member: Some(member.clone()), from: id, count: 1 };
    if pending(shared, &look).await?.first().is_none_or(|pending| pending.id != id) {
        return Ok(false);
    }
    let replies = settlement
        .reply
        .iter()
        .map(|reply| Append { only_if_exists: true, ..Append::new(reply.key.clone(), reply.fields.clone()) });
    let others = settlement.emitted.iter().chain(&settlement.dead).cloned();
    for appended in append(shared, replies.chain(others).collect()).await {
        appended?;
    }
    settle_plainly(shared, membership, &[Settlement::done(id)]).await.map(|()| true)
}

/// One append of a settlement.
struct Step<'a> {
    key: &'a StreamKey,
    fields: &'a Fields,
    kind: &'static str,
    entries_max: Option<u64>,
}

impl Step<'_> {
    /// How many arguments of the script it takes.
    fn arguments(self) -> usize {
        4 + 2 * self.fields.len()
    }
}

/// The appends of a settlement, in order.
fn steps(settlement: &Settlement) -> impl Iterator<Item = Step<'_>> {
    fn step(append: &Append) -> Step<'_> {
        let kind = if append.only_if_exists { "if-exists" } else { "append" };
        Step { key: &append.key, fields: &append.fields, kind, entries_max: append.entries_max }
    }
    let reply = settlement.reply.as_ref().map(|reply| Step {
        key: &reply.key,
        fields: &reply.fields,
        kind: "reply",
        entries_max: None,
    });
    settlement.emitted.iter().map(step).chain(reply).chain(settlement.dead.iter().map(step))
}

fn appends(batch: &[Settlement]) -> impl Iterator<Item = &Append> {
    batch.iter().flat_map(|settlement| settlement.emitted.iter().chain(&settlement.dead))
}

fn is_wide(settlement: &Settlement) -> bool {
    steps(settlement).any(|step| step.fields.len() > SCRIPT_FIELDS_MAX)
}
