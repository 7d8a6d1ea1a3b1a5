//! The embedded broker: appends, deliveries and their ends, and a whole request with its reply.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use streamerson_core::{
    Client, EntryId, EventType, Message, Name, Reply, SharedBroker, Topic, Wire,
    broker::{Append, Fence, GroupStart, Membership, Settlement, TrimTo, memory::Memory},
    client::Request,
    group::{Member, MemberConfig, Outcome},
};
use tokio::runtime::Runtime;

/// Entries in one batch.
const BATCH: usize = 256;

fn event() -> EventType {
    EventType::new("order.get").expect("an event type")
}

fn topic() -> Topic {
    Topic::new("orders").expect("a topic")
}

fn appends() -> Vec<Append> {
    let fields = Wire::default().encode(&Message::new(event(), vec![b'x'; 128])).expect("a message within bounds");
    vec![Append::new(topic().inbound(), fields); BATCH]
}

/// What a batch costs on its way through: appended, delivered, settled and trimmed.
fn batches(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let broker = SharedBroker::from(Memory::new());
    let membership = Membership::new(topic().inbound(), Name::new("workers").expect("a name"));
    let (key, group) = (&membership.key, &membership.group);
    runtime.block_on(broker.create_group(key, group, GroupStart::After(EntryId::ZERO))).expect("a group");
    let mut reader = broker.group_reader(&membership);
    let batch = appends();

    let mut benchmark = c.benchmark_group("memory");
    benchmark.throughput(Throughput::Elements(BATCH as u64));
    benchmark.bench_function(format!("append {BATCH}, read, settle, trim"), |b| {
        b.iter(|| {
            runtime.block_on(async {
                black_box(broker.append(batch.clone()).await);
                let delivered = reader.read(BATCH, Duration::ZERO).await.expect("a group");
                assert_eq!(delivered.len(), BATCH, "all are delivered");
                let done: Vec<_> = delivered.iter().map(|delivered| Settlement::done(delivered.entry.id)).collect();
                broker.settle(&membership, &done, Fence::Renewed).await.expect("a group");
                broker.trim(key, TrimTo::Finished).await.expect("a stream")
            })
        });
    });
    benchmark.finish();
}

/// One request after the other: the client, the pending calls, a member and all hand-overs between their tasks.
fn requests(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let broker = SharedBroker::from(Memory::new());
    let client = Client::new(Arc::clone(&broker));
    let group = Name::new("workers").expect("a name");
    let member = Member::join(broker, topic(), group, MemberConfig::default());
    let mut member = runtime.block_on(member).expect("a group that can be joined");
    let worker = runtime.spawn(async move {
        while let Some(held) = member.next().await {
            held.settle(Outcome::Replied(Reply::new("{}"))).await;
        }
    });
    let topic = topic();
    c.bench_function("memory/request and reply", |b| {
        b.iter(|| runtime.block_on(client.request(&topic, Request::new(event(), "{}"))).expect("a reply"));
    });
    worker.abort();
}

criterion_group!(benches, batches, requests);
criterion_main!(benches);
