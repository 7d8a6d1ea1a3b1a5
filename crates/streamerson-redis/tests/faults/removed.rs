//! What an operator removes while a handler is at work on it.

use std::time::Duration;

use streamerson_core::{Client, client::CallError};
use streamerson_test::{RedisServer, eventually};
use tokio::sync::watch;

use super::account::{LEASE, Load, broker, request};

/// A handler has a request when `remove` is done to what it came from, and ends at once, or so much later that its lease
/// was looked at. Answers what became of the call, and how often a message was handled at most. What comes after is
/// answered in any case.
async fn removed(
    late: bool,
    remove: impl AsyncFnOnce(&RedisServer, &Load, &str),
) -> (Result<(), CallError>, Option<usize>) {
    let server = RedisServer::spawn().await;
    let broker = broker(&server.url()).await;
    let (mut load, gate) = (Load::new(&broker).await, watch::Sender::new(false));
    load.work(&broker, &gate).await;
    let client = Client::new(broker.clone());
    let story = async {
        eventually("it is being handled", async || (load.handled.lock().unwrap().len() == 1).then_some(())).await;
        let members = broker.members(&load.topic.inbound(), &load.group).await.unwrap();
        remove(&server, &load, &members[0].name).await;
        if late {
            tokio::time::sleep(LEASE).await;
        }
        gate.send_replace(true);
    };
    let (answer, ()) = tokio::join!(client.request(&load.topic, request(Duration::from_secs(5))), story);
    let again = load.send(&client, 4, 10, Duration::from_secs(5)).await;
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    let most = load.handled.lock().unwrap().values().max().copied();
    (answer.map(drop), most)
}

/// With the entry its delivery is gone, and a member whose lease is lost says nothing: for all it knows somebody else is
/// at it. So the caller's deadline decides where the handler was not done soon enough.
fn answered_or_late(late: bool, answer: &Result<(), CallError>) {
    let as_it_should = answer.is_ok() || (late && matches!(answer, Err(CallError::TimedOut(_))));
    assert!(as_it_should, "late {late}: {answer:?}");
}

#[tokio::test]
async fn a_stream() {
    for late in [false, true] {
        let (answer, most) = removed(late, async |server, load, _| {
            server.command(["DEL", load.topic.inbound().as_str()]).await;
        })
        .await;
        answered_or_late(late, &answer);
        assert_eq!(most, Some(1));
    }
}

#[tokio::test]
async fn a_group() {
    for late in [false, true] {
        let (answer, most) = removed(late, async |server, load, _| {
            server.command(["XGROUP", "DESTROY", load.topic.inbound().as_str(), load.group.as_str()]).await;
        })
        .await;
        assert!(answer.is_ok(), "late {late}: {answer:?}");
        // The group is made again below what was unsettled, so that it may come again, once.
        assert!(most <= Some(2), "late {late}: {most:?}");
    }
}

#[tokio::test]
async fn a_member() {
    for late in [false, true] {
        let (answer, most) = removed(late, async |server, load, member| {
            let key = load.topic.inbound();
            server.command(["XGROUP", "DELCONSUMER", key.as_str(), load.group.as_str(), member]).await;
        })
        .await;
        answered_or_late(late, &answer);
        assert_eq!(most, Some(1));
    }
}
