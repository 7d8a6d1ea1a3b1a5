//! What is counted of clients and members, and what is told of what waits.

// Setting the scene is part of a test, whatever function does it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures_util::SinkExt;
use streamerson_core::{
    Client, EntryId, EventType, Fields, Message, Metrics, Name, Reply, SharedBroker, Topic,
    broker::{Append, Membership, ReclaimFrom, memory::Memory},
    client::{ClientConfig, Request},
    dead_letter::Reason,
    group::{Member, MemberConfig, Outcome, ShardedMember},
    shards::Shards,
};
use streamerson_test::{Exposition, eventually};

fn topic() -> Topic {
    Topic::new("orders").unwrap()
}

fn group() -> Name {
    Name::new("packers").unwrap()
}

fn event() -> EventType {
    EventType::for_user("order.packed").unwrap()
}

fn message() -> Message {
    Message::new(event(), "7")
}

struct Scene {
    broker: SharedBroker,
    metrics: Metrics,
}

impl Scene {
    fn new() -> Self {
        Self { broker: Memory::new().into(), metrics: Metrics::new() }
    }

    fn client(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = ClientConfig::default();
        config.metrics = self.metrics.clone();
        change(&mut config);
        Client::with_config(self.broker.clone(), config)
    }

    async fn member(&self, change: impl FnOnce(&mut MemberConfig)) -> Member {
        Member::join(self.broker.clone(), topic(), group(), self.config(change)).await.unwrap()
    }

    fn config(&self, change: impl FnOnce(&mut MemberConfig)) -> MemberConfig {
        let mut config = MemberConfig::default();
        config.metrics = self.metrics.clone();
        config.block = Duration::from_millis(100);
        change(&mut config);
        config
    }

    fn page(&self) -> Exposition {
        Exposition::read(&self.metrics.render())
    }

    /// Waits until these series, and all that have their labels, sum up so.
    async fn has(&self, wanted: &[(&str, f64)]) {
        eventually(&format!("{wanted:?}"), async || {
            let page = Exposition::read(&self.metrics.scrape().await);
            wanted.iter().all(|(series, value)| page.sum(series) == *value).then_some(())
        })
        .await;
    }
}

/// Replies with the status that the payload is; what has none is held and never answered.
async fn reply_as_asked(mut member: Member) {
    let mut silent = Vec::new();
    while let Some(held) = member.next().await {
        match http::StatusCode::from_bytes(&held.delivery.message.payload) {
            Ok(status) => held.settle(Outcome::Replied(Reply::new("").with_status(status))).await,
            Err(_) => silent.push(held),
        }
    }
}

#[tokio::test]
async fn each_end_of_a_request_is_counted() {
    let scene = Scene::new();
    let client = scene.client(|_| {});
    let ask = async |client: &Client, status: &'static str, timeout: u64| {
        let request = Request::new(event(), status).with_timeout(Duration::from_millis(timeout));
        client.request(&topic(), request).await.is_ok()
    };
    // No group, so nobody.
    assert!(!ask(&client, "none", 50).await);
    let worker = tokio::spawn(reply_as_asked(scene.member(|_| {}).await));
    for status in ["200", "404", "503"] {
        assert!(ask(&client, status, 60_000).await, "{status}");
    }
    // Longer than it is believed that nobody is there.
    assert!(!ask(&client, "none", 500).await);
    assert!(!ask(&scene.client(|config| config.backlog_max = 0), "200", 60_000).await);
    assert!(!ask(&scene.client(|config| config.payload_bytes_max = 0), "200", 60_000).await);
    let dropped = tokio::time::timeout(Duration::from_millis(50), ask(&client, "none", 60_000)).await;
    assert!(dropped.is_err());
    let page = scene.page();
    for (outcome, calls) in [
        ("replied", 2.0),
        ("failed", 1.0),
        ("timed-out", 1.0),
        ("no-consumers", 1.0),
        ("overloaded", 1.0),
        ("refused", 1.0),
        ("dropped", 1.0),
    ] {
        assert_eq!(page.sum(&format!("streamerson_client_calls_total{{outcome=\"{outcome}\"}}")), calls, "{outcome}");
    }
    assert_eq!(page.sum("streamerson_client_calls_total"), 8.0);
    assert_eq!(page.sum("streamerson_client_call_duration_seconds_count"), 7.0, "all but the one that was dropped");
    assert_eq!(page.sum("streamerson_client_calls_in_flight"), 0.0);
    client.close().await;
    assert!(!ask(&client, "200", 60_000).await);
    assert_eq!(scene.page().sum("streamerson_client_calls_total{outcome=\"closed\"}"), 1.0);
    worker.abort();
}

#[tokio::test]
async fn inboxes_and_calls_are_told_while_they_are_there() {
    let scene = Scene::new();
    let client = scene.client(|_| {});
    let mut member = scene.member(|_| {}).await;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.request(&topic(), Request::new(event(), "7").with_timeout(Duration::from_secs(60))).await }
    });
    let held = member.next().await.unwrap();
    let page = scene.page();
    let told = ["calls_in_flight", "inboxes"].map(|name| page.sum(&format!("streamerson_client_{name}")));
    assert_eq!(told, [1.0, 1.0]);
    held.settle(Outcome::Done).await;
    asked.await.unwrap().unwrap();
    assert_eq!(scene.page().sum("streamerson_client_calls_in_flight"), 0.0);
    client.close().await;
    drop(client);
    scene.has(&[("streamerson_client_inboxes", 0.0)]).await;
}

