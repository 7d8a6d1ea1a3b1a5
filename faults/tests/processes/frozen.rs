//! Handlers that are slow, and a member that freezes.

use std::time::Duration;

use faults::{Job, What};
use streamerson::{
    Client, Message,
    core::{EventType, client::Request},
};
use streamerson_test::{RedisServer, Signal, eventually};

use crate::fleet::{Fleet, dead_letters, settled, topic};

fn request(takes_ms: u64) -> Request {
    let message = Message::json("work", &Job { key: 1, number: 7, takes_ms }).unwrap();
    Request::new(EventType::for_user("work").unwrap(), message.payload).with_timeout(Duration::from_secs(60))
}

/// A handler that takes ten leases is no dead member: it runs once, although others look for what nobody renews.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_slower_than_ten_leases_runs_once() {
    let server = RedisServer::spawn().await;
    let fleet = Fleet::start(&server.url(), 3, "lease_ms=600").await;
    let client = Client::new(streamerson::connect(&server.url()).await.unwrap());
    let reply = client.request(&topic(), request(6500)).await.unwrap();
    assert_eq!(reply.payload, "7");
    client.close().await;
    let begun: Vec<_> =
        fleet.end().await.into_iter().flat_map(|deeds| deeds.lines).filter(|line| line.what == What::Begun).collect();
    assert_eq!(begun.len(), 1, "{begun:?}");
}

/// A member that freezes beyond its lease and goes on settles nothing that it lost: whoever asked has the answer of the
/// member that took over, and one only.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_member_settles_nothing_that_it_lost() {
    let server = RedisServer::spawn().await;
    let mut fleet = Fleet::start(&server.url(), 1, "lease_ms=1000").await;
    let client = Client::new(streamerson::connect(&server.url()).await.unwrap());
    let (asked, to) = (request(1500), topic());
    let call = client.request(&to, asked);
    let story = async {
        let frozen = 0;
        eventually("it is at work", async || (fleet.begun() == 1).then_some(())).await;
        fleet.members()[frozen].process.signal(Signal::Stop);
        fleet.add();
        eventually("another has begun it", async || (fleet.begun() == 2).then_some(())).await;
        eventually("and ended it", async || (fleet.ended() == 1).then_some(())).await;
        settled(&server, 0).await;
        fleet.members()[frozen].process.signal(Signal::Continue);
        // Its handler ends too, and what it comes to is discarded.
        eventually("the first one ended as well", async || (fleet.ended() == 2).then_some(())).await;
    };
    let (reply, ()) = tokio::join!(call, story);
    assert_eq!(reply.unwrap().payload, "7");
    let inboxes = server.command(["KEYS", "{default:jobs}:re:*"]).await;
    let mut replies = 0;
    for inbox in inboxes.items() {
        let info = server.command(["XINFO", "STREAM", inbox.text()]).await;
        replies += info.items().chunks(2).find(|pair| pair[0].text() == "entries-added").unwrap()[1].int();
    }
    client.close().await;
    fleet.end().await;
    assert_eq!(replies, 1, "one answer");
    assert_eq!(dead_letters(&server).await, 0);
}
