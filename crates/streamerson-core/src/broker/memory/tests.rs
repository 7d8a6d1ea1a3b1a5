//! What is particular to the embedded broker. What every broker does is in the conformance suite.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, advance, sleep, timeout},
};

use super::Memory;
use crate::{
    broker::{
        Append, Broker, BrokerError, DeadAppend, Delivered, Fence, GroupStart, Keep, Membership, Pending, ReclaimFrom,
        ReplyAppend, Settlement, StreamRead, TrimTo,
    },
    dead_letter::{DeadLetter, Reason},
    entry::{EntryId, Fields},
    name::Name,
    topic::StreamKey,
};

const LONG: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(30);

fn key(text: &'static str) -> StreamKey {
    StreamKey::raw(text)
}

fn one(key: &StreamKey, value: &'static str) -> Append {
    let mut fields = Fields::default();
    fields.push("m", value);
    Append::new(key.clone(), fields)
}

async fn append(broker: &Memory, append: Append) -> Result<Option<EntryId>, BrokerError> {
    broker.append(vec![append]).await.remove(0).map(|appended| appended.id)
}

async fn group(broker: &Memory, key: &StreamKey) -> Membership {
    let group = Name::new("g").unwrap();
    broker.create_group(key, &group, GroupStart::After(EntryId::ZERO)).await.unwrap();
    Membership::new(key.clone(), group)
}

async fn read(broker: &Memory, membership: &Membership, count: usize) -> Vec<Delivered> {
    broker.group_reader(membership).read(count, Duration::ZERO).await.unwrap()
}

fn keep(key: &StreamKey, ttl: Duration) -> Vec<Keep> {
    vec![Keep { key: key.clone(), ttl, unless_epoch: None }]
}

