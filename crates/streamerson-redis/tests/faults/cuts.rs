//! Connections that are cut again and again.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, future::join};
use streamerson_core::{
    Client, Cursor, Message, Topic, Wire,
    client::CallError,
    group::{Member, MemberConfig, Outcome},
};
use streamerson_test::{Direction, Proxy, RedisServer, eventually};
use tokio::sync::watch;

use super::account::{Load, balance, broker, cut_off, event, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_lose_nothing_and_double_nothing() {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let through = server.url_through(proxy.address());
    let mut load = Load::new(&broker(&server.url()).await).await;
    let open = watch::Sender::new(true);
    for _ in 0..2 {
        load.work(&broker(&through).await, &open).await;
    }
    let client = Client::new(broker(&through).await);
    const TASKS: usize = 24;
    const EACH: usize = 100;
    let cut = async {
        for number in (0..TASKS * EACH).step_by(150) {
            load.progress(number).await;
            proxy.cut();
        }
    };
    let (sent, ()) = join(load.send(&client, TASKS, EACH, Duration::from_secs(8)), cut).await;
    for (id, error) in &sent.failed {
        let known = matches!(error, CallError::Broker(error) if error.is_transient());
        assert!(known, "{id} failed for no good reason: {error}");
    }
    client.close().await;
    let (appended, handled) = load.finish(&broker(&server.url()).await).await;
    balance(&sent, &appended, &handled);
    assert!(sent.failed.len() < TASKS * EACH / 10, "an outage this short is waited out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_lost_on_its_way_comes_again_at_once() {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let direct = broker(&server.url()).await;
    let load = Load::new(&direct).await;
    let far = broker(&server.url_through(proxy.address())).await;
    // Its lease is much longer than the patience of this test.
    let config = MemberConfig::default();
    let mut member = Member::join(far, load.topic.clone(), load.group.clone(), config).await.unwrap();
    // Its read waits at the server.
    Client::new(direct.clone()).emit(&load.topic, event()).await.unwrap();
    let held = member.next().await.unwrap();
    held.settle(Outcome::Done).await;

    proxy.blackhole(Direction::ToClient);
    let sent = Client::new(direct.clone()).emit(&load.topic, event()).await.unwrap();
    eventually("it is on its way", async || {
        let groups = direct.groups(&load.topic.inbound()).await.unwrap();
        groups.iter().any(|group| group.last_delivered == sent.entry).then_some(())
    })
    .await;
    cut_off(&proxy).await;
    let held = soon("it comes again long before the end of the lease", member.next()).await.unwrap();
    assert_eq!((held.delivery.entry, held.delivery.count), (sent.entry, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_appends_each_message_once_and_in_order() {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let direct = broker(&server.url()).await;
    let far = broker(&server.url_through(proxy.address())).await;
    let key = Topic::new("published").unwrap().inbound();
    const COUNT: u64 = 20_000;
    let publish = async {
        let mut publisher = far.publisher(key.clone());
        for number in 0..COUNT {
            publisher.feed(Message { payload: number.to_string().into(), ..event() }).await.unwrap();
        }
        publisher.flush().await.unwrap();
    };
    let cut = async {
        // Wherever it is by then: in the middle of a batch most likely.
        for number in (0..COUNT).step_by(1500) {
            eventually("it goes on", async || {
                (direct.stream_info(&key).await.unwrap().map_or(0, |info| info.len) >= number).then_some(())
            })
            .await;
            proxy.cut();
        }
    };
    let subscription = far.subscribe(key.clone(), Cursor::Start);
    let watch = async {
        let mut received = subscription.take(COUNT as usize);
        let mut expected = 0;
        while let Some(received) = received.next().await {
            let message = Wire::default().decode(&received.expect("no gap").entry.fields).unwrap();
            assert_eq!(message.payload, expected.to_string());
            expected += 1;
        }
    };
    futures_util::future::join3(publish, cut, watch).await;
    assert_eq!(direct.stream_info(&key).await.unwrap().unwrap().len, COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_holds_back_who_is_faster_than_the_broker() {
    let server = RedisServer::spawn().await;
    let broker = broker(&server.url()).await;
    let key = Topic::new("published").unwrap().inbound();
    let mut publisher = broker.publisher(key.clone());
    publisher.send(event()).await.unwrap();
    server.pause();
    let mut fed: u64 = 1;
    while tokio::time::timeout(Duration::from_millis(200), publisher.feed(event())).await.is_ok() {
        fed += 1;
        assert!(fed < 10_000, "it has to hold back at some time");
    }
    server.resume();
    publisher.flush().await.unwrap();
    assert_eq!(broker.stream_info(&key).await.unwrap().unwrap().len, fed);
}
