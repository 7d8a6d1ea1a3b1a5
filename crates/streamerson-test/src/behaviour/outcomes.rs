//! What becomes of deliveries.

use futures_util::future::join;
use http::StatusCode;
use streamerson_core::{
    Message, Problem, Reply, SharedBroker,
    client::Request,
    dead_letter::Reason,
    group::{Held, Outcome, Settled},
    wire::PAYLOAD_BYTES_MAX,
};

use super::scene::{Scene, event, messages, next, request, text};
use crate::eventually;

/// Sends a request, ends its delivery as `settle` says and answers the reply.
async fn ask(scene: &Scene, request: Request, settle: impl AsyncFnOnce(Held)) -> Reply {
    let (client, mut member) = (scene.client(), scene.member().await);
    let settle = async { settle(next(&mut member).await).await };
    let (reply, ()) = join(client.request(&scene.topic, request), settle).await;
    scene.all_settled().await;
    reply.expect("a reply")
}

/// A reply reaches the caller, and the delivery is over.
pub async fn reply_and_ack(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let reply = ask(&scene, request("?"), async |held| {
        held.settle(Outcome::Replied(Reply::new("!").with_status(StatusCode::CREATED))).await;
    });
    let reply = reply.await;
    assert_eq!((reply.status, &reply.payload[..], reply.is_error), (Some(StatusCode::CREATED), &b"!"[..], false));
}

/// Done answers a request too: with nothing.
pub async fn say_that_there_is_nothing_to_say(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let reply = ask(&scene, request("?"), async |held| held.settle(Outcome::Done).await).await;
    assert_eq!((reply.status, reply.payload.len(), reply.is_error), (None, 0, false));
}

/// A failure is a dead letter that says why, how often, and what the message was. The caller is told less.
pub async fn bury_with_the_reason(broker: SharedBroker) {
    let scene = Scene::new(broker);
    // Two attempts failed before.
    let asked = request("?").with_header("attempt", "2");
    let id = asked.id.clone();
    let reply = ask(&scene, asked, async |held| {
        let problem = Problem::new(StatusCode::BAD_GATEWAY);
        held.settle(Outcome::Dead {
            reason: Reason::Failed,
            error: "for us only".to_owned(),
            reply: Some(problem.into()),
        })
        .await;
    });
    let reply = reply.await;
    assert_eq!((reply.status_or_ok(), reply.is_error), (StatusCode::BAD_GATEWAY, true));
    assert!(!String::from_utf8_lossy(&reply.payload).contains("for us only"));
    let letters = scene.dead_letters().await;
    let [(letter, original)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.reason, &*letter.error, letter.attempts), (Reason::Failed, "for us only", 3));
    let original = streamerson_core::Wire::default().decode(&original.fields).expect("the message");
    assert_eq!((original.id, &original.payload[..]), (id, &b"?"[..]));
}

/// What a handler sends out is appended with the ack, in order, to whatever stream.
pub async fn emit_with_the_ack(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let elsewhere = scene.other_topic().inbound();
    let (first, second) = (event("first"), event("second"));
    ask(&scene, request("?"), async |held| {
        let emitted = vec![
            (elsewhere.clone(), first.clone()),
            (scene.topic.outbound(), event("for everybody")),
            (elsewhere.clone(), second.clone()),
        ];
        held.settle(Settled { emitted, ..Settled::from(Outcome::Done) }).await;
    })
    .await;
    let emitted: Vec<Message> = messages(&scene.broker, &elsewhere).await;
    assert_eq!(emitted, [first, second]);
    let outbound = messages(&scene.broker, &scene.topic.outbound()).await;
    assert_eq!(outbound.iter().map(text).collect::<Vec<_>>(), ["for everybody"]);
}

/// An answer that no client could read is a failure of the handler, and the caller hears of it.
pub async fn replace_an_answer_that_is_too_large(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let reply = ask(&scene, request("?"), async |held| {
        held.settle(Outcome::Replied(Reply::new(vec![b'x'; PAYLOAD_BYTES_MAX + 1]))).await;
    });
    let reply = reply.await;
    assert_eq!((reply.status_or_ok(), reply.is_error), (StatusCode::BAD_GATEWAY, true));
    let letters = eventually("the dead letter", async || Some(scene.dead_letters().await)).await;
    assert_eq!(letters[0].0.reason, Reason::Failed);
    assert!(letters[0].0.error.contains("larger than allowed"), "{}", letters[0].0.error);
}
