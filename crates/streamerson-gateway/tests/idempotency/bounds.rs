//! How much is kept of requests with a key, over every broker.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use streamerson_core::{Problem, Reply, SharedBroker, broker::Mark, client::Client, mark_budget::MarkBudget};
use streamerson_gateway::Gateway;
use streamerson_redis::RedisBroker;
use streamerson_test::{Direction, Proxy, RedisServer, Value, eventually};
use tokio::task::JoinSet;

use crate::{
    scene::{BOUND, Scene, app, assert_created, assert_refused, created, keyed, keyed_fn, with},
    support::{Answer, send},
};

/// The length of a record without a reply, in bytes.
const OPEN_LEN: usize = 67;

fn large() -> Reply {
    Reply::new("x".repeat(3000)).with_content_type("text/plain")
}

/// Sends requests with keys of their own until one is refused; answers how many were handled, and the refusal.
async fn fill(scene: &mut Scene) -> (usize, Answer) {
    let mut handled = 0;
    loop {
        let mut begun = scene.begin(keyed("/bounded", &format!("k{handled}"), "{}"));
        tokio::select! {
            message = scene.message() => {
                scene.bench.reply(&message, large()).await;
                assert_eq!(begun.await.unwrap().status, StatusCode::OK);
                handled += 1;
            }
            answer = &mut begun => return (handled, answer.unwrap()),
        }
        assert!(handled < 20, "there is no bound");
    }
}

/// The records of requests with a key have a bound: past it, new keys are refused and kept replies are given.
pub(crate) async fn what_is_kept_of_a_topic_is_bounded(mut scene: Scene) {
    let (kept, refused) = fill(&mut scene).await;
    assert_eq!(kept, 5, "replies of 3,000 bytes in 20,000, with room for one of 4,000");
    assert_refused(&refused, 503, "no room");
    assert_eq!(refused.json()["reason"], "overloaded");
    let appended = scene.bench.appended().await;
    for app in [scene.app.clone(), scene.another_gateway()] {
        assert_refused(&send(&app, keyed("/bounded", "new", "{}")).await, 503, "no room, at any gateway");
        assert_eq!(send(&app, keyed("/bounded", "k0", "{}")).await.body, "x".repeat(3000), "answered as before");
        assert_refused(&send(&app, keyed("/bounded", "k0", "[]")).await, 422, "another request");
    }
    assert_eq!(scene.bench.appended().await, appended, "nothing was sent");
    // Without a key nothing is kept.
    assert_created(&scene.handled(with("/bounded", "{}", &[]), created()).await.0);
    let page = scene.bench.gateway.client().metrics().render();
    let counted = "streamerson_marks_refused_total{topic=\"default:orders\",kind=\"idempotency\"} ";
    let refused = page.lines().find_map(|line| line.strip_prefix(counted)).unwrap_or_else(|| panic!("{page}"));
    assert!(refused.parse::<u64>().unwrap() >= 2, "{refused}");
}

/// A request whose reply could not be kept is not sent, also where its key is known: it would run at each repetition.
pub(crate) async fn without_room_for_a_reply_nothing_is_sent(mut scene: Scene) {
    let failure = Reply::from(Problem::new(StatusCode::BAD_GATEWAY));
    _ = scene.handled(keyed("/bounded", "failed", "{}"), failure).await;
    let held = scene.begin(keyed("/bounded", "held", "{}"));
    let message = scene.message().await;
    _ = fill(&mut scene).await;
    let appended = scene.bench.appended().await;
    for app in [scene.app.clone(), scene.another_gateway()] {
        assert_refused(&send(&app, keyed("/bounded", "failed", "{}")).await, 503, "no room");
        assert_refused(&send(&app, keyed("/bounded", "failed", "[]")).await, 422, "another request");
        assert_refused(&send(&app, keyed("/bounded", "held", "{}")).await, 409, "under way");
    }
    assert_eq!(scene.bench.appended().await, appended, "nothing was sent");
    scene.bench.reply(&message, large()).await;
    assert_eq!(held.await.unwrap().status, StatusCode::OK);
    assert_eq!(scene.send(keyed("/bounded", "held", "{}")).await.body, "x".repeat(3000));
}

