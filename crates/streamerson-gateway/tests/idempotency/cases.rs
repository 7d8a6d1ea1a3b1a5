//! What holds over every broker.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::post,
};
use bytes::Bytes;
use streamerson_core::{
    Problem, Reply, Topic, Wire,
    broker::{Append, Mark},
};
use streamerson_test::eventually;

use crate::{
    scene::{Scene, assert_created, assert_refused, created, keyed, keyed_fn, with},
    support::{Answer, Bench, send},
};

pub(crate) async fn a_repetition_waits_and_then_gets_the_reply_of_the_first(mut scene: Scene) {
    let first = scene.begin(keyed("/orders", "\"k1\"", "{}"));
    let message = scene.message().await;
    // With and without quotes it is the same key; headers that are forwarded may differ.
    let again = || with("/orders", "{}", &[("idempotency-key", "k1"), ("x-trace", "2")]);
    let other = scene.another_gateway();
    assert_refused(&scene.send(again()).await, 409, "under way");
    assert_refused(&send(&other, again()).await, 409, "under way, at another gateway");
    scene.bench.reply(&message, created()).await;
    assert_created(&first.await.unwrap());
    for _ in 0..2 {
        assert_created(&scene.send(again()).await);
        assert_created(&send(&other, again()).await);
    }
    assert_eq!(scene.message_now(), None);
    assert_eq!(scene.bench.gateway.client().pending(), 0);
    // Another key is another request.
    let (answer, id) = scene.handled(keyed("/orders", "k2", "{}"), Reply::new("2")).await;
    assert_eq!(answer.body, "2");
    assert_ne!(id, message.id.to_string());
}

pub(crate) async fn a_key_stands_for_one_request(mut scene: Scene) {
    let others = || {
        let key = |request: axum::http::request::Builder| request.header("idempotency-key", "k");
        [
            ("another body", keyed("/orders", "k", "{ }")),
            ("no body", key(Request::post("/orders")).body(Body::empty()).unwrap()),
            (
                "another method",
                key(Request::put("/orders")).header("content-type", "application/json").body("{}".into()).unwrap(),
            ),
            ("another query", keyed("/orders?a", "k", "{}")),
            (
                "another type",
                key(Request::post("/orders")).header("content-type", "text/plain").body("{}".into()).unwrap(),
            ),
            ("another path", keyed("/small", "k", "{}")),
        ]
    };
    let first = scene.begin(keyed("/orders", "k", "{}"));
    let message = scene.message().await;
    for (what, request) in others() {
        assert_refused(&scene.send(request).await, 422, what);
    }
    scene.bench.reply(&message, created()).await;
    assert_created(&first.await.unwrap());
    for (what, request) in others() {
        assert_refused(&scene.send(request).await, 422, what);
    }
    // What is refused by itself says nothing of the key.
    assert_refused(&scene.send(keyed("/orders", "k", "{")).await, 400, "no JSON");
    assert_eq!(scene.message_now(), None);
    // Of another event type it is another key.
    assert_eq!(scene.send(keyed("/events", "k", "{}")).await.status, StatusCode::ACCEPTED);
}

pub(crate) async fn principals_have_keys_of_their_own(mut scene: Scene) {
    let asked = |who: Option<&'static str>| {
        let who = who.map(|who| ("authorization", who));
        let headers: Vec<_> = std::iter::once(("idempotency-key", "k")).chain(who).collect();
        with("/principals", "{}", &headers)
    };
    let mut ids = Vec::new();
    for (who, reply) in [(Some("Bearer ann"), "\"ann's\""), (Some("Bearer bob"), "\"bob's\""), (None, "\"nobody's\"")] {
        let (answer, id) = scene.handled(asked(who), Reply::new(reply)).await;
        assert_eq!(answer.body, reply);
        ids.push(id);
    }
    for (who, reply) in [(None, "\"nobody's\""), (Some("Bearer ann"), "\"ann's\""), (Some("Bearer bob"), "\"bob's\"")] {
        assert_eq!(scene.send(asked(who)).await.body, reply);
    }
    assert_eq!(scene.message_now(), None);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| id.len() == 48 && !id.contains("ann")), "{ids:?}");
}

