//! Topics in the original's format, as the programs of the original see them.

use std::time::Duration;

use http::StatusCode;
use streamerson_core::{
    Fields, Message, Reply, SharedBroker, StreamKey, Topic, Wire,
    broker::Append,
    client::CallError,
    dead_letter::{DeadLetters, Filter, Reason},
    group::Outcome,
    wire::WireFormat,
};

use super::scene::{Scene, Worker, entries, event, next, payload, request};
use crate::eventually;

fn scene(broker: SharedBroker) -> Scene {
    let mut scene = Scene::new(broker);
    scene.topic = scene.topic.with_wire(WireFormat::Js);
    scene
}

/// Appends what a program of the original would write.
async fn write(scene: &Scene, key: &StreamKey, pairs: [(&str, &str); 4]) {
    let fields: Vec<_> = pairs.map(|(name, value)| (name.to_owned().into(), value.to_owned().into())).into();
    let appended = scene.broker.append(vec![Append::new(key.clone(), Fields::from(fields))]).await;
    assert!(appended[0].is_ok(), "{appended:?}");
}

fn pairs(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Requests and replies of ours are entries of four pairs, in the two streams of the original and in no other.
pub async fn carry_calls(broker: SharedBroker) {
    let scene = scene(broker);
    let client = scene.client();
    let worker = Worker::start(scene.member().await, |held| {
        assert!(held.delivery.message.deadline.is_some(), "a header carries it");
        Outcome::Replied(Reply::new("[7]").with_status(StatusCode::CREATED))
    });
    let asked = request("{}").with_header("source", "web-1");
    let id = asked.id.to_string();
    let reply = client.request(&scene.topic, asked).await.expect("a reply");
    assert_eq!((reply.status, &reply.payload[..]), (Some(StatusCode::CREATED), &b"[7]"[..]));

    let out = scene.topic.outbound();
    let inbound = pairs(&entries(&scene.broker, &scene.inbound()).await[0].fields);
    assert_eq!((&*inbound[0].0, &*inbound[0].1), (&*id, "asked"));
    assert_eq!((&*inbound[1].0, inbound[1].1.starts_with("{\"deadline\":\"")), (out.as_str(), true), "{inbound:?}");
    assert_eq!(inbound[2..], [pair("json", "web-1"), pair("UnoccupiedField", "{}")]);
    let replied = pairs(&entries(&scene.broker, &out).await[0].fields);
    let expected = [pair(&id, "resp"), pair("", "{\"status\":\"201\"}"), pair("json", "web-1")];
    assert_eq!((&replied[..3], &replied[3]), (&expected[..], &pair("UnoccupiedField", "[7]")));

    scene.all_settled().await;
    worker.stop().await;
    client.close().await;
    // What everybody shares is nobody's to remove or to trim, and nothing of ours stands where version 1 has it.
    assert_eq!((scene.len(&scene.inbound()).await, scene.len(&out).await), (Some(1), Some(1)));
    let v1 = scene.topic.with_wire(WireFormat::V1);
    for key in [v1.inbound(), v1.outbound(), v1.dead()] {
        assert_eq!(scene.len(&key).await, None, "{key}");
    }
}

/// Each takes what is its own, and goes past what others write there.
pub async fn share_a_stream_of_replies(broker: SharedBroker) {
    let scene = scene(broker);
    let out = scene.topic.outbound();
    // A reply from before anybody asked, and what is no reply.
    for event in ["resp", "xcast"] {
        write(&scene, &out, [("old", event), ("", "nil"), ("json", ""), ("UnoccupiedField", "1")]).await;
    }
    let worker = scene.echo().await;
    let clients = [scene.client(), scene.client()];
    for round in 0..20 {
        let payloads = [format!("[{round}]"), format!("[-{round}]")];
        write(&scene, &out, [("m", "no"), ("reply", "message"), ("", ""), ("x", "y")]).await;
        let (first, second) = tokio::join!(
            clients[0].request(&scene.topic, request(&payloads[0])),
            clients[1].request(&scene.topic, request(&payloads[1])),
        );
        assert_eq!([first.expect("a reply").payload, second.expect("a reply").payload], payloads);
    }
    worker.stop().await;
}

/// The error is a reply whose payload is the problem document, and a dead letter that can be replayed.
pub async fn hear_errors(broker: SharedBroker) {
    let scene = scene(broker);
    let mut member = scene.member().await;
    let client = scene.client();
    let call = tokio::spawn({
        let topic = scene.topic.clone();
        async move { client.request(&topic, request("{}")).await }
    });
    let held = next(&mut member).await;
    let problem = streamerson_core::Problem::new(StatusCode::BAD_GATEWAY);
    let error = "no luck".to_owned();
    held.settle(Outcome::Dead { reason: Reason::Failed, error, reply: Some(problem.clone().into()) }).await;
    let reply = call.await.expect("no panic").expect("a reply");
    assert_eq!((reply.is_error, reply.problem()), (true, problem));

    let dead = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let page = dead.first_page(&Filter::default()).await.expect("the broker did it");
    assert!(dead.replay(&page.letters[0]).await.expect("the broker did it").is_some());
    let again = next(&mut member).await;
    assert_eq!((again.delivery.message.inbox.clone(), &again.delivery.message.payload[..]), (None, &b"{}"[..]));
    again.settle(Outcome::Done).await;
    scene.all_settled().await;
}

/// No message makes a worker write to a stream that is not its topic's own.
pub async fn get_no_reply_elsewhere(broker: SharedBroker) {
    let scene = scene(broker);
    let other = Topic::new("other").expect("a name").with_wire(WireFormat::Js).outbound();
    for (id, key) in [("1", other.as_str()), ("2", "sessions"), ("3", "{default:orders}:re:x")] {
        write(&scene, &scene.inbound(), [(id, "ask"), (key, "nil"), ("json", ""), ("UnoccupiedField", "1")]).await;
    }
    let worker = scene.echo().await;
    scene.all_settled().await;
    let dead = scene.topic.dead();
    eventually("three dead letters", async || (scene.len(&dead).await == Some(3)).then_some(())).await;
    let (letter, original) = &scene.dead_letters().await[0];
    assert_eq!(letter.reason, Reason::Malformed);
    // Byte for byte.
    assert_eq!(pairs(&original.fields)[1], pair(other.as_str(), "nil"));
    for key in [other, StreamKey::raw("sessions"), StreamKey::raw("{default:orders}:re:x")] {
        assert_eq!(scene.len(&key).await, None, "{key}");
    }
    worker.stop().await;
}

/// Who reads without a group is not known of, so nobody is told that there is no one.
pub async fn are_not_told_that_nobody_is_there(broker: SharedBroker) {
    let scene = scene(broker);
    let mut asked = request("{}").with_timeout(Duration::from_millis(300));
    asked.fail_fast = true;
    let answer = scene.client().request(&scene.topic, asked).await;
    assert!(matches!(answer, Err(CallError::TimedOut(_))), "{answer:?}");
    // Nothing but the request is there: no word that takes it back.
    assert_eq!(scene.len(&scene.inbound()).await, Some(1));
}

/// What the format cannot say is refused before it is sent.
pub async fn refuse_what_would_be_misread(broker: SharedBroker) {
    let scene = scene(broker);
    let client = scene.client();
    let resp = Message { event: "resp".parse().expect("a name"), ..event("1") };
    let with_id = event("1").with_id("m".parse().expect("an id"));
    for message in [resp, with_id] {
        let answer = client.emit(&scene.topic, message).await;
        assert!(matches!(answer, Err(CallError::Name(_))), "{answer:?}");
    }
    assert_eq!(scene.len(&scene.inbound()).await, None);
}

/// What is finished stays there, and does not count; what waits for a group does.
pub async fn count_what_waits_and_no_more(broker: SharedBroker) {
    let scene = scene(broker);
    let client = scene.client_with(|config| config.backlog_max = 10);
    // Whoever may read without a group is not known of. Between two questions the client counts what it sends.
    for _ in 0..20 {
        eventually("room", async || client.emit(&scene.topic, event("1")).await.ok()).await;
    }
    let member = scene.member().await;
    eventually("a refusal", async || {
        let refused = client.emit(&scene.topic, event("2")).await.err()?;
        assert!(matches!(refused, CallError::Overloaded(_)), "{refused:?}");
        Some(())
    })
    .await;
    let worker = Worker::start(member, |_| Outcome::Done);
    eventually("there is room again", async || client.emit(&scene.topic, event("3")).await.ok()).await;
    scene.all_settled().await;
    worker.stop().await;
    assert!(scene.len(&scene.inbound()).await > Some(20));
}

/// A type of the original's that version 1 keeps for itself is a type like any other.
pub async fn may_be_called_cancel(broker: SharedBroker) {
    let scene = scene(broker);
    write(&scene, &scene.inbound(), [("1", "cancel"), ("", "nil"), ("json", ""), ("UnoccupiedField", "1")]).await;
    let mut member = scene.member().await;
    let held = next(&mut member).await;
    assert_eq!(held.delivery.message.event.as_str(), "cancel");
    held.settle(Outcome::Done).await;
}

/// Events for later, attempts that wait, and what handlers and publishers send are in the format of the stream.
pub async fn carry_what_comes_later(broker: SharedBroker) {
    let scene = scene(broker);
    let client = scene.client();
    client.emit_after(&scene.topic, event("\"later\""), Duration::from_millis(10)).await.expect("the broker did it");
    let mut publisher = scene.broker.publisher(scene.inbound());
    futures_util::SinkExt::send(&mut publisher, event("\"now\"")).await.expect("the broker did it");
    let mut member = scene.member_with(|config| config.retry_held_max = Duration::ZERO).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let held = next(&mut member).await;
        let (payload, failures) = (payload(&held), held.delivery.failures);
        let is_first = payload == "\"now\"" && failures == 0;
        let retried = Outcome::Retried { after: Duration::from_millis(10), error: "once more".into() };
        held.settle(if is_first { retried } else { Outcome::Done }).await;
        seen.push((payload, failures));
    }
    seen.sort();
    assert_eq!(seen, [("\"later\"".into(), 0), ("\"now\"".into(), 0), ("\"now\"".into(), 1)]);
    scene.all_settled().await;
    for entry in entries(&scene.broker, &scene.inbound()).await {
        assert_eq!(entry.fields.len(), 4, "{entry:?}");
        assert!(Wire::default().decode_for(&scene.topic, &entry.fields).is_ok(), "{entry:?}");
    }
}