/// Requests that are under way at several gateways and routes share the bound, however long they take.
pub(crate) async fn the_bound_holds_over_gateways_and_routes(mut scene: Scene) {
    const EACH: usize = 4;
    let apps = [scene.app.clone(), scene.another_gateway(), scene.another_gateway()];
    let mut begun = JoinSet::new();
    for number in 0..EACH {
        for (gateway, app) in apps.iter().enumerate() {
            for path in ["/bounded", "/bounded-too"] {
                let (app, key) = (app.clone(), format!("{gateway}{path}{number}"));
                begun.spawn(async move { send(&app, keyed(path, &key, "{}")).await });
            }
        }
    }
    let mut messages = Vec::new();
    while messages.len() < begun.len() {
        tokio::select! {
            message = scene.message() => messages.push(message),
            Some(answer) = begun.join_next() => assert_refused(&answer.unwrap(), 503, "no room"),
        }
    }
    // Each needs room for more than 4,000 bytes.
    assert!((1..=4).contains(&messages.len()), "{}", messages.len());
    for message in &messages {
        scene.bench.reply(message, large()).await;
    }
    for answer in begun.join_all().await {
        assert_eq!(answer.status, StatusCode::OK);
    }
    // What was reserved and not used is given back soon.
    scene.metered_once(|sum| (messages.len() as u64 * 3000..=BOUND).contains(&sum)).await;
}

/// However often a request is tried again, its one record is counted once, and once more when it is kept for longer.
pub(crate) async fn attempts_at_one_request_are_counted_as_one_record(mut scene: Scene) {
    let failure = || Reply::from(Problem::new(StatusCode::BAD_GATEWAY));
    let bytes = MarkBudget::bytes_of(&scene.record_key("k"), OPEN_LEN);
    for _ in 0..60 {
        let (answer, _) = scene.handled_soon(keyed_fn("/bounded", "k", "{}"), failure()).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "there is room for it");
    }
    scene.metered_once(|sum| sum == bytes).await;
    let key = scene.record_key("k");
    let value = scene.bench.broker.recall(vec![key.clone()]).await.unwrap().remove(0).expect("a record");
    scene.bench.broker.mark(vec![Mark { key: key.clone(), value, ttl: Duration::from_secs(5) }]).await.unwrap();
    for _ in 0..3 {
        _ = scene.handled_soon(keyed_fn("/bounded", "k", "{}"), failure()).await;
    }
    scene.metered_once(|sum| sum == 2 * bytes).await;
    // A reply is kept for its whole time, and the record with it.
    _ = scene.handled_soon(keyed_fn("/bounded", "k", "{}"), large()).await;
    let kept = scene.bench.broker.recall(vec![key.clone()]).await.unwrap().remove(0).expect("a record");
    let reply = MarkBudget::bytes_of(&key, kept.len());
    scene.metered_once(|sum| sum == 2 * bytes + reply).await;
}

/// Also where replies are kept for a shorter time than requests may take.
pub(crate) async fn attempts_are_counted_as_one_record_with_a_short_ttl(mut scene: Scene) {
    let bytes = MarkBudget::bytes_of(&scene.record_key("k"), OPEN_LEN);
    let begun = Instant::now();
    for _ in 0..30 {
        let failure = Reply::from(Problem::new(StatusCode::BAD_GATEWAY));
        _ = scene.handled_soon(keyed_fn("/brief", "k", "{}"), failure).await;
    }
    // Every two seconds, the time of a reply, the record is extended.
    let extended = begun.elapsed().as_secs() / 2 + 1;
    scene.metered_once(|sum| (bytes..=bytes * (1 + extended)).contains(&sum)).await;
}

/// A record whose answer is lost on the way is counted all the same.
#[tokio::test]
async fn records_are_counted_when_the_answer_is_lost() {
    let mut scene = Scene::over_redis().await;
    let server = scene.server.take().unwrap();
    let proxy = Proxy::start(server.address()).await;
    let broker = RedisBroker::connect(&format!("redis://{}", proxy.address())).await.unwrap();
    let gateway = Gateway::new(Client::new(Arc::new(broker) as SharedBroker));
    let routes = app(&scene.bench, &gateway);
    let begin = |key: &str| {
        let (app, request) = (routes.clone(), keyed("/orders", key, "{}"));
        tokio::spawn(async move { send(&app, request).await })
    };
    let begun = begin("before");
    let message = scene.message().await;
    scene.bench.reply(&message, created()).await;
    assert_created(&begun.await.unwrap());
    gateway.finished().await;
    proxy.blackhole(Direction::ToClient);
    let begun = begin("k");
    eventually("the record to be set", async || (records(&server).await.len() == 2).then_some(())).await;
    proxy.cut();
    proxy.restore();
    let message = scene.message().await;
    scene.bench.reply(&message, created()).await;
    assert_created(&begun.await.unwrap());
    gateway.finished().await;
    let kept: u64 = records(&server).await.iter().map(|(key, value)| 200 + key + value).sum();
    assert!(scene.metered().await >= kept, "{} of {kept}", scene.metered().await);
}