pub(crate) async fn keys_are_asked_for_and_checked(mut scene: Scene) {
    let long = "k".repeat(256);
    for bad in ["", "\"\"", "\"open", "a b", "a,b", "\"a\" b", &long] {
        for path in ["/orders", "/required", "/events", "/whole"] {
            assert_refused(&scene.send(keyed(path, bad, "{}")).await, 400, bad);
        }
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    assert_refused(&scene.send(with("/orders", "{}", &twice)).await, 400, "two of them");
    let missing = scene.send(with("/required", "{}", &[])).await;
    assert_refused(&missing, 400, "none");
    assert!(missing.json()["detail"].as_str().unwrap().contains("Idempotency-Key"), "{missing:?}");
    assert_eq!((scene.message_now(), scene.bench.appended().await), (None, 0));
    // Where none is asked for, requests without one are handled each on its own.
    let (_, first) = scene.handled(with("/orders", "{}", &[]), created()).await;
    let (_, second) = scene.handled(with("/orders", "{}", &[]), created()).await;
    assert_ne!(first, second);
    assert_created(&scene.handled(keyed("/required", "k", "{}"), created()).await.0);
}

pub(crate) async fn failures_and_large_replies_are_not_kept(mut scene: Scene) {
    let problem = |status| Reply::from(Problem::new(status));
    let large = || Reply::new("x".repeat(301)).with_content_type("text/plain");
    for (what, path, reply) in [
        ("a failure", "/orders", problem(StatusCode::BAD_GATEWAY)),
        ("another failure", "/orders", Reply::new("").with_status(StatusCode::SERVICE_UNAVAILABLE)),
        ("a large reply", "/small", large()),
    ] {
        let status = reply.status.unwrap_or(StatusCode::OK);
        let key = &format!("\"{what}\"");
        let (answer, first) = scene.handled(keyed(path, key, "{}"), reply).await;
        assert_eq!(answer.status, status, "{what}");
        // It goes on under the same id, so that who remembers ids knows it again.
        let (answer, second) = scene.handled_soon(keyed_fn(path, key, "{}"), created()).await;
        assert_created(&answer);
        assert_eq!(first, second, "{what}");
        assert_created(&scene.send(keyed(path, key, "{}")).await);
    }
    // What the client did wrong is an answer like any other.
    for status in [StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY] {
        let key = status.as_str();
        let (first, _) = scene.handled(keyed("/orders", key, "{}"), problem(status)).await;
        let again = scene.send(keyed("/orders", key, "{}")).await;
        assert_eq!((first.status, again.status, &first.body), (status, status, &again.body));
        assert_eq!(again.header("content-type"), Some("application/problem+json"));
    }
}

/// What is answered to a repetition, once nothing is under way any more.
async fn kept(scene: &Scene) -> Answer {
    eventually("the reply to be kept", async || {
        let answer = scene.send(keyed("/orders", "k", "{}")).await;
        (answer.status != StatusCode::CONFLICT).then_some(answer)
    })
    .await
}

pub(crate) async fn a_client_that_hangs_up_finds_the_reply_later(mut scene: Scene) {
    let first = scene.begin(keyed("/orders", "k", "{}"));
    let message = scene.message().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_refused(&scene.send(keyed("/orders", "k", "{}")).await, 409, "still under way");
    assert_eq!(scene.bench.gateway.client().pending(), 1);
    scene.bench.reply(&message, created()).await;
    assert_created(&kept(&scene).await);
    assert_eq!(scene.message_now(), None);
    // Without a key nobody could ask again, so the call is given up.
    let first = scene.begin(with("/orders", "{}", &[]));
    scene.message().await;
    first.abort();
    _ = first.await;
    assert_eq!(scene.bench.gateway.client().pending(), 0);
}

pub(crate) async fn a_client_that_hangs_up_at_once_leaves_no_key_behind_that_nobody_answers_for(mut scene: Scene) {
    {
        let mut first = Box::pin(scene.send(keyed("/orders", "k", "{}")));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
    }
    let message = scene.message().await;
    scene.bench.reply(&message, created()).await;
    assert_created(&kept(&scene).await);
}

pub(crate) async fn a_reply_is_kept_for_its_time(mut scene: Scene) {
    let (answer, first) = scene.handled(keyed("/brief", "k", "{}"), created()).await;
    assert_created(&answer);
    assert_created(&scene.send(keyed("/brief", "k", "{}")).await);
    let (answer, second) = scene.handled_soon(keyed_fn("/brief", "k", "{}"), Reply::new("2")).await;
    assert_eq!((answer.body.as_ref(), first), (&b"2"[..], second));
}

pub(crate) async fn after_a_timeout_nothing_is_known_for_a_while(mut scene: Scene) {
    assert_refused(&scene.send(keyed("/hurry", "k", "{}")).await, 504, "no reply");
    let first = scene.message().await;
    assert_refused(&scene.send(keyed("/hurry", "k", "{}")).await, 409, "it may still run");
    let second = eventually("it to be sent on", async || {
        scene.send(keyed("/hurry", "k", "{}")).await;
        scene.message_now()
    })
    .await;
    assert_eq!(first.id, second.id);
}

/// A key stands for its request even after a failure or a timeout: another one under it would be refused in its place.
pub(crate) async fn a_key_outlives_the_attempt_that_had_it(mut scene: Scene) {
    assert_refused(&scene.send(keyed("/hurry", "timeout", "{}")).await, 504, "no reply");
    let timed_out = scene.message().await;
    let failure = Reply::from(Problem::new(StatusCode::BAD_GATEWAY));
    let (_, failed) = scene.handled(keyed("/hurry", "failure", "{}"), failure).await;
    let large = Reply::new("x".repeat(301)).with_content_type("text/plain");
    let (_, too_large) = scene.handled(keyed("/small", "large", "{}"), large).await;
    for (path, key, id) in
        [("/hurry", "timeout", timed_out.id.to_string()), ("/hurry", "failure", failed), ("/small", "large", too_large)]
    {
        let other = scene.another_gateway();
        let another_request = || with(path, "{\"another\":1}", &[("idempotency-key", key)]);
        // The same request is sent on once no attempt is under way, with its id; another one never.
        let again = eventually("it to be sent on", async || {
            for app in [&scene.app, &other] {
                assert_refused(&send(app, another_request()).await, 422, key);
            }
            assert_refused(&scene.send(keyed("/orders", key, "{}")).await, 422, "another path");
            let begun = scene.begin(keyed(path, key, "{}"));
            match begun.await.unwrap().status {
                StatusCode::CONFLICT => None,
                _ => scene.message_now(),
            }
        });
        assert_eq!(again.await.id.to_string(), id, "{key}");
    }
}

/// A record that is about to go is kept for as long as the next attempt lasts, or another request could take its key.
pub(crate) async fn an_attempt_renews_the_record_that_it_finds(mut scene: Scene) {
    let failure = Reply::from(Problem::new(StatusCode::BAD_GATEWAY));
    _ = scene.handled(keyed("/orders", "k", "{}"), failure).await;
    let (broker, key) = (scene.bench.broker.clone(), scene.record_key("k"));
    let record = broker.recall(vec![key.clone()]).await.unwrap().remove(0).expect("a record");
    let old = Duration::from_secs(1);
    broker.mark(vec![Mark { key, value: record, ttl: old }]).await.unwrap();
    // Set behind the record, with its time: the record would have gone before it.
    let other = scene.record_key("other");
    broker.mark(vec![Mark { key: other.clone(), value: "".into(), ttl: old }]).await.unwrap();
    let (again, message) = scene.begun_soon(keyed_fn("/orders", "k", "{}")).await;
    eventually("the record's old time to be over", async || {
        (broker.recall(vec![other.clone()]).await.unwrap() == [None]).then_some(())
    })
    .await;
    assert_refused(&scene.send(keyed("/orders", "k", "[]")).await, 422, "another request");
    assert_refused(&scene.send(keyed("/orders", "k", "{}")).await, 409, "under way");
    scene.bench.reply(&message, created()).await;
    assert_created(&again.await.unwrap());
    assert_created(&scene.send(keyed("/orders", "k", "{}")).await);
}

/// Once a key is free for another request, a late reply to the one that had it does not answer that.
pub(crate) async fn a_late_reply_answers_no_other_request(mut scene: Scene) {
    assert_refused(&scene.send(keyed("/hurry", "k", "{}")).await, 504, "no reply");
    let late = scene.message().await;
    scene.forget("k").await;
    let (other, message) = scene.begun_soon(keyed_fn("/orders", "k", "[]")).await;
    assert_ne!(late.id, message.id);
    scene.bench.reply(&late, Reply::new("\"late\"")).await;
    scene.bench.reply(&message, created()).await;
    assert_created(&other.await.unwrap());
    assert_created(&scene.send(keyed("/orders", "k", "[]")).await);
}

/// A worker of another topic that knows the id of a request, which can be computed from its key, cannot answer it: neither
/// its caller nor those that ask again get the forged reply.
pub(crate) async fn a_worker_of_another_topic_cannot_answer(mut scene: Scene) {
    let (broker, gateway) = (scene.bench.broker.clone(), scene.bench.gateway.clone());
    let other = Bench { broker: broker.clone(), gateway: gateway.clone(), topic: Topic::new("hostile:other").unwrap() };
    let mut stolen = other.consume(|_| None).await;
    let app = Router::new().route("/other", post(gateway.request(&other.topic, "other.ask")));
    let asked = tokio::spawn(async move { send(&app, with("/other", "{}", &[])).await });
    let stolen = stolen.recv().await.unwrap();

    let victim = scene.begin(keyed("/orders", "k", "{}"));
    let message = scene.message().await;
    let forged = Reply::new("\"forged\"").into_message(message.id.clone());
    let forged = Wire::default().encode(&forged).unwrap();
    let inbox = other.topic.inbox(stolen.inbox.as_ref().unwrap());
    broker.append(vec![Append::new(inbox, forged)]).await.remove(0).unwrap();
    // Behind it in the same inbox: its caller is answered after the client has read the forged one.
    other.reply(&stolen, Reply::new("\"own\"")).await;
    assert_eq!(asked.await.unwrap().body, "\"own\"");

    scene.bench.reply(&message, created()).await;
    assert_created(&victim.await.unwrap());
    assert_created(&scene.send(keyed("/orders", "k", "{}")).await);
}

/// Many clients, two requests for each key, workers that fail now and then, two gateways: each reply is to the request of the
/// caller that gets it, and all replies to one request are the same.
pub(crate) async fn replies_never_cross_requests(mut scene: Scene) {
    let apps = [scene.app.clone(), scene.another_gateway()];
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..24)
        .map(|client: usize| {
            let (app, done) = (apps[client % 2].clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for round in 0..12 {
                    // Two bodies for each of four keys.
                    let (key, body) = ((client + round) % 4, (client / 2 + round / 3) % 2);
                    let body = format!("\"{key}-{body}\"");
                    // As a client does that wants to know: again after a failure, and while an attempt is under way.
                    let answer = loop {
                        let answer = send(&app, keyed("/orders", &key.to_string(), &body)).await;
                        match answer.status.as_u16() {
                            409 => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
                            502 => {}
                            _ => break answer,
                        }
                    };
                    answers.push((key, body, answer));
                }
                done.store(true, Ordering::Relaxed);
                answers
            })
        })
        .collect();
    let clients = futures_util::future::join_all(clients);
    tokio::pin!(clients);
    let (mut handled, mut under_way) = (0, Vec::new());
    let answers = loop {
        tokio::select! {
            answers = &mut clients => break answers,
            message = scene.message() => {
                // Answered out of order, and the third of each lot with a failure.
                under_way.push(message);
                if under_way.len() < 2 && !done.load(Ordering::Relaxed) {
                    tokio::time::timeout(std::time::Duration::from_millis(20), async {
                        under_way.push(scene.message().await);
                    })
                    .await
                    .ok();
                }
                while let Some(message) = under_way.pop() {
                    handled += 1;
                    let reply = match handled % 3 {
                        0 => Reply::from(Problem::new(StatusCode::BAD_GATEWAY)),
                        _ => Reply::new(format!("[{}, {handled}]", String::from_utf8_lossy(&message.payload))),
                    };
                    scene.bench.reply(&message, reply).await;
                }
            }
        }
    };
    let mut kept: HashMap<usize, (String, Bytes)> = HashMap::new();
    for (key, body, answer) in answers.into_iter().flat_map(Result::unwrap) {
        match answer.status.as_u16() {
            200 => {
                let said = String::from_utf8(answer.body.to_vec()).unwrap();
                assert!(said.starts_with(&format!("[{body}, ")), "{key} {body}: {said}");
                let (first, reply) = kept.entry(key).or_insert_with(|| (body.clone(), answer.body.clone()));
                assert_eq!((&*first, &*reply), (&body, &answer.body), "one request, and one reply, for each key");
            }
            422 => {}
            _ => panic!("{key} {body}: {answer:?}"),
        }
    }
    assert_eq!(kept.len(), 4, "each key was answered");
    for app in &apps {
        for (key, (body, reply)) in &kept {
            assert_eq!(send(app, keyed("/orders", &key.to_string(), body)).await.body, reply);
        }
    }
}

