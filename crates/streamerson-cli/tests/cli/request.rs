//! `streamerson request`.

use http::StatusCode;
use serde_json::json;
use streamerson::consumer::{Consumer, Problem, Reply, Topic};
use streamerson_test::Process;

use crate::support::{Scene, assert_fails, stdout_of};

async fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND).with_detail("no order 7\u{1b}[2J").with("id", "01J").with("left", 3)
}

async fn refused() -> Reply {
    Reply::new(r#"{"why":"full"}"#).with_status(StatusCode::CONFLICT)
}

async fn image() -> Reply {
    Reply::new(&b"\x89PNG\n\x00"[..]).with_content_type("image/png")
}

impl Scene {
    /// The same scene with a worker of the test's own.
    async fn with_worker(self) -> Self {
        let worker = Consumer::new(Topic::new("orders").unwrap());
        let worker = worker.on("missing", missing).on("refused", refused).on("image", image);
        tokio::spawn(worker.run(self.broker.clone(), std::future::pending()));
        self
    }
}

#[tokio::test]
async fn the_reply_is_printed_as_it_came() {
    let scene = Scene::new().await;
    let echo = scene.start("echo orders");
    let mut command = scene.command("request orders get");
    command.arg("{\"id\" : 7.0}");
    let finished = Process::spawn(command).wait().await;
    assert_eq!((stdout_of(&finished), finished.stderr.as_str()), ("{\"id\" : 7.0}\n", ""));
    assert_eq!(stdout_of(&scene.run_with("request orders get -", b"[1,\n2]\n").await), "[1,\n2]\n");
    assert_eq!(stdout_of(&scene.run_with("request orders get --json -", b"[1,\n2]\n").await), "[1,2]\n");
    assert_eq!(stdout_of(&scene.run("request orders get -H content-type:text/plain hi").await), "hi\n");
    assert_eq!(stdout_of(&scene.run("request orders get -H content-type:text/plain hi --json").await), "\"hi\"\n");
    assert_eq!(stdout_of(&scene.run("request orders get").await), "");
    assert_eq!(stdout_of(&scene.run("request orders get --json").await), "");
    echo.terminate().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_stay_as_they_are() {
    let scene = Scene::new().await.with_worker().await;
    let output = tokio::process::Command::from(scene.command("request orders image")).output().await.unwrap();
    assert_eq!(output.stdout, b"\x89PNG\n\x00");
    let json = scene.run("request orders image --json").await;
    assert_eq!(stdout_of(&json), "{\"payload_base64\":\"iVBORwoA\"}\n");
}

#[tokio::test]
async fn a_problem_is_status_1_and_on_the_standard_error() {
    let scene = Scene::new().await.with_worker().await;
    let human = scene.run("request orders missing --human").await;
    assert_fails(&human, 1, &[]);
    assert_eq!(human.stderr, "error: 404 Not Found: no order 7\\u{1b}[2J\n  id: 01J\n  left: 3\n");

    let json = scene.run("request orders missing --json").await;
    assert_fails(&json, 1, &[]);
    let problem: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    let detail = "no order 7\u{1b}[2J";
    let expected =
        json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": detail, "id": "01J", "left": 3});
    assert_eq!(problem, expected);
    assert_eq!(json.stderr.lines().count(), 1);
}

#[tokio::test]
async fn a_status_from_400_on_is_a_problem_whatever_the_payload() {
    let scene = Scene::new().await.with_worker().await;
    let human = scene.run("request orders refused --human").await;
    assert_fails(&human, 1, &["error: 409 Conflict\n  payload: {\"why\":\"full\"}\n"]);
    let json = scene.run("request orders refused --json").await;
    assert_fails(&json, 1, &[r#""status":409"#, r#""payload":{"why":"full"}"#]);
    let unknown = scene.run("request orders nobody-knows --human").await;
    assert_fails(&unknown, 1, &["error: 501 Not Implemented", "\n  id: "]);
}

#[tokio::test]
async fn no_reply_is_status_1_and_a_hint() {
    let scene = Scene::new().await;
    let nobody = scene.run("request orders get --timeout 1s").await;
    assert_fails(&nobody, 1, &["no reply to get from default:orders", "caused by: no consumer", "streamerson echo"]);

    let slow = scene.start("echo slow --delay 60s --drain 0ms");
    slow.stderr_line("consumer started").await;
    let late = scene.run("request slow get --timeout 1s").await;
    assert_fails(&late, 1, &["caused by: no reply within 1s", "hint: `--timeout"]);
    slow.kill().await;
}

#[tokio::test]
async fn the_inbox_is_gone_afterwards() {
    let scene = Scene::new().await;
    let echo = scene.start("echo orders");
    stdout_of(&scene.run("request orders get 1").await);
    echo.terminate().await;
    let keys = scene.server.command(["KEYS", "{default:orders}:re:*"]).await;
    assert!(keys.items().is_empty(), "{keys:?}");
}
