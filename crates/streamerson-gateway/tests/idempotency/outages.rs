//! While Redis is away, and when it comes back.

use axum::http::StatusCode;
use streamerson_test::eventually;

use crate::{
    scene::{Scene, assert_created, assert_refused, created, keyed},
    support::Answer,
};

/// Answers whatever the worker gets until the request has its answer.
async fn answered(scene: &mut Scene, key: &str) -> Answer {
    let mut begun = scene.begin(keyed("/orders", key, "{}"));
    loop {
        tokio::select! {
            answer = &mut begun => return answer.unwrap(),
            message = scene.message() => scene.bench.reply(&message, created()).await,
        }
    }
}

#[tokio::test]
async fn while_the_broker_is_away_the_answer_is_503_and_the_key_is_as_new() {
    let mut scene = Scene::over_redis().await;
    assert_created(&answered(&mut scene, "before").await);
    let mut server = scene.server.take().unwrap();
    server.stop().await;
    eventually("the outage to be noticed", async || {
        let answer = scene.send(keyed("/orders", "k", "{}")).await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        (answer.status == StatusCode::SERVICE_UNAVAILABLE).then(|| assert_refused(&answer, 503, "away"))
    })
    .await;
    for path in ["/events", "/whole"] {
        assert_refused(&scene.send(keyed(path, "k", "{}")).await, 503, path);
    }
    server.start().await;
    eventually("the broker to be back", async || scene.bench.broker.health().borrow().is_up().then_some(())).await;
    // The worker of the test ended with its connection.
    let mut scene = Scene::over(scene.bench.broker.clone(), Some(server)).await;
    assert_created(&answered(&mut scene, "k").await);
    assert_created(&scene.send(keyed("/orders", "k", "{}")).await);
}

/// The reply comes and cannot be kept: its caller has it all the same, and what is known of the key goes by itself.
#[tokio::test]
async fn a_reply_that_cannot_be_kept_is_given_all_the_same() {
    let mut scene = Scene::over_redis().await;
    let begun = scene.begin(keyed("/hurry", "k", "{}"));
    let message = scene.message().await;
    let server = scene.server.as_ref().unwrap();
    server.command(["ACL", "SETUSER", "default", "-set"]).await;
    scene.bench.reply(&message, created()).await;
    assert_created(&begun.await.unwrap());
    // Nobody knows, so it is under way until its time is over.
    let refused = scene.send(keyed("/hurry", "k", "{}")).await;
    assert_refused(&refused, 503, "keys cannot be used now");
    scene.server.as_ref().unwrap().command(["ACL", "SETUSER", "default", "+set"]).await;
    let again = eventually("it to be sent on", async || {
        _ = scene.send(keyed("/hurry", "k", "{}")).await;
        scene.message_now()
    })
    .await;
    assert_eq!(again.id, message.id);
}