/// Two principal headers are two kinds of principals: the value of one is not that of the other.
pub(crate) async fn principals_of_two_headers_are_apart(mut scene: Scene) {
    let asked = |path, header| with(path, "{}", &[("idempotency-key", "k"), (header, "ann")]);
    let (_, one) = scene.handled(asked("/principals", "authorization"), created()).await;
    let (_, other) = scene.handled(asked("/users", "x-user"), created()).await;
    assert_ne!(one, other);
}

pub(crate) async fn an_event_is_stored_once(mut scene: Scene) {
    let first = scene.send(keyed("/events", "k", "{}")).await;
    let other = scene.another_gateway();
    let again = send(&other, keyed("/events", "k", "{}")).await;
    for answer in [&first, &again] {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_refused(&scene.send(keyed("/events", "k", "[]")).await, 422, "another event");
    assert_eq!(scene.message().await.id.to_string(), first.json()["id"].as_str().unwrap());
    assert_eq!((scene.message_now(), scene.bench.appended().await), (None, 1));
}

pub(crate) async fn a_whole_response_is_repeated_whole(mut scene: Scene) {
    let reply = || {
        Reply::new(&b"\xff\0\n"[..])
            .with_status(StatusCode::IM_A_TEAPOT)
            .with_content_type("image/png")
            .with_header("http.header.x-served-by", "7")
            .with_header("http.header.set-cookie", "a=1\nb=2")
    };
    let (first, _) = scene.handled(keyed("/whole?x=1", "k", "{"), reply()).await;
    let again = scene.send(keyed("/whole?x=1", "k", "{")).await;
    assert_eq!((first.status.as_u16(), &first.body[..]), (418, &b"\xff\0\n"[..]));
    assert_eq!((first.status, &first.headers, &first.body), (again.status, &again.headers, &again.body));
    assert_eq!(again.headers.get_all("set-cookie").iter().count(), 2);
    assert_refused(&scene.send(keyed("/whole?x=2", "k", "{")).await, 422, "another query");
}

pub(crate) async fn of_many_at_once_through_two_gateways_one_is_handled(mut scene: Scene) {
    let gateways = [scene.app.clone(), scene.another_gateway()];
    let begun: Vec<_> = (0..40)
        .map(|n| {
            let app = gateways[n % 2].clone();
            tokio::spawn(async move { send(&app, keyed("/orders", "k", "{}")).await })
        })
        .collect();
    let message = scene.message().await;
    scene.bench.reply(&message, created()).await;
    let mut answered = 0;
    for begun in begun {
        let answer: Answer = begun.await.unwrap();
        match answer.status {
            StatusCode::CREATED => {
                assert_created(&answer);
                answered += 1;
            }
            _ => assert_refused(&answer, 409, "under way"),
        }
    }
    assert!(answered >= 1);
    for app in &gateways {
        assert_created(&send(app, keyed("/orders", "k", "{}")).await);
    }
    assert_eq!(scene.message_now(), None);
}

pub(crate) async fn what_something_else_wrote_counts_as_nothing(mut scene: Scene) {
    let (_, id) = scene.handled(keyed("/orders", "k", "{}"), created()).await;
    let key = scene.record_key("k");
    for foreign in ["", "x", "a b c", "a -\n", "a -\n{}\n", "\n\n\n"] {
        let ttl = Duration::from_secs(60);
        scene.bench.broker.mark(vec![Mark { key: key.clone(), value: foreign.into(), ttl }]).await.unwrap();
        let (answer, again) = scene.handled_soon(keyed_fn("/orders", "k", "{}"), created()).await;
        assert_created(&answer);
        assert_eq!(id, again, "{foreign:?}");
        assert_created(&scene.send(keyed("/orders", "k", "{}")).await);
    }
}
