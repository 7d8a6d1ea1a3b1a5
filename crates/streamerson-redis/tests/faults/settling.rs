//! Outcomes whose way to the server fails.

use std::time::Duration;

use streamerson_core::{
    Message, Name, Reply, Topic, Wire,
    broker::{Append, Keep},
    group::{Outcome, Settled},
};
use streamerson_test::{Direction, Proxy, RedisServer, eventually};

use super::account::{Load, broker, cut_off, event, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_of_unknown_fate_is_settled_once() {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let direct = broker(&server.url()).await;
    let load = Load::new(&direct).await;
    let mut member = load.member(&broker(&server.url_through(proxy.address())).await).await;
    let inbox = Name::unique();
    let key = load.topic.inbox(&inbox);
    direct.keep(vec![Keep { key: key.clone(), ttl: Duration::from_secs(600), unless_epoch: None }]).await.unwrap();
    let fields = Wire::default().encode(&Message { inbox: Some(inbox), ..event() }).unwrap();
    direct.append(vec![Append::new(load.topic.inbound(), fields)]).await.remove(0).unwrap();
    let held = soon("the request", member.next()).await.unwrap();

    proxy.blackhole(Direction::ToClient);
    held.settle(Outcome::Replied(Reply::new("once"))).await;
    let replies = async || direct.stream_info(&key).await.unwrap().unwrap().len;
    eventually("the reply is there, and the member does not know", async || (replies().await == 1).then_some(())).await;
    cut_off(&proxy).await;
    eventually("the member knows", async || {
        let leaves = direct.groups(&load.topic.inbound()).await.unwrap();
        leaves.iter().all(|group| group.pending == 0).then_some(())
    })
    .await;
    soon("the member leaves", member.leave(Duration::from_secs(4))).await;
    assert_eq!(replies().await, 1, "it was not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_outcome_that_cannot_be_settled_does_not_hold_up_the_others() {
    let server = RedisServer::spawn().await;
    let broker = broker(&server.url()).await;
    let load = Load::new(&broker).await;
    let mut member = load.member(&broker).await;
    let wrong = Topic::new("wrong").unwrap().inbound();
    server.command(["SET", wrong.as_str(), "no stream"]).await;
    let fields = (0..10).map(|_| Append::new(load.topic.inbound(), Wire::default().encode(&event()).unwrap()));
    broker.append(fields.collect()).await.into_iter().for_each(|appended| _ = appended.unwrap());

    let mut entries = Vec::new();
    for number in 0..10 {
        let held = member.next().await.unwrap();
        entries.push(held.delivery.entry);
        let emitted = if number == 4 { vec![(wrong.clone(), event())] } else { Vec::new() };
        tokio::spawn(held.settle(Settled { emitted, ..Settled::from(Outcome::Done) }));
    }
    // All but the one are settled, and that one is delivered again when nobody has renewed it for a lease.
    let again = soon("the one that failed comes again", member.next()).await.unwrap();
    assert_eq!((again.delivery.entry, again.delivery.count), (entries[4], 2));
    let pending = broker.groups(&load.topic.inbound()).await.unwrap().iter().map(|group| group.pending).sum::<u64>();
    assert_eq!(pending, 1);
}