#[tokio::test]
async fn what_is_appended_is_counted_by_what_it_is() {
    let scene = Scene::new();
    let client = scene.client(|_| {});
    client.emit(&topic(), message()).await.unwrap();
    scene.client(|config| config.backlog_max = 0).emit(&topic(), message()).await.unwrap_err();
    let mut publisher = scene.broker.publisher(topic().inbound()).with_metrics(&scene.metrics);
    for _ in 0..3 {
        publisher.send(message()).await.unwrap();
    }
    scene
        .has(&[
            ("streamerson_client_appended_total{kind=\"event\"}", 1.0),
            ("streamerson_client_appended_total{kind=\"published\"}", 3.0),
            ("streamerson_client_events_total{outcome=\"appended\"}", 1.0),
            ("streamerson_client_events_total{outcome=\"overloaded\"}", 1.0),
            ("streamerson_topic_entries", 4.0),
        ])
        .await;
}

#[tokio::test]
async fn what_waits_is_told_for_as_long_as_the_broker_is_there() {
    let scene = Scene::new();
    let client = scene.client(|_| {});
    let mut member = scene.member(|config| config.concurrency = 1).await;
    for _ in 0..3 {
        client.emit(&topic(), message()).await.unwrap();
    }
    let held = member.next().await.unwrap();
    let labels = r#"{topic="default:orders",group="packers"}"#;
    let oldest = eventually("the backlog", async || {
        let page = Exposition::read(&scene.metrics.scrape().await);
        let is_so = page.get(&format!("streamerson_group_pending{labels}")) == Some(1.0)
            && page.get(&format!("streamerson_group_lag{labels}")) == Some(2.0);
        let oldest = page.get(&format!("streamerson_group_oldest_pending_seconds{labels}"));
        oldest.filter(|oldest| is_so && *oldest > 0.0)
    })
    .await;
    assert!(oldest < 60.0, "{oldest}");
    held.settle(Outcome::Dead { reason: Reason::Rejected, error: "as asked".into(), reply: None }).await;
    scene.has(&[("streamerson_topic_dead_letters", 1.0), ("streamerson_member_dead_letters_total", 1.0)]).await;

    let Scene { broker, metrics } = scene;
    assert!(metrics.render().contains("streamerson_group_lag"));
    drop((broker, client, member));
    // The tasks behind them end first.
    eventually("nothing to be told", async || {
        (!metrics.scrape().await.contains("streamerson_group_lag")).then_some(())
    })
    .await;
    assert!(metrics.render().contains("streamerson_member_dead_letters_total"), "what was counted stays");
}

#[tokio::test]
async fn what_others_took_is_a_lost_lease_and_no_outcome() {
    let scene = Scene::new();
    let mut member = scene.member(|config| config.lease = Duration::from_millis(300)).await;
    scene.client(|_| {}).emit(&topic(), message()).await.unwrap();
    let held = member.next().await.unwrap();
    let thief = ReclaimFrom {
        membership: Membership::new(topic().inbound(), group()),
        lease: Duration::ZERO,
        cursor: EntryId::ZERO,
        count: 10,
        handed_back_first: false,
        dead: topic().dead(),
        dead_entries_max: 10,
    };
    assert_eq!(scene.broker.reclaim(thief).await.unwrap().deliveries.len(), 1);
    scene.has(&[("streamerson_member_leases_lost_total", 1.0)]).await;
    held.settle(Outcome::Done).await;
    member.leave(Duration::from_secs(10)).await;
    assert_eq!(scene.page().sum("streamerson_member_outcomes_total"), 0.0);
}

#[tokio::test]
async fn what_was_due_and_what_is_no_message_is_counted() {
    let scene = Scene::new();
    let mut garbage = Fields::default();
    garbage.push("m", "");
    scene.broker.append(vec![Append::new(topic().inbound(), garbage)]).await.remove(0).unwrap();
    let client = scene.client(|_| {});
    client.emit_after(&topic(), message(), Duration::from_millis(50)).await.unwrap();
    let mut member = scene.member(|config| config.named_events = vec![event()]).await;
    member.next().await.unwrap().settle(Outcome::Done).await;
    scene
        .has(&[
            ("streamerson_member_scheduled_moved_total", 1.0),
            ("streamerson_member_outcomes_total{event=\"order.packed\",outcome=\"done\"}", 1.0),
            ("streamerson_member_dead_letters_total{event=\"(other)\",reason=\"malformed\"}", 1.0),
            ("streamerson_member_deliveries_total{delivery=\"first\"}", 2.0),
            ("streamerson_member_settled_batch_deliveries_sum", 2.0),
        ])
        .await;
}

#[tokio::test]
async fn shards_count_together_and_wait_apart() {
    let scene = Scene::new();
    let shards = Shards::new(topic(), 2).unwrap();
    let config = scene.config(|_| {});
    let mut member = ShardedMember::join(scene.broker.clone(), shards, group(), config).await.unwrap();
    let client = scene.client(|_| {});
    for shard in 0..2 {
        client.emit(&topic().with_shard(shard), message()).await.unwrap();
        member.next().await.unwrap().settle(Outcome::Done).await;
    }
    scene
        .has(&[
            ("streamerson_member_outcomes_total{topic=\"default:orders\",outcome=\"done\"}", 2.0),
            ("streamerson_client_events_total{topic=\"default:orders\",outcome=\"appended\"}", 2.0),
            ("streamerson_group_members{topic=\"default:orders\",shard=\"0\",group=\"packers\"}", 1.0),
            ("streamerson_group_members{topic=\"default:orders\",shard=\"1\",group=\"packers\"}", 1.0),
        ])
        .await;
}