/// A gateway that gives up while it waits for Redis has its records set all the same, and counts them.
#[tokio::test]
async fn records_of_requests_that_were_cut_off_are_counted() {
    const KEYS: usize = 30;
    let mut scene = Scene::over_redis().await;
    _ = scene.handled(keyed("/hurry", "before", "{}"), created()).await;
    let server = scene.server.as_ref().unwrap();
    server.command(["CLIENT", "PAUSE", "1000", "WRITE"]).await;
    let mut begun = JoinSet::new();
    for key in 0..KEYS {
        let app = scene.app.clone();
        begun.spawn(async move { send(&app, keyed("/hurry", &key.to_string(), "{}")).await });
    }
    for answer in begun.join_all().await {
        assert_refused(&answer, 504, "the broker does not answer");
    }
    let bytes = eventually("the records to be set", async || {
        let records = records(server).await;
        let bytes = records.iter().map(|(key, value)| 200 + key + value);
        (records.len() == KEYS + 1).then(|| bytes.sum())
    });
    let bytes: u64 = bytes.await;
    scene.metered_once(|sum| sum == bytes).await;
}

/// A gateway that ends tells the broker the bytes of its last requests.
#[tokio::test]
async fn records_are_counted_when_a_gateway_ends() {
    let mut scene = Scene::over_redis().await;
    for key in 0..5 {
        assert_created(&scene.handled(keyed("/orders", &key.to_string(), "{}"), created()).await.0);
    }
    scene.bench.gateway.finished().await;
    let records = records(scene.server.as_ref().unwrap()).await;
    assert_eq!(records.len(), 5);
    assert_eq!(scene.metered().await, records.iter().map(|(key, value)| 200 + key + value).sum::<u64>());
}

/// Where Redis refuses to set a record, it is not counted; the key is as new.
#[tokio::test]
async fn records_that_are_refused_are_not_counted() {
    let mut scene = Scene::over_redis().await;
    assert_created(&scene.handled(keyed("/bounded", "before", "{}"), created()).await.0);
    let bytes = scene.metered_when_told().await;
    let server = scene.server.as_ref().unwrap();
    server.command(["ACL", "SETUSER", "default", "-set"]).await;
    for key in 0..60 {
        let answer = scene.send(keyed("/bounded", &key.to_string(), "{}")).await;
        assert_refused(&answer, 503, "records cannot be set");
        assert_ne!(answer.json()["reason"], "overloaded");
    }
    server.command(["ACL", "SETUSER", "default", "+set"]).await;
    assert_eq!(scene.metered_when_told().await, bytes);
    assert_created(&scene.handled(keyed("/bounded", "0", "{}"), created()).await.0);
}

/// Bytes that Redis did not take are told once it does, also when no request comes.
#[tokio::test]
async fn bytes_that_could_not_be_told_are_told_later() {
    let mut scene = Scene::over_redis().await;
    let server = scene.server.take().unwrap();
    assert_created(&scene.handled(keyed("/orders", "before", "{}"), created()).await.0);
    let before = scene.metered_when_told().await;
    let denied = async |rule| server.command(["ACL", "SETUSER", "default", rule]).await;
    denied("-hincrby").await;
    assert_created(&scene.handled(keyed("/orders", "k", "{}"), created()).await.0);
    assert!(scene.bench.gateway.client().broker().health().borrow().is_up());
    eventually("Redis to have refused it", async || {
        let refused = server.command(["ACL", "LOG"]).await;
        (!refused.items().is_empty()).then_some(())
    })
    .await;
    denied("+hincrby").await;
    scene.metered_once(|sum| sum > before).await;
}

/// The lengths of the keys and values of all records, in bytes.
async fn records(server: &RedisServer) -> Vec<(u64, u64)> {
    let keys = server.command(["KEYS", "*:idem:*"]).await;
    let mut records = Vec::new();
    for key in keys.items() {
        if let Value::Int(len) = server.command(["STRLEN", key.text()]).await
            && !key.text().ends_with(":try")
        {
            records.push((key.text().len() as u64, len as u64));
        }
    }
    records
}
