//! Marks, leases and registries of the documented gateways and workers.

use std::time::Duration;

use streamerson_core::{
    Fields, MessageId, Name,
    broker::{Append, Charge, Fence, GroupStart, LeaseRequest, Mark, Membership, Settlement},
    shards::Shards,
};
use streamerson_test::eventually;

use crate::scene::{connect, nothing_was_denied, orders, spawn};

/// Marks, on either side; named leases and registries, among workers.
#[tokio::test]
async fn marks_are_set_and_leases_taken() {
    let (server, [gateway, worker]) = spawn().await;
    let (gateway, worker) = (connect(&server, &gateway).await, connect(&server, &worker).await);
    let (topic, name, ttl) = (orders(), Name::unique(), Duration::from_secs(60));
    let key = topic.idempotency_mark(&MessageId::unique());
    let mark = Mark { key: key.clone(), value: "answer".into(), ttl };
    assert_eq!(gateway.mark_if_absent(vec![mark.clone()]).await.expect("set"), [None]);
    gateway.mark(vec![mark.clone()]).await.expect("set");
    let shards = Shards::new(topic.clone(), 4).expect("so many shards");
    for broker in [&gateway, &worker] {
        shards.agree(&**broker).await.expect("agreed");
    }
    assert_eq!(gateway.recall(vec![key.clone()]).await.expect("recalled"), [Some("answer".into())]);
    assert_eq!(gateway.mark_if_absent(vec![mark.clone()]).await.expect("found"), [Some("answer".into())]);
    let group = Name::new("billing").expect("a name");
    for (broker, key) in [(&gateway, topic.idempotency_meter()), (&worker, topic.done_meter(&group))] {
        let short = Charge { key: key.clone(), bytes: 7, ttl: Duration::from_millis(1), reserved: None };
        assert_eq!(broker.charge(short.clone()).await.expect("charged"), 7);
        eventually("the bytes go", async || {
            let question = Charge { bytes: 0, ..short.clone() };
            (broker.charge(question).await.expect("an answer") == 0).then_some(())
        })
        .await;
    }

    let membership = Membership::new(topic.inbound(), name.clone());
    worker.create_group(&membership.key, &membership.group, GroupStart::End).await.expect("a group");
    let mut fields = Fields::default();
    fields.push("p", "done");
    for fence in [Fence::Renewed, Fence::Check] {
        let appended = worker.append(vec![Append::new(topic.inbound(), fields.clone())]).await.remove(0);
        let id = appended.expect("appended").id.expect("an id");
        worker.group_reader(&membership).read(1, Duration::ZERO).await.expect("a delivery");
        let done = Mark { key: topic.done_mark(&membership.group, &MessageId::unique()), ..mark.clone() };
        let batch = [Settlement { mark: Some(done.clone()), ..Settlement::done(id) }];
        assert_eq!(worker.settle(&membership, &batch, fence).await.expect("settled").lost, []);
        assert_eq!(worker.recall(vec![done.key]).await.expect("recalled"), [Some("answer".into())]);
    }

    let request = LeaseRequest { key: topic.owner(&name), holder: name.clone(), ttl };
    assert!(worker.lease(request).await.expect("a lease").held);
    assert!(worker.release_lease(&topic.owner(&name), &name).await.expect("released"));
    assert_eq!(
        worker.register(&topic.registry(&name), &name, ttl).await.expect("registered"),
        std::slice::from_ref(&name)
    );
    worker.unregister(&topic.registry(&name), &name).await.expect("off");
    nothing_was_denied(&server).await;
}