#[tokio::test(start_paused = true)]
async fn ids_grow_while_the_clock_stands_still() {
    let (broker, key) = (Memory::new(), key("{t}:in"));
    let first = append(&broker, one(&key, "a")).await.unwrap().unwrap();
    let second = append(&broker, one(&key, "b")).await.unwrap().unwrap();
    assert_eq!(first, EntryId::new(broker.now().0, 0));
    assert_eq!(second, first.next());

    advance(Duration::from_millis(5)).await;
    let third = append(&broker, one(&key, "c")).await.unwrap().unwrap();
    assert_eq!(third, EntryId::new(first.ms + 5, 0));

    broker.remove(vec![key.clone()]).await.unwrap();
    let reborn = append(&broker, one(&key, "d")).await.unwrap().unwrap();
    assert!(reborn > third, "a stream made again gives no id twice");
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_when_it_was_not_kept() {
    let (broker, inbox) = (Memory::new(), key("{t}:re:i"));
    broker.keep(keep(&inbox, Duration::from_secs(120))).await.unwrap();
    for _ in 0..3 {
        advance(Duration::from_secs(90)).await;
        broker.keep(keep(&inbox, Duration::from_secs(120))).await.unwrap();
    }
    // The connection is the one that the last keep was confirmed on, so this one does nothing.
    let confirmed = Keep { unless_epoch: Some(broker.epoch()), ..keep(&inbox, LONG).remove(0) };
    broker.keep(vec![confirmed]).await.unwrap();
    advance(Duration::from_millis(119_999)).await;
    assert!(broker.stream_info(&inbox).await.unwrap().is_some());
    advance(Duration::from_millis(1)).await;
    assert_eq!(broker.stream_info(&inbox).await.unwrap(), None);

    let reply = Append { only_if_exists: true, ..one(&inbox, "late") };
    assert_eq!(append(&broker, reply).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn streams_that_nobody_asks_for_again_do_not_stay() {
    let broker = Memory::new();
    for number in 0..500 {
        let inbox = StreamKey::raw(format!("{{t{number}}}:re:i"));
        append(&broker, Append { keep: keep(&inbox, LEASE).pop(), ..one(&inbox, "r") }).await.unwrap();
    }
    assert!(broker.bytes_used() > 0);
    advance(LEASE).await;
    // Another client's inbox, refreshed now and then, is enough: each time one shard is swept, of up to 16 streams.
    for _ in 0..64 * 8 {
        broker.keep(keep(&key("{other}:re:i"), LONG)).await.unwrap();
    }
    assert_eq!(broker.bytes_used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_on_the_paused_clock_to_the_millisecond() {
    let (broker, key) = (Memory::new(), key("{t}:in"));
    let (slow, other) = (group(&broker, &key).await, group(&broker, &key).await);
    let id = append(&broker, one(&key, "a")).await.unwrap().unwrap();
    read(&broker, &slow, 1).await;
    let from = ReclaimFrom {
        membership: other.clone(),
        lease: LEASE,
        cursor: EntryId::ZERO,
        count: 10,
        handed_back_first: false,
        dead: StreamKey::raw("{t}:dead"),
        dead_entries_max: 10,
    };

    advance(LEASE / 2).await;
    assert!(broker.renew(&slow, vec![id]).await.unwrap().is_empty());
    advance(LEASE - Duration::from_millis(1)).await;
    assert!(broker.reclaim(from.clone()).await.unwrap().deliveries.is_empty());
    advance(Duration::from_millis(1)).await;
    assert_eq!(broker.reclaim(from.clone()).await.unwrap().deliveries[0].count, 2);
    assert_eq!(broker.renew(&slow, vec![id]).await.unwrap(), [id]);
    assert_eq!(broker.settle(&slow, &[Settlement::done(id)], Fence::Renewed).await.unwrap().lost, [id]);

    // What was handed back is anybody's at once, and no delivery is counted twice for it.
    broker.hand_back(&other, vec![id]).await.unwrap();
    let again = broker.reclaim(ReclaimFrom { membership: slow.clone(), ..from }).await.unwrap();
    assert_eq!(again.deliveries[0].count, 2);
    assert!(broker.leave(&other).await.unwrap());
    assert!(!broker.leave(&slow).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_while_it_was_pending_becomes_a_dead_letter() {
    let (broker, key, dead) = (Memory::new(), key("{t}:in"), key("{t}:dead"));
    let membership = group(&broker, &key).await;
    let gone = append(&broker, one(&key, "a")).await.unwrap().unwrap();
    append(&broker, one(&key, "b")).await.unwrap();
    read(&broker, &membership, 10).await;
    assert_eq!(broker.trim(&key, TrimTo::Finished).await.unwrap(), 0, "both are pending");
    assert_eq!(broker.trim(&key, TrimTo::Entries(1)).await.unwrap(), 1);

    let from = ReclaimFrom {
        membership,
        lease: Duration::ZERO,
        cursor: EntryId::ZERO,
        count: 10,
        handed_back_first: false,
        dead: dead.clone(),
        dead_entries_max: 10,
    };
    let reclaimed = broker.reclaim(from).await.unwrap();
    assert_eq!((reclaimed.trimmed, reclaimed.deliveries.len()), (vec![gone], 1));
    let mut reader = broker.reader();
    let letters = reader.read(&[(dead, EntryId::ZERO)], 10, Duration::ZERO).await.unwrap();
    let (letter, original) = DeadLetter::split(&letters[0].entries[0].fields).unwrap();
    assert_eq!((letter.reason, letter.entry, letter.at), (Reason::Trimmed, gone, broker.now().0));
    assert!(original.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_woken_by_any_of_its_streams_and_by_its_waker() {
    let broker = Memory::new();
    let mut cursors: Vec<_> =
        (0..10_000).map(|number| (StreamKey::raw(format!("{{t{number}}}:re:i")), EntryId::ZERO)).collect();
    let mut reader = broker.reader();
    for index in [0, 9_999, 1234, 1234] {
        let late = async {
            sleep(Duration::from_millis(10)).await;
            append(&broker, one(&cursors[index].0, "r")).await.unwrap().unwrap()
        };
        let (found, id) = tokio::join!(reader.read(&cursors, 10, LONG), late);
        let found = found.unwrap();
        assert_eq!((found.len(), found[0].index, found[0].entries[0].id), (1, index, id));
        cursors[index].1 = id;
    }

    let waker = reader.waker();
    waker.wake();
    waker.wake();
    let start = Instant::now();
    assert!(reader.read(&cursors, 10, LONG).await.unwrap().is_empty());
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(reader.read(&cursors, 10, LONG).await.unwrap().is_empty());
    assert!(start.elapsed() >= LONG, "two wakes are one");
}

#[tokio::test(start_paused = true)]
async fn a_reader_follows_cursors_that_move_come_and_go() {
    let broker = Memory::new();
    let [a, b] = [key("{a}:out"), key("{b}:out")];
    let mut reader = broker.reader();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(append(&broker, one(&a, "x")).await.unwrap().unwrap());
    }
    let found = |reads: Vec<StreamRead>| -> Vec<_> {
        reads.iter().flat_map(|read| read.entries.iter().map(|entry| (read.index, entry.id))).collect()
    };
    let mut look = async |cursors: &[(StreamKey, EntryId)], count| {
        found(reader.read(cursors, count, Duration::ZERO).await.unwrap())
    };
    let at = |key: &StreamKey, id| (key.clone(), id);

    // The rest of what a count cut off, without news.
    assert_eq!(look(&[at(&a, EntryId::ZERO)], 2).await, [(0, ids[0]), (0, ids[1])]);
    assert_eq!(look(&[at(&a, ids[1])], 2).await, [(0, ids[2])]);
    assert_eq!(look(&[at(&a, ids[2])], 2).await, []);
    // Back, to another place, twice the same, and none at all.
    assert_eq!(look(&[at(&a, ids[1])], 2).await, [(0, ids[2])]);
    assert_eq!(look(&[at(&b, EntryId::ZERO), at(&a, ids[1])], 2).await, [(1, ids[2])]);
    assert_eq!(look(&[at(&a, ids[2]), at(&a, ids[1])], 2).await, [(1, ids[2])]);
    assert_eq!(look(&[], 2).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_dropped_loses_nothing() {
    let (broker, key) = (Memory::new(), key("{t}:out"));
    let mut reader = broker.reader();
    let cursor = [(key.clone(), EntryId::ZERO)];
    for expected in 1..4 {
        assert!(timeout(LEASE, reader.read(&[], 10, LONG)).await.is_err());
        append(&broker, one(&key, "a")).await.unwrap();
        let mut late = reader.read(&cursor, 10, LONG);
        if expected == 2 {
            // Never polled.
            drop(late);
            late = reader.read(&cursor, 10, LONG);
        }
        assert_eq!(late.await.unwrap()[0].entries.len(), expected);
        assert!(timeout(LEASE, reader.read(&[(key.clone(), EntryId::MAX)], 10, LONG)).await.is_err());
    }
    drop(reader);
}

#[tokio::test(start_paused = true)]
async fn members_that_wait_are_served_in_the_order_in_which_they_came() {
    let (broker, key) = (Memory::new(), key("{t}:in"));
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let membership = group(&broker, &key).await;
        let mut reader = broker.group_reader(&membership);
        waiting.push(tokio::spawn(async move { reader.read(1, LONG).await.unwrap() }));
        tokio::task::yield_now().await;
    }
    // One that no longer waits stands in nobody's way.
    waiting.remove(1).abort();
    tokio::task::yield_now().await;
    let batch = ["a", "b", "c"].map(|value| one(&key, value)).to_vec();
    let ids: Vec<_> = broker.append(batch).await.into_iter().map(|appended| appended.unwrap().id.unwrap()).collect();
    for (reader, id) in waiting.into_iter().zip(ids) {
        let delivered = timeout(Duration::from_millis(1), reader).await.unwrap().unwrap();
        assert_eq!(delivered[0].entry.id, id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_waits_hears_that_its_group_is_gone() {
    let (broker, key) = (Memory::new(), key("{t}:in"));
    let membership = group(&broker, &key).await;
    for drop_stream in [false, true] {
        group(&broker, &key).await;
        let mut reader = broker.group_reader(&membership);
        let end = async {
            sleep(LEASE).await;
            if drop_stream {
                broker.remove(vec![key.clone()]).await.unwrap();
            } else {
                assert!(broker.drop_group(&key, &membership.group).await.unwrap());
            }
        };
        let start = Instant::now();
        let (read, ()) = tokio::join!(reader.read(1, LONG), end);
        assert!(matches!(read, Err(BrokerError::NoGroup { .. })), "{read:?}");
        assert!(start.elapsed() < LEASE * 2);
    }
}

#[tokio::test]
async fn a_full_broker_refuses_what_is_new_and_lets_work_end() {
    let (broker, input, inbox) = (Memory::with_bytes_max(1000), key("{t}:in"), key("{t}:re:i"));
    let membership = group(&broker, &input).await;
    broker.keep(keep(&inbox, LONG)).await.unwrap();
    let refused = loop {
        if let Err(refused) = append(&broker, one(&input, "request")).await {
            break refused;
        }
    };
    assert!(matches!(&refused, BrokerError::Refused { code, .. } if &**code == "OOM"), "{refused:?}");
    assert!(refused.is_transient());
    let full = broker.bytes_used();

    let delivered = read(&broker, &membership, 1).await;
    let reply = ReplyAppend { key: inbox.clone(), fields: one(&inbox, "reply").fields };
    let settlement = Settlement { reply: Some(reply), ..Settlement::done(delivered[0].entry.id) };
    let emitting = Settlement { emitted: vec![one(&input, "more")], ..settlement.clone() };
    assert!(broker.settle(&membership, &[emitting], Fence::Check).await.is_err());
    assert_eq!(broker.stream_info(&inbox).await.unwrap().unwrap().len, 0, "all of a settlement or nothing");
    assert!(broker.settle(&membership, &[settlement], Fence::Check).await.unwrap().lost.is_empty());
    assert!(broker.bytes_used() > full);

    broker.trim(&input, TrimTo::Finished).await.unwrap();
    broker.trim(&inbox, TrimTo::Entries(0)).await.unwrap();
    append(&broker, one(&input, "request")).await.unwrap();
    broker.remove(vec![input, inbox]).await.unwrap();
    assert_eq!(broker.bytes_used(), 0);
}

#[tokio::test]
async fn a_settlement_that_cannot_be_made_leaves_its_delivery_and_no_other() {
    let (broker, input) = (Memory::new(), key("{t}:in"));
    let membership = group(&broker, &input).await;
    for _ in 0..3 {
        append(&broker, one(&input, "a")).await.unwrap();
    }
    let ids: Vec<_> = read(&broker, &membership, 3).await.into_iter().map(|delivered| delivered.entry.id).collect();
    let mut batch: Vec<_> = ids.iter().copied().map(Settlement::done).collect();
    batch[1].dead = Some(DeadAppend::new(key("{t}:dead"), Fields::default()));
    let refused = broker.settle(&membership, &batch, Fence::Check).await;
    assert!(matches!(refused, Err(BrokerError::Refused { .. })), "{refused:?}");
    let pending = Pending { key: input, group: membership.group, member: None, from: EntryId::ZERO, count: 10 };
    let pending: Vec<_> = broker.pending(pending).await.unwrap().into_iter().map(|pending| pending.id).collect();
    assert_eq!(pending, [ids[1]]);
}

#[tokio::test]
async fn a_task_that_always_finds_something_to_do_lets_others_run() {
    let (broker, key) = (Memory::new(), key("{t}:in"));
    let other = tokio::spawn(async {});
    while !other.is_finished() {
        append(&broker, Append { entries_max: Some(1), ..one(&key, "a") }).await.unwrap();
    }
}

/// Writers, members and a reader on several threads: everything arrives once, and no wake-up is lost. Members emit to
/// the other topic with each ack, in both directions, so that steps over two shards cross.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_under_load() {
    const EACH: usize = 2_000;
    let (broker, out) = (Memory::new(), key("{out}:out"));
    let inputs = [key("{a}:in"), key("{b}:in")];
    let mut members = JoinSet::new();
    for (input, other) in [(&inputs[0], &inputs[1]), (&inputs[1], &inputs[0])] {
        for _ in 0..3 {
            let (broker, out, other) = (broker.clone(), out.clone(), other.clone());
            let membership = group(&broker, input).await;
            members.spawn(async move {
                let mut reader = broker.group_reader(&membership);
                loop {
                    let delivered = reader.read(7, LONG).await.unwrap();
                    assert!(!delivered.is_empty(), "a wake-up was lost");
                    let settle = |delivered: &Delivered| {
                        let first = delivered.entry.fields.get(b"m").is_some_and(|value| value == "first");
                        let emit = if first { one(&other, "second") } else { one(&out, "done") };
                        Settlement { emitted: vec![emit], ..Settlement::done(delivered.entry.id) }
                    };
                    let batch: Vec<_> = delivered.iter().map(settle).collect();
                    assert!(broker.settle(&membership, &batch, Fence::Check).await.unwrap().lost.is_empty());
                }
            });
        }
        let (broker, input) = (broker.clone(), input.clone());
        tokio::spawn(async move {
            for _ in 0..EACH {
                append(&broker, one(&input, "first")).await.unwrap();
            }
        });
    }
    let mut reader = broker.reader();
    let mut cursor = [(out.clone(), EntryId::ZERO)];
    let mut done = 0;
    while done < 2 * EACH {
        let read = timeout(Duration::from_secs(20), reader.read(&cursor, 50, LONG));
        let entries = read.await.expect("no wake-up is lost").unwrap().remove(0).entries;
        done += entries.len();
        cursor[0].1 = entries.last().unwrap().id;
    }
    members.shutdown().await;
    assert_eq!(broker.stream_info(&out).await.unwrap().unwrap().len, 2 * EACH as u64);
}
