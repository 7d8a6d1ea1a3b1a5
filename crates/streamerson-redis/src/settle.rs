//! The ends of deliveries: replies, emitted entries and dead letters, each in one step with its ack.

use std::collections::HashMap;

use streamerson_core::{
    EntryId,
    broker::{Append, BrokerError, Fence, Later, Membership, Pending, SettledBatch, Settlement, check_movable},
};

use crate::{
    append::{append, encode_reply, fields_bytes, keep},
    dead::drop_oldest,
    error::{refused, unexpected},
    inspect::pending,
    marks::{encode_mark, mark_bytes},
    reply::{array, as_count, as_id, stream_error},
    resp::{Command, Reply},
    schedule::{refusal, schedule},
    script,
    shared::Shared,
    step::{Step, steps},
};

/// What errors call the script.
const SCRIPT: &str = "the settle script";

/// The most deliveries settled by one run of the script, which the server answers nobody else during.
const SCRIPT_SETTLEMENTS_MAX: usize = 1000;

/// See [`Broker::settle`](streamerson_core::Broker::settle).
pub(crate) async fn settle(
    shared: &Shared,
    membership: &Membership,
    batch: &[Settlement],
    fence: Fence,
) -> Result<SettledBatch, BrokerError> {
    if batch.is_empty() {
        return Ok(SettledBatch::default());
    }
    // Within a transaction, an append that fails does not keep the ack from being carried out. That is as it should be
    // for a reply, whose inbox may be gone; nothing else may be lost so. A mark does not fail there: whatever its key
    // holds is replaced, and a server that is full refuses it before the transaction begins.
    let is_plain = |settlement: &Settlement| {
        settlement.emitted.is_empty() && settlement.dead.is_none() && settlement.later.is_none()
    };
    if fence == Fence::Renewed && batch.iter().all(is_plain) {
        return settle_plainly(shared, membership, batch).await.map(|()| SettledBatch::default());
    }

    let emitted = batch.iter().flat_map(|settlement| &settlement.emitted);
    let keeps: Vec<_> = emitted.filter_map(|append| append.keep.clone()).collect();
    if !keeps.is_empty() {
        keep(shared, keeps).await?;
    }
    let mut settled = SettledBatch::default();
    let mut failure = None;
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    for settlement in batch {
        match settlement.later.as_ref().map(|later| check_movable(&later.scheduled.fields)) {
            Some(Err(error)) => failure = Some(error),
            _ => {
                let steps = steps(settlement);
                if steps.iter().any(Step::is_wide) {
                    wide.push(settlement);
                } else {
                    narrow.push((settlement.id, steps));
                }
            }
        }
    }
    for chunk in narrow.chunks(SCRIPT_SETTLEMENTS_MAX) {
        let chunk = settle_by_script(shared, membership, chunk, &mut settled).await;
        failure = failure.or(chunk.err());
    }
    for settlement in wide {
        let one = settle_step_by_step(shared, membership, settlement, &mut settled).await;
        failure = failure.or(one.err());
    }
    failure.map_or(Ok(settled), Err)
}

/// One transaction for the whole batch: replies and marks, then one ack for all. Without them the ack alone.
async fn settle_plainly(shared: &Shared, membership: &Membership, batch: &[Settlement]) -> Result<(), BrokerError> {
    let Membership { key, group, .. } = membership;
    let replies = || batch.iter().filter_map(|settlement| settlement.reply.as_ref());
    let marks = || batch.iter().filter_map(|settlement| settlement.mark.as_ref());
    let transaction = replies().next().is_some() || marks().next().is_some();
    let bytes = 64 * batch.len()
        + replies().map(|reply| fields_bytes(&reply.fields)).sum::<usize>()
        + marks().map(mark_bytes).sum::<usize>();
    let answer = shared.call(bytes, |commands| {
        if transaction {
            commands.command(1).arg("MULTI");
        }
        replies().for_each(|reply| encode_reply(commands, &reply.key, &reply.fields));
        marks().for_each(|mark| encode_mark(commands, mark, false));
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
            return Err(stream_error("XADD, SET or XACK in MULTI", first, key, Some(group)));
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
    batch: &[(EntryId, Vec<Step<'_>>)],
    settled: &mut SettledBatch,
) -> Result<(), BrokerError> {
    let Membership { key, group, member } = membership;
    let all = || batch.iter().flat_map(|(_, steps)| steps);
    let mut keys = vec![key.as_str()];
    let mut indexes = HashMap::new();
    all().flat_map(Step::keys).for_each(|target| {
        indexes.entry(target).or_insert_with(|| {
            keys.push(target);
            keys.len() as u64
        });
    });

    let arguments = 2 + 2 * batch.len() + all().map(Step::arguments).sum::<usize>();
    let bytes = 64 * batch.len() + all().map(Step::bytes).sum::<usize>();
    let encode = |command: &mut Command<'_>| {
        keys.iter().for_each(|key| {
            command.arg(key);
        });
        command.arg(group.as_str()).arg(member.as_str());
        for (id, steps) in batch {
            command.pair(id.ms, id.seq).int(steps.len() as u64);
            steps.iter().for_each(|step| step.encode(command, |key| indexes.get(key).copied().unwrap_or(0)));
        }
    };
    let reply = script::SETTLE.run(shared, keys.len(), arguments, bytes, encode).await?;
    if let Reply::Error(message) = &reply {
        return Err(stream_error(SCRIPT, message, key, Some(group)));
    }
    let parts = array(SCRIPT, reply)?;
    let [Reply::Array(lost), failure, index, dropped] = parts.as_slice() else {
        return Err(unexpected(SCRIPT, &Reply::Array(parts)));
    };
    settled.lost.extend(lost.iter().filter_map(as_id));
    settled.dead_dropped += as_count(dropped).unwrap_or(0);
    let Reply::Bulk(message) = failure else { return Ok(()) };
    let index = as_count(index).and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    Err(match keys.get(index.wrapping_sub(1)) {
        Some(key) => refusal(SCRIPT, message, key),
        None => refused(message),
    })
}

/// The same for a delivery with an entry that no script can append: look, append, ack, one after the other. A crash
/// between them repeats the appends.
async fn settle_step_by_step(
    shared: &Shared,
    membership: &Membership,
    settlement: &Settlement,
    settled: &mut SettledBatch,
) -> Result<(), BrokerError> {
    let Membership { key, group, member } = membership;
    let Settlement { id, reply, emitted, dead, later, mark } = settlement;
    let look = Pending { key: key.clone(), group: group.clone(), member: Some(member.clone()), from: *id, count: 1 };
    if pending(shared, &look).await?.first().is_none_or(|pending| pending.id != *id) {
        settled.lost.push(*id);
        return Ok(());
    }
    if let Some(Later { schedule: on, scheduled }) = later {
        schedule(shared, on, vec![scheduled.clone()]).await.into_iter().collect::<Result<(), _>>()?;
    }
    let replies = reply
        .iter()
        .map(|reply| Append { only_if_exists: true, ..Append::new(reply.key.clone(), reply.fields.clone()) });
    let letters = dead.iter().map(|dead| Append::new(dead.key.clone(), dead.fields.clone()));
    for appended in append(shared, emitted.iter().cloned().chain(replies).chain(letters).collect()).await {
        appended?;
    }
    if let Some(dead) = dead {
        settled.dead_dropped += drop_oldest(shared, dead).await?;
    }
    settle_plainly(shared, membership, &[Settlement { mark: mark.clone(), ..Settlement::done(*id) }]).await
}
