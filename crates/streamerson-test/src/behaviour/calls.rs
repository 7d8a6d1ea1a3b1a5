//! Requests and their replies.

use std::time::Duration;

use futures_util::{FutureExt, future::join};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use streamerson_core::{
    Call, EventType, MessageId, Name, Problem, Reply, SharedBroker, Topic, Wire, broker::Append, client::CallError,
    group::Outcome, wire::WireFormat,
};

use super::scene::{Scene, Worker, append, inbox_of, next, reply_to, request};
use crate::eventually;

#[derive(Serialize, Deserialize)]
struct Double(u64);

impl Call for Double {
    const TOPIC: &'static str = "behaviour.double";
    const EVENT: &'static str = "double";
    type Reply = u64;
}

/// The same request from somebody who has the contract wrong.
#[derive(Serialize)]
struct DoubleText(u64);

impl Call for DoubleText {
    const TOPIC: &'static str = Double::TOPIC;
    const EVENT: &'static str = Double::EVENT;
    type Reply = String;
}

#[derive(Serialize)]
struct Forget;

impl Call for Forget {
    const TOPIC: &'static str = Double::TOPIC;
    const EVENT: &'static str = "forget";
    type Reply = ();
}

/// A call gets the reply that its contract names, or the error that says why not.
pub async fn get_the_reply_of_their_contract(broker: SharedBroker) {
    let topic = Topic::new(Double::TOPIC).expect("a topic");
    let scene = Scene { broker, topic, group: Name::unique() };
    let worker = Worker::start(scene.member().await, |held| {
        let message = &held.delivery.message;
        if message.event.as_str() == Forget::EVENT {
            return Outcome::Done;
        }
        let Double(number) = serde_json::from_slice(&message.payload).expect("the request");
        Outcome::Replied(match number.checked_mul(2) {
            Some(double) => Reply::new(double.to_string()),
            None => Problem::new(StatusCode::UNPROCESSABLE_ENTITY).with_detail("too large").into(),
        })
    });
    let client = scene.client();
    assert_eq!(client.call(Double(21)).await.expect("a reply"), 42);
    client.call(Forget).await.expect("nothing to say");
    match client.call(Double(u64::MAX)).await {
        Err(CallError::Failed(problem)) => {
            assert_eq!(
                (problem.status, problem.detail.as_deref()),
                (StatusCode::UNPROCESSABLE_ENTITY, Some("too large"))
            );
        }
        other => panic!("{other:?}"),
    }
    let wrong = client.call(DoubleText(1)).await;
    assert!(matches!(wrong, Err(CallError::Decode(_))), "{wrong:?}");
    assert_eq!(client.pending(), 0);
    worker.stop().await;
}

/// A request gets its reply whatever the status, with its headers; and its own headers arrive.
pub async fn get_any_reply(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let worker = Worker::start(scene.member().await, |held| {
        let message = &held.delivery.message;
        assert!(message.deadline.is_some(), "a request has a deadline");
        let heard = message.headers.get("tone").unwrap_or_default().to_owned();
        Outcome::Replied(Reply::new("no").with_status(StatusCode::NOT_FOUND).with_header("heard", heard))
    });
    let request = request("?").with_header("tone", "loud");
    let reply = scene.client().request(&scene.topic, request).await.expect("a reply");
    assert_eq!((reply.status_or_ok(), &reply.payload[..]), (StatusCode::NOT_FOUND, &b"no"[..]));
    assert_eq!(reply.headers.get("heard"), Some("loud"));
    worker.stop().await;
}

/// With a live member somewhere, no reply in time is a timeout.
pub async fn wait_for_a_slow_member_until_they_time_out(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let _slow = scene.member().await;
    let timeout = Duration::from_millis(100);
    let answer = scene.client().request(&scene.topic, request("?").with_timeout(timeout)).await;
    assert!(matches!(answer, Err(CallError::TimedOut(waited)) if waited == timeout), "{answer:?}");
}

/// Without a group, or with none in it, the caller hears at the deadline that there is nobody.
pub async fn tell_that_nobody_is_there(broker: SharedBroker) {
    let scene = Scene::new(broker);
    tells_that_nobody_is_there(&scene).await;
    assert!(scene.len(&scene.inbound()).await >= Some(1), "it was sent all the same");

    let scene = scene.other_topic();
    scene.member().await.leave(Duration::ZERO).await;
    tells_that_nobody_is_there(&scene).await;
}

