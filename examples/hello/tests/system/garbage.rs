//! What others do to the streams and connections of a running gateway and worker.

use std::time::Instant;

use streamerson_test::{Process, RedisServer, Signal, Value, eventually};

use crate::{
    fleet::{self, DEAD, GROUP, Gateway, INBOUND},
    http::{Answer, Connection},
};

/// Lines that one mishap may leave in a log.
const LINES_MAX: usize = 6;

struct Scene {
    server: RedisServer,
    gateway: Gateway,
    worker: Process,
    connection: Connection,
}

impl Scene {
    async fn start() -> Self {
        let server = RedisServer::spawn().await;
        let gateway = Gateway::start(&server, "--timeout 5").await;
        let worker = fleet::worker(&server, "").await;
        let connection = Connection::open(gateway.address).await;
        let mut scene = Self { server, gateway, worker, connection };
        scene.assert_greets("before").await;
        scene
    }

    async fn command<const N: usize>(&self, command: [&str; N]) -> Value {
        let value = self.server.command(command).await;
        assert!(!matches!(value, Value::Error(_)), "{command:?}: {value:?}");
        value
    }

    async fn greet(&mut self, name: &str) -> Answer {
        self.connection.greet(name).await
    }

    async fn assert_greets(&mut self, name: &str) {
        let (asked, answer) = (Instant::now(), self.greet(name).await);
        let logs = (self.gateway.process.stderr(), self.worker.stderr());
        assert!(answer.is_greeting_of(name), "{name}: {answer:?} after {:?}; {logs:#?}", asked.elapsed());
    }

    /// Asks until there is a greeting, and then once more.
    async fn assert_greets_again(&mut self) {
        let connection = &mut self.connection;
        let greet = async || connection.greet("anybody").await.is_greeting_of("anybody").then_some(());
        eventually("requests are answered again", greet).await;
        self.assert_greets("and again").await;
    }

    /// Both stop as they should, and have logged no more than a few lines since their start.
    async fn stop(self) {
        for process in [self.gateway.process, self.worker] {
            let stderr = fleet::stop(process).await;
            // Started, listening, stopping, stopped.
            assert!(stderr.lines().count() <= LINES_MAX + 4, "{stderr}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_no_messages_become_dead_letters() {
    let mut scene = Scene::start().await;
    let garbage: [&[(&[u8], &[u8])]; 4] = [
        &[(b"\xff\x00\r\n", b"\x80\x81"), (b"", b"")],
        &[(b"m", b"greet \xc3\x28 - -"), (b"h", b""), (b"p", b"{}")],
        &[(b"h", b"{}"), (b"p", br#"{"name":"nobody"}"#)],
        &[(b"m", b"greet 1 - -"), (b"m", b"greet 2 - -")],
    ];
    for fields in garbage {
        let fields = fields.iter().flat_map(|(name, value)| [*name, *value]);
        let command = [&b"XADD"[..], INBOUND.as_bytes(), b"*"].into_iter().chain(fields);
        scene.server.command(command).await;
    }
    scene.assert_greets("after").await;
    eventually("four dead letters", async || (fleet::len(&scene.server, DEAD).await == 4).then_some(())).await;
    let letters = scene.command(["XRANGE", DEAD, "-", "+"]).await;
    for (letter, fields) in letters.items().iter().zip(garbage) {
        let kept: Vec<_> = letter.items()[1].items().iter().map(Value::bytes).collect();
        let (why, kept) = kept.split_last_chunk::<2>().map(|(kept, why)| (why, kept)).expect("the reason");
        assert_eq!(kept, fields.iter().flat_map(|(name, value)| [*name, *value]).collect::<Vec<_>>());
        let reason = String::from_utf8_lossy(why[1]);
        assert!(why[0] == b"d" && reason.contains(r#""reason":"malformed""#), "{reason}");
    }
    let log = scene.worker.stderr();
    assert_eq!(log.matches("malformed").count(), 4, "{log}");
    fleet::settled(&scene.server).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_in_the_place_of_the_stream() {
    let mut scene = Scene::start().await;
    scene.command(["SET", INBOUND, "a string"]).await;
    let line = scene.worker.stderr_line("does not hold a stream").await;
    assert!(line.contains(INBOUND), "{line}");
    for _ in 0..20 {
        let answer = scene.greet("nobody").await;
        assert!(answer.status == 503 && answer.retry_after, "{answer:?}");
    }
    scene.gateway.process.stderr_line("does not hold a stream").await;
    scene.command(["DEL", INBOUND]).await;
    scene.assert_greets_again().await;
    scene.worker.stderr_line("read again").await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_destroyed() {
    let mut scene = Scene::start().await;
    scene.command(["XGROUP", "DESTROY", INBOUND, GROUP]).await;
    scene.assert_greets("after").await;
    scene.worker.stderr_line("group was gone").await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_moved_away_or_removed() {
    let mut scene = Scene::start().await;
    scene.command(["RENAME", INBOUND, "elsewhere"]).await;
    scene.assert_greets("after the move").await;
    scene.command(["DEL", INBOUND]).await;
    scene.assert_greets("after the removal").await;
    scene.worker.stderr_line("group was gone").await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_killed() {
    let mut scene = Scene::start().await;
    for round in 0..3 {
        scene.command(["CLIENT", "KILL", "TYPE", "normal"]).await;
        scene.assert_greets(&format!("round {round}")).await;
    }
    for process in [&scene.gateway.process, &scene.worker] {
        process.stderr_line("redis is back").await;
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_set_meanwhile() {
    let mut scene = Scene::start().await;
    // This connection stays logged in.
    let mut operator = scene.server.client().await;
    operator.command(["CONFIG", "SET", "requirepass", "other"]).await.expect("set");
    operator.command(["CLIENT", "KILL", "TYPE", "normal"]).await.expect("killed");
    for process in [&scene.gateway.process, &scene.worker] {
        process.stderr_line("NOAUTH").await;
    }
    let answer = scene.greet("nobody").await;
    assert!(answer.status == 503 && answer.retry_after, "{answer:?}");
    operator.command(["CONFIG", "SET", "requirepass", ""]).await.expect("set");
    scene.assert_greets_again().await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_flushed() {
    let mut scene = Scene::start().await;
    scene.command(["FLUSHALL"]).await;
    // The gateway's inbox is gone too, so the first reply may have nowhere to go.
    scene.assert_greets_again().await;
    scene.worker.stderr_line("group was gone").await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_is_removed_while_a_call_waits() {
    let scene = Scene::start().await;
    scene.worker.signal(Signal::Stop);
    let mut connection = Connection::open(scene.gateway.address).await;
    let call = tokio::spawn(async move { connection.greet("late").await });
    eventually("the request is stored", async || (fleet::pending(&scene.server).await == 1).then_some(())).await;
    let inboxes = fleet::inboxes(&scene.server).await;
    scene.command(["DEL", &inboxes[0]]).await;
    eventually("the inbox is made again", async || (fleet::inboxes(&scene.server).await == inboxes).then_some(()))
        .await;
    scene.worker.signal(Signal::Continue);
    let answer = call.await.expect("an answer");
    assert!(answer.is_greeting_of("late"), "{answer:?}");
    scene.stop().await;
}
