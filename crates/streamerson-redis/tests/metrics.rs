//! What is counted of a Redis, and what is told of what waits there.

use std::time::Duration;

use streamerson_core::{
    EntryId, EventType, Fields, Message, Metrics, Name, SharedBroker, StreamKey, Topic,
    broker::{Append, Broker, BrokerError, GroupStart},
    client::{Client, ClientConfig},
};
use streamerson_redis::{RedisBroker, RedisConfig};
use streamerson_test::{Direction, Exposition, Proxy, RedisServer, eventually};

fn config(url: &str, metrics: &Metrics) -> RedisConfig {
    RedisConfig::new(url.parse().expect("a URL")).reconnect_delay_max(Duration::from_millis(20)).metrics(metrics)
}

fn topic() -> Topic {
    Topic::new("shop:orders").expect("a topic")
}

fn append(key: StreamKey) -> Append {
    let mut fields = Fields::default();
    fields.push("p", "7");
    Append::new(key, fields)
}

fn page(metrics: &Metrics) -> Exposition {
    Exposition::read(&metrics.render())
}

#[tokio::test]
async fn calls_commands_and_bytes_are_counted() {
    let server = RedisServer::builder().password("secret").spawn().await;
    let metrics = Metrics::new();
    let broker = RedisBroker::connect_with(config(&server.url(), &metrics)).await.expect("a broker");
    let before = page(&metrics);
    let key = topic().inbound();
    broker
        .append(vec![append(key.clone()), append(key.clone())])
        .await
        .into_iter()
        .for_each(|it| _ = it.expect("taken"));
    broker.append(vec![append(key.clone())]).await.remove(0).expect("taken");
    broker.stream_info(&key).await.expect("known");
    let mut nothing = append(key.clone());
    nothing.fields = Fields::default();
    broker.append(vec![nothing]).await.remove(0).expect_err("an entry needs a field");

    let text = metrics.render();
    assert!(!text.contains("secret"), "{text}");
    let now = Exposition::read(&text);
    let more = |series: &str| now.sum(series) - before.sum(series);
    for (series, value) in [
        ("streamerson_broker_call_duration_seconds_count{call=\"append\"}", 3.0),
        ("streamerson_broker_call_duration_seconds_count{call=\"look\"}", 1.0),
        ("streamerson_broker_call_duration_seconds_count", 4.0),
        ("streamerson_broker_commands_total", 5.0),
        ("streamerson_broker_batches_total", 4.0),
        ("streamerson_broker_failures_total{error=\"refused\"}", 1.0),
        ("streamerson_broker_failures_total", 1.0),
        ("streamerson_broker_reconnects_total", 0.0),
    ] {
        assert_eq!(more(series), value, "{series}");
    }
    assert!(now.sum("streamerson_broker_call_duration_seconds_sum{call=\"append\"}") > 0.0);
    // At the least what they hold.
    assert!(more("streamerson_broker_sent_bytes_total") > 3.0 * key.as_str().len() as f64);
    assert!(more("streamerson_broker_received_bytes_total") > 4.0 * 5.0);
}