/// Requests until the caller hears that there is nobody. On a busy machine the broker's answer to that question can come
/// after the deadline, and then the call has timed out.
async fn tells_that_nobody_is_there(scene: &Scene) {
    let client = scene.client().with_timeout(Duration::from_millis(500));
    eventually("the caller to hear that nobody is there", async || {
        match client.request(&scene.topic, request("?")).await {
            Err(CallError::NoConsumers) => Some(()),
            Err(CallError::TimedOut(_)) => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
}

/// Who asks to fail fast hears it at once, and nothing is sent.
pub async fn fail_fast_when_nobody_is_there(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    let mut urgent = request("?");
    urgent.fail_fast = true;
    let answer = client.request(&scene.topic, urgent.clone()).await;
    assert!(matches!(answer, Err(CallError::NoConsumers)), "{answer:?}");
    assert_eq!(scene.len(&scene.inbound()).await, None, "nothing was sent");

    let worker = scene.echo().await;
    eventually("the member is seen", async || client.request(&scene.topic, urgent.clone()).await.ok()).await;
    worker.stop().await;
}

/// A call whose future is dropped leaves nothing behind.
pub async fn are_forgotten_when_dropped(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (client, mut member) = (scene.client(), scene.member().await);
    let held = {
        let call = client.request(&scene.topic, request("dropped"));
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            held = next(&mut member) => held,
        }
    };
    assert_eq!(client.pending(), 0);
    // The reply that nobody waits for is in nobody's way.
    held.settle(Outcome::Replied(Reply::new("late"))).await;
    let answer = async { next(&mut member).await.settle(Outcome::Replied(Reply::new("in time"))).await };
    let (reply, ()) = join(client.request(&scene.topic, request("?")), answer).await;
    assert_eq!(reply.expect("a reply").payload, "in time");
}

/// One call more than may wait is refused before it is sent.
pub async fn are_bounded(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member().await;
    let client = scene.client_with(|config| config.calls_max = 1);
    let first = client.request(&scene.topic, request("first"));
    let second = async {
        let held = next(&mut member).await;
        let second = client.request(&scene.topic, request("second")).await;
        assert!(matches!(second, Err(CallError::Overloaded(_))), "{second:?}");
        assert_eq!(scene.len(&scene.inbound()).await, Some(1), "it was never sent");
        held.settle(Outcome::Done).await;
    };
    let (first, ()) = join(first, second).await;
    first.expect("a reply");
}

/// Two calls of one id would get each other's replies.
pub async fn refuse_an_id_in_use(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (client, mut member) = (scene.client(), scene.member().await);
    let mut again = request("?");
    again.id = MessageId::new("mine").expect("an id");
    let first = client.request(&scene.topic, again.clone());
    let second = async {
        let held = next(&mut member).await;
        let second = client.request(&scene.topic, again.clone()).await;
        assert!(matches!(&second, Err(CallError::DuplicateId(id)) if *id == again.id), "{second:?}");
        held.settle(Outcome::Done).await;
    };
    let (first, ()) = join(first, second).await;
    first.expect("a reply");
    // Once it is answered the id is free.
    let third = async { next(&mut member).await.settle(Outcome::Done).await };
    join(client.request(&scene.topic, again.clone()), third).await.0.expect("a reply");
}

/// A request may be handled twice; the first reply is the one.
pub async fn take_the_first_reply(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (client, mut member) = (scene.client(), scene.member().await);
    let twice = async {
        let held = next(&mut member).await;
        let id = held.delivery.message.id.clone();
        let both = ["first", "second"].map(|text| Reply::new(text).into_message(id.clone()));
        append(&scene.broker, &inbox_of(&scene, &held), both).await;
        held
    };
    let (reply, held) = join(client.request(&scene.topic, request("?")), twice).await;
    assert_eq!(reply.expect("a reply").payload, "first");
    held.settle(Outcome::Done).await;
}

/// A call is completed only by a reply from the inbox of the topic that was asked: a worker of one topic that knows the id
/// of another topic's request cannot answer it, nor can a worker of one shard answer for another shard.
pub async fn take_replies_from_their_own_inbox_only(broker: SharedBroker) {
    let victim = Scene::new(broker);
    let shards = [0, 1].map(|number| Topic::new(&format!("{}#{number}", victim.topic.name())).expect("a shard"));
    let js = |scene: Scene| Scene { topic: scene.topic.with_wire(WireFormat::Js), ..scene };
    let [first, second] = shards.map(|topic| Scene { topic, ..victim.other_topic() });
    for (attacker, victim) in [
        (victim.other_topic(), victim.clone()),
        (first, second),
        (js(victim.other_topic()), js(victim.other_topic())),
        (victim.other_topic(), js(victim.other_topic())),
        (js(victim.other_topic()), victim.other_topic()),
    ] {
        refuse_a_forged_reply(&attacker, &victim).await;
    }
}

async fn refuse_a_forged_reply(attacker: &Scene, victim: &Scene) {
    let client = victim.client();
    let (mut attackers, mut victims) = (attacker.member().await, victim.member().await);
    let asked = request("victim");
    let id = asked.id.clone();
    let genuine = client.request(&victim.topic, asked);
    let other = client.request(&attacker.topic, request("attacker"));
    let forge = async {
        let (stolen, held) = (next(&mut attackers).await, next(&mut victims).await);
        assert_eq!(held.delivery.message.id, id);
        let forged = Reply::new("forged").into_message(id.clone());
        let fields = Wire::default().encode_for(&attacker.topic, &forged).expect("a reply");
        let inbox = attacker.topic.inbox(stolen.delivery.message.inbox.as_ref().expect("a request"));
        attacker.broker.append(vec![Append::new(inbox, fields)]).await.remove(0).expect("appended");
        // In the same inbox behind it: once this one has arrived, the client has read the forged one.
        stolen.settle(Outcome::Replied(Reply::new("own"))).await;
        held
    };
    let answer = async {
        let (own, held) = join(other, forge).await;
        assert_eq!(own.expect("a reply").payload, "own");
        held.settle(Outcome::Replied(Reply::new("genuine"))).await;
    };
    let (reply, ()) = join(genuine, answer).await;
    assert_eq!(reply.expect("a reply").payload, "genuine", "{} answered {}", attacker.topic, victim.topic);
}

/// Requests of one id on two topics are two calls, each with the reply of its own topic.
pub async fn may_share_an_id_across_topics(broker: SharedBroker) {
    let one = Scene::new(broker);
    let other = one.other_topic();
    let client = one.client();
    let (mut ones, mut others) = (one.member().await, other.member().await);
    let [to_one, to_other] = ["one", "other"].map(|text| request(text).with_id(MessageId::new("same").expect("an id")));
    let answer = async {
        let (held, of_other) = (next(&mut ones).await, next(&mut others).await);
        of_other.settle(Outcome::Replied(Reply::new("of other"))).await;
        held.settle(Outcome::Replied(Reply::new("of one"))).await;
    };
    let both = join(client.request(&one.topic, to_one), client.request(&other.topic, to_other));
    let ((of_one, of_other), ()) = join(both, answer).await;
    assert_eq!(
        (of_one.expect("a reply").payload, of_other.expect("a reply").payload),
        ("of one".into(), "of other".into())
    );
}

/// Replies for nobody, and entries that are no replies, are in nobody's way.
pub async fn survive_replies_that_are_none(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (client, mut member) = (scene.client(), scene.member().await);
    let answer = async {
        let held = next(&mut member).await;
        reply_to(&scene, &held, &MessageId::unique(), Reply::new("whose?")).await;
        let mut malformed = Append::new(inbox_of(&scene, &held), Default::default());
        malformed.fields.push("m", "no line at all");
        scene.broker.append(vec![malformed]).await.remove(0).expect("appended");
        held.settle(Outcome::Replied(Reply::new("yours"))).await;
    };
    let (reply, ()) = join(client.request(&scene.topic, request("?")), answer).await;
    assert_eq!(reply.expect("a reply").payload, "yours");
}

/// A message for the call that is no reply ends it with the reason.
pub async fn report_an_invalid_reply(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let (client, mut member) = (scene.client(), scene.member().await);
    let answer = async {
        let held = next(&mut member).await;
        let mut reply = Reply::new("").into_message(held.delivery.message.id.clone());
        reply.event = EventType::for_user("happened").expect("an event type");
        append(&scene.broker, &inbox_of(&scene, &held), [reply]).await;
        held
    };
    let (reply, held) = join(client.request(&scene.topic, request("?")), answer).await;
    assert!(matches!(reply, Err(CallError::InvalidReply(_))), "{reply:?}");
    held.settle(Outcome::Done).await;
}

/// Types that the protocol keeps for itself cannot be sent.
pub async fn refuse_reserved_types(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    let mut reserved = request("?");
    reserved.event = EventType::REPLY;
    let answer = client.request(&scene.topic, reserved).await;
    assert!(matches!(answer, Err(CallError::Name(_))), "{answer:?}");
    let emitted = client.topic(&scene.topic).emit("cancel", &()).await;
    assert!(matches!(emitted, Err(CallError::Name(_))), "{emitted:?}");
    assert_eq!(scene.len(&scene.inbound()).await, None);
}

/// A request whose deadline is over is acked and handed to nobody.
pub async fn are_handed_to_nobody_once_expired(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    let hurried = request("hurried").with_timeout(Duration::from_millis(1));
    assert!(client.request(&scene.topic, hurried).await.is_err());
    let deadline = scene.broker.now().plus(Duration::from_millis(101));
    // Clocks may differ by 100 ms.
    eventually("the deadline is over for sure", async || (scene.broker.now() > deadline).then_some(())).await;

    let mut member = scene.member().await;
    scene.emit(&["after it"]).await;
    let held = next(&mut member).await;
    assert_eq!(held.delivery.message.payload, "after it", "the expired one is handed to nobody");
    held.settle(Outcome::Done).await;
    scene.all_settled().await;
    assert!(member.next().now_or_never().is_none());
    assert_eq!(scene.len(&scene.topic.dead()).await, None, "to expire is no failure");
}
