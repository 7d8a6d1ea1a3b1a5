//! Whether a configuration is right, and what is said of one that is not.

use streamerson_test::{Process, RedisServer};

use super::scene::write;
use crate::support::{assert_fails, command, json_of, run, stdout_of};

const GOOD: &str = "listen = \"127.0.0.1:0\"\nbroker = \"redis://127.0.0.1:1\"\n";
const ROUTE: &str = "[[route]]\nmethod = \"GET\"\npath = \"/\"\ntopic = \"orders\"\nevent = \"order.get\"\n";

#[tokio::test]
async fn the_documented_file_is_right() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/gateway.toml");
    let checked = run(&format!("gateway --check --config {file}")).await;
    let line = stdout_of(&checked);
    assert!(line.contains("6 routes on 0.0.0.0:8080") && line.lines().count() == 1, "{line}");
}

#[tokio::test]
async fn programs_are_told_in_json() {
    let server = RedisServer::spawn().await;
    let path = write(&server, "good", &format!("{GOOD}{ROUTE}"));
    let checked = run(&format!("gateway --check --json --config {}", path.display())).await;
    let file = path.display().to_string();
    let right = serde_json::json!({
        "file": file, "listen": "127.0.0.1:0", "tls": false, "routes": 1, "brokers": ["redis://127.0.0.1:1/0"],
    });
    assert_eq!(json_of(&checked), [right]);
    let path = write(&server, "wrong", &format!("{GOOD}lissten = 1\n"));
    let checked = run(&format!("gateway --check --json --config {}", path.display())).await;
    assert_eq!((checked.status.code(), checked.stderr.as_str()), (Some(1), ""));
    let line: serde_json::Value = serde_json::from_str(&checked.stdout).expect("one line of JSON");
    assert_eq!((&line["line"], &line["key"]), (&serde_json::json!(3), &serde_json::json!("lissten")));
    assert_eq!(line["what"], "there is no such key; did you mean listen?");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_place_and_its_exit_status() {
    // For its directory alone.
    let server = RedisServer::spawn().await;
    for (name, text, arguments, code, said) in [
        (
            "key",
            format!("{GOOD}lissten = 1\n"),
            "",
            1,
            "key.toml:3: lissten: there is no such key; did you mean listen?",
        ),
        ("toml", "listen = ".to_owned(), "", 1, "toml.toml:1: this is not TOML: "),
        ("url", "listen = \"a:1\"\nbroker = \"http://:secret@x\"".to_owned(), "", 1, "url.toml:2: broker: "),
        (
            "topic",
            format!("{GOOD}{}", ROUTE.replace("orders", "a b")),
            "",
            1,
            "topic.toml:6: route.topic: \"a b\" is not",
        ),
        (
            "twice",
            format!("{GOOD}{ROUTE}{ROUTE}"),
            "",
            1,
            "twice.toml:10: route.path: GET / is routed on line 5 already",
        ),
        ("none", format!("listen = \"a:1\"\n{ROUTE}"), "", 1, "none.toml:5: route.topic: there is no broker for"),
        ("memory", GOOD.replace("redis://127.0.0.1:1", "memory://"), "", 2, "memory.toml:2: broker: memory://"),
        ("good", GOOD.to_owned(), "--broker memory://", 2, "lives in one process"),
        ("good", GOOD.to_owned(), "--broker nonsense", 2, "caused by: "),
        ("good", GOOD.to_owned(), "--listen 8080", 2, "is not an address to listen on"),
    ] {
        let path = write(&server, name, &text);
        for check in ["--check", ""] {
            let finished = run(&format!("gateway --config {} {check} {arguments}", path.display())).await;
            assert_fails(&finished, code, &["error: ", said]);
            assert!(!finished.stderr.contains("secret"), "{}", finished.stderr);
        }
    }
    assert_fails(&run("gateway --check").await, 2, &["--config"]);
    assert_fails(&run("gateway --config /no/such/file").await, 1, &["cannot read the configuration", "caused by: "]);
}

#[tokio::test]
async fn options_and_the_variable_fill_in_for_the_file() {
    let server = RedisServer::spawn().await;
    let path = write(&server, "bare", ROUTE);
    let arguments = format!("gateway --check --listen 127.0.0.1:7 --config {}", path.display());
    let checked = run(&format!("{arguments} --broker redis://option")).await;
    assert!(stdout_of(&checked).contains("on 127.0.0.1:7, over redis://option"), "{}", checked.stdout);
    let mut by_variable = command(&arguments);
    by_variable.env("STREAMERSON_BROKER", "redis://variable");
    let checked = Process::spawn(by_variable).wait().await;
    assert!(stdout_of(&checked).contains("over redis://variable"), "{}", checked.stdout);
}