#[tokio::test]
async fn losses_are_counted_and_whether_it_is_there_is_told() {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let metrics = Metrics::new();
    let config = config(&server.url_through(proxy.address()), &metrics);
    let broker = RedisBroker::connect_with(config).await.expect("a broker");
    assert_eq!(page(&metrics).sum("streamerson_broker_up"), 1.0);
    proxy.blackhole(Direction::ToClient);
    let asked = broker.append(vec![append(topic().inbound())]);
    let cut = async {
        eventually("the append to be done", async || {
            (server.command(["XLEN", topic().inbound().as_str()]).await.int() == 1).then_some(())
        })
        .await;
        proxy.refuse();
        proxy.cut();
    };
    let (mut answers, ()) = tokio::join!(asked, cut);
    assert!(matches!(answers.remove(0), Err(BrokerError::Interrupted { .. })));
    eventually("it to be down", async || (page(&metrics).sum("streamerson_broker_up") == 0.0).then_some(())).await;
    broker.append(vec![append(topic().inbound())]).await.remove(0).expect_err("nobody is there");
    proxy.restore();
    eventually("it to be up", async || (page(&metrics).sum("streamerson_broker_up") == 1.0).then_some(())).await;
    let told = page(&metrics);
    assert_eq!(told.sum("streamerson_broker_reconnects_total"), 1.0);
    assert_eq!(told.sum("streamerson_broker_failures_total{error=\"interrupted\"}"), 1.0);
    assert_eq!(told.sum("streamerson_broker_failures_total{error=\"unavailable\"}"), 1.0);
    drop(broker);
    // Nobody knows any more.
    eventually("nothing to be told", async || {
        (!page(&metrics).names().contains("streamerson_broker_up")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lag_that_is_not_known_is_not_on_the_page() {
    let server = RedisServer::spawn().await;
    let metrics = Metrics::new();
    let broker = RedisBroker::connect_with(config(&server.url(), &metrics)).await.expect("a broker");
    let (broker, key) = (SharedBroker::from(broker), topic().inbound());
    let mut entries = Vec::new();
    for _ in 0..4 {
        let appended = broker.append(vec![append(key.clone())]).await.remove(0).expect("taken");
        entries.push(appended.id.expect("an id"));
    }
    // Deleted in between, so nobody can tell how many are left without counting.
    broker.drop_entries(&key, vec![entries[2]]).await.expect("dropped");
    for (group, start) in [("known", GroupStart::After(EntryId::ZERO)), ("unknown", GroupStart::After(entries[0]))] {
        broker.create_group(&key, &Name::new(group).expect("a name"), start).await.expect("made");
    }
    let unknown = Name::new("unknown").expect("a name");
    let lag = broker.groups(&key).await.expect("groups").into_iter().find(|group| group.name == unknown);
    assert_eq!(lag.expect("the group").lag, None, "what this test is about");

    metrics.watch_backlog(&broker, &topic());
    let page = Exposition::read(&metrics.scrape().await);
    let of = |name: &str, group: &str| {
        page.get(&format!("streamerson_group_{name}{{topic=\"shop:orders\",group=\"{group}\"}}"))
    };
    assert_eq!((of("lag", "unknown"), of("pending", "unknown")), (None, Some(0.0)));
    assert_eq!(page.sum("streamerson_topic_entries{topic=\"shop:orders\"}"), 3.0);
}

#[tokio::test]
async fn what_a_user_may_not_see_is_asked_once() {
    let server = RedisServer::spawn().await;
    let user = "ACL SETUSER narrow reset on >pw ~{shop:*}:in +ping +time +client|setname +client|id +xadd +xinfo|stream \
                +xinfo|groups +xgroup|create";
    assert_eq!(server.command(user.split_whitespace()).await.text(), "OK");
    server.command(["XGROUP", "CREATE", "{shop:orders}:in", "packers", "0", "MKSTREAM"]).await;
    let metrics = Metrics::new();
    let url = format!("redis://narrow:pw@{}", server.address());
    let broker = RedisBroker::connect_with(config(&url, &metrics)).await.expect("a broker");
    let mut client = ClientConfig::default();
    client.metrics = metrics.clone();
    let client = Client::with_config(broker, client);
    let event = EventType::for_user("order.packed").expect("an event type");
    client.emit(&topic(), Message::new(event, "7")).await.expect("taken");
    server.command(["XREADGROUP", "GROUP", "packers", "me", "STREAMS", "{shop:orders}:in", ">"]).await;
    server.command(["ACL", "LOG", "RESET"]).await;

    let scrape = async |entries: f64| {
        eventually("a fresh page", async || {
            let page = Exposition::read(&metrics.scrape().await);
            (page.sum("streamerson_topic_entries") == entries).then_some(page)
        })
        .await
    };
    let page = scrape(1.0).await;
    assert_eq!(page.sum("streamerson_group_pending{group=\"packers\"}"), 1.0);
    let names = page.names();
    assert!(!names.contains("streamerson_topic_dead_letters"), "it may not look at that stream");
    assert!(!names.contains("streamerson_group_oldest_pending_seconds"), "it may not look at pending entries");
    let refused = page.sum("streamerson_broker_failures_total{error=\"refused\"}");
    assert_eq!(refused, 2.0);
    server.command(["XADD", "{shop:orders}:in", "*", "p", "7"]).await;
    // Asked again, for what it may see alone.
    assert_eq!(scrape(2.0).await.sum("streamerson_broker_failures_total{error=\"refused\"}"), refused);
}
