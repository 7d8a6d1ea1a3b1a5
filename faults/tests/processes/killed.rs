//! Members that are killed, connections that are cut, and a Redis that is killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join;
use streamerson::Client;
use streamerson_test::{Proxy, RedisServer, eventually};
use tokio::time::sleep;

use crate::{
    account::Account,
    fleet::{Fleet, dead_letters, settled},
    load::{Plan, Sent, send},
    scaled,
};

const MEMBERS: usize = 4;

fn plan() -> Plan {
    let each = scaled(50_000, 4000);
    Plan { requests: each, events: each, tasks: 256, takes_ms: 20 }
}

async fn client(url: &str) -> Client {
    Client::new(streamerson::connect(url).await.unwrap())
}

/// Waits until all is sent.
async fn until(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Sends the plan while `fault` breaks things until it is told that all is sent; answers how often it did.
async fn under<F: Future<Output = usize>>(
    client: &Client,
    fault: impl FnOnce(Arc<AtomicBool>, Arc<AtomicUsize>) -> F,
) -> (Sent, usize) {
    let (over, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let sending = async {
        let sent = send(client, plan(), &ended).await;
        over.store(true, Ordering::Relaxed);
        sent
    };
    join(sending, fault(Arc::clone(&over), Arc::clone(&ended))).await
}

/// 50,000 requests and 50,000 events while a member is killed each second.
#[tokio::test(flavor = "multi_thread")]
async fn members_killed_at_random() {
    let server = RedisServer::spawn().await;
    let mut fleet = Fleet::start(&server.url(), MEMBERS, "").await;
    let client = client(&server.url()).await;
    let (sent, kills) = under(&client, |over, _| async {
        fleet.kill_at_random(Duration::from_secs(1), async move { until(&over).await }).await
    })
    .await;
    settled(&server, 0).await;
    assert_eq!(dead_letters(&server).await, 0);
    client.close().await;
    let deeds = fleet.end().await;
    Account::nothing_after_its_answer(&sent, &deeds);
    let account = Account::balance(&sent, &deeds);
    account.print("members killed", kills);
    assert_eq!(account.failed, 0, "each request has time enough to be made up for");
    assert!(kills > 0);
}

/// The same, and what was settled is not handled again, however often it comes.
#[tokio::test(flavor = "multi_thread")]
async fn members_killed_at_random_and_messages_that_come_twice() {
    let server = RedisServer::spawn().await;
    let mut fleet = Fleet::start(&server.url(), MEMBERS, "deduplicate=1").await;
    let client = client(&server.url()).await;
    let (sent, kills) = under(&client, |over, _| async {
        fleet.kill_at_random(Duration::from_secs(1), async move { until(&over).await }).await
    })
    .await;
    settled(&server, 0).await;
    // All of it once more: by now it is settled.
    let before = fleet.begun();
    sent.repeat(&client).await;
    settled(&server, 0).await;
    assert_eq!(fleet.begun(), before, "nothing that was settled is handled again");
    client.close().await;
    let deeds = fleet.end().await;
    Account::nothing_after_its_answer(&sent, &deeds);
    Account::balance(&sent, &deeds).print("members killed, with deduplication", kills);
}

/// The same while connections between members and Redis are cut at random.
#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_random() {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let fleet = Fleet::start(&server.url_through(proxy.address()), MEMBERS, "").await;
    let client = client(&server.url()).await;
    let (sent, cuts) = under(&client, |over, _| async move {
        let mut cuts = 0;
        while !over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(fastrand::u64(50..800))).await;
            proxy.cut();
            cuts += 1;
        }
        cuts
    })
    .await;
    settled(&server, 0).await;
    assert_eq!(dead_letters(&server).await, 0);
    client.close().await;
    let deeds = fleet.end().await;
    Account::nothing_after_its_answer(&sent, &deeds);
    let account = Account::balance(&sent, &deeds);
    account.print("connections cut", cuts);
    assert_eq!(account.failed, 0);
}

/// The same while Redis, which writes its log each second, is killed and started again.
#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_and_started_again() {
    let mut server =
        RedisServer::builder().setting("appendonly", "yes").setting("appendfsync", "everysec").spawn().await;
    let fleet = Fleet::start(&server.url(), MEMBERS, "").await;
    let client = client(&server.url()).await;
    let mut recovered = Vec::new();
    let (sent, kills) = under(&client, |over, ended| {
        let (server, recovered) = (&mut server, &mut recovered);
        async move {
            let mut kills = 0;
            while !over.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(300)).await;
                server.kill();
                sleep(Duration::from_millis(500)).await;
                server.start().await;
                kills += 1;
                let (back, so_far) = (Instant::now(), ended.load(Ordering::Relaxed));
                eventually("it goes on", async || {
                    (over.load(Ordering::Relaxed) || ended.load(Ordering::Relaxed) > so_far + 300).then_some(())
                })
                .await;
                recovered.push(back.elapsed());
                // Longer than its log is behind, and for as long as it takes all to be at full speed.
                sleep(Duration::from_millis(1500)).await;
            }
            kills
        }
    })
    .await;
    settled(&server, 0).await;
    client.close().await;
    let account = Account::balance(&sent, &fleet.end().await);
    account.print("redis killed", kills);
    assert_eq!(account.failed, 0, "what Redis has confirmed is in its log");
    assert!(kills > 0);
    eprintln!("redis killed: goes on at full speed after {recovered:.1?}");
}
