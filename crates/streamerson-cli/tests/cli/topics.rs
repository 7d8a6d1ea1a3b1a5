//! `streamerson topics`.

use serde_json::{Value, json};
use streamerson_test::{Process, Signal, eventually};

use crate::support::{Scene, assert_fails, json_of, stdout_of};

impl Scene {
    /// Two topics: one that is read by two groups, one that nobody reads. Beside them, an inbox and another program's key.
    async fn with_topics() -> Self {
        let scene = Self::new().await;
        for command in [
            "XADD {shop:orders}:in 1-1 m new.a.-.-",
            "XADD {shop:orders}:in 1-2 m new.b.-.-",
            "XADD {shop:orders}:in 1-3 m new.c.-.-",
            "XADD {shop:orders}:dead 1-1 m new.a.-.-",
            "XGROUP CREATE {shop:orders}:in fast $",
            "XGROUP CREATE {shop:orders}:in slow 0",
            "XREADGROUP GROUP slow one COUNT 1 STREAMS {shop:orders}:in >",
            "XADD {default:views#3}:out 1-1 m seen.a.-.-",
            "XADD {default:quiet}:re:box 1-1 m reply.a.-.-",
            "XADD {another:program}:index 1-1 m x",
            "SET {shop:texts}:in text",
        ] {
            scene.server.command(command.split(' ')).await;
        }
        scene
    }
}

#[tokio::test]
async fn every_topic_is_one_line_of_json() {
    let scene = Scene::with_topics().await;
    let rows = json_of(&scene.run("topics").await);
    let [views, orders] = rows.as_slice() else { panic!("{rows:?}") };
    let expected = json!({
        "topic": "default:views#3", "in": 0, "out": 1, "dead": 0, "groups": 0, "pending": 0, "lag": null,
        "oldest_ms": null,
    });
    assert_eq!(*views, expected);
    for (name, value) in [("in", 3), ("out", 0), ("dead", 1), ("groups", 2), ("pending", 1)] {
        assert_eq!(orders[name], value, "{name} of {orders}");
    }
    // Redis before 7.0 knows no lag: then it is unknown.
    assert!(orders["lag"] == 2 || orders["lag"].is_null(), "{orders}");
    assert!(orders["oldest_ms"].as_u64() > Some(1_700_000_000_000), "{orders}");
}

#[tokio::test]
async fn people_get_aligned_columns() {
    let scene = Scene::with_topics().await;
    let finished = scene.run("topics --human").await;
    let lines: Vec<_> = stdout_of(&finished).lines().collect();
    assert_eq!(lines[0].trim_end(), format!("TOPIC            IN  OUT  DEAD  GROUPS  PENDING  LAG  {:>6}", "OLDEST"));
    assert_eq!(lines[1], "default:views#3   0    1     0       0        0    -       -");
    assert!(lines[2].starts_with("shop:orders       3    0     1       2        1    "), "{lines:#?}");
    assert_eq!((lines.len(), finished.stderr.as_str()), (3, ""));
}

#[tokio::test]
async fn topics_of_the_original_are_marked() {
    let scene = Scene::with_topics().await;
    for command in [
        "XADD shop::orders::CONSUMER_INCOMING 1-1 1 a - nil json - UnoccupiedField 1",
        "XADD shop::carts#3::PRODUCER_OUTGOING 1-1 1 a - nil json - UnoccupiedField 1",
        "XADD {shop::late::CONSUMER_INCOMING}:dead 1-1 1 a - nil json - UnoccupiedField 1",
    ] {
        scene.server.command(command.split(' ')).await;
    }
    let rows = json_of(&scene.run("topics").await);
    let js: Vec<_> = rows.iter().filter(|row| row["wire"] == "js").map(|row| &row["topic"]).collect();
    assert_eq!(js, ["shop:carts#3", "shop:late", "shop:orders"]);
    assert_eq!(rows.iter().filter(|row| row.get("wire").is_none()).count(), 2, "{rows:?}");
    let finished = scene.run("topics --human").await;
    assert!(stdout_of(&finished).contains("\nshop:orders --wire js    1    0     0 "), "{}", finished.stdout);
}

#[tokio::test]
async fn an_empty_broker_has_no_topics() {
    let scene = Scene::new().await;
    assert_eq!(stdout_of(&scene.run("topics").await), "");
    assert!(stdout_of(&scene.run("topics --human").await).contains("no topics yet"));
}

#[tokio::test]
async fn who_may_not_look_around_is_told_what_is_missing() {
    let scene = Scene::with_topics().await;
    scene.server.command("ACL SETUSER blind on >secret ~* +@all -scan".split(' ')).await;
    let url = format!("redis://blind:secret@{}", scene.server.address());
    let finished = Process::spawn(scene.command(&format!("topics --broker {url}"))).wait().await;
    assert_fails(&finished, 1, &["cannot list the topics", "NOPERM", "SCAN", "+scan"]);
}

#[tokio::test]
async fn a_watch_tells_how_much_comes_and_is_done() {
    let scene = Scene::with_topics().await;
    let process = scene.start("topics --watch --every 200ms --json");
    process.stdout_line(r#""in_per_second":null"#).await;
    let before = scene.server.command(["XINFO", "STREAM", "{shop:orders}:in"]).await;
    for command in [
        "XADD {shop:orders}:in * m new.d.-.-",
        "XACK {shop:orders}:in slow 1-1",
        "XADD {default:views#3}:out * m seen.b.-.-",
    ] {
        scene.server.command(command.split(' ')).await;
    }
    // Redis before 7.0 does not count what was appended.
    if format!("{before:?}").contains("entries-added") {
        // Which of the ticks has it is not known.
        eventually("rates above nothing", async || {
            let lines = process.stdout();
            let ticks: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let is = |topic: usize, rate: &str| {
                ticks.iter().any(|tick| tick["topics"][topic][rate].as_f64().is_some_and(|rate| rate > 0.0))
            };
            (is(0, "out_per_second") && is(1, "in_per_second") && is(1, "done_per_second")).then_some(())
        })
        .await;
    }
    process.signal(Signal::Interrupt);
    let finished = process.wait().await;
    let ticks = json_of(&finished);
    let last = ticks.last().unwrap();
    assert!(last["at"].as_u64() > Some(1_700_000_000_000), "{last}");
    assert_eq!((&last["topics"][1]["topic"], &last["topics"][1]["in"]), (&json!("shop:orders"), &json!(4)));
}

#[tokio::test]
async fn a_watch_ends_when_told_and_outlives_its_broker() {
    let mut scene = Scene::with_topics().await;
    let finished = scene.run("topics --watch --every 10ms --count 3").await;
    assert_eq!(json_of(&finished).len(), 3);
    let finished = scene.run("topics --watch --every 10ms --count 2 --human").await;
    let blocks: Vec<_> = stdout_of(&finished).split("\n\n").collect();
    assert!(blocks.len() == 2 && blocks.iter().all(|block| block.starts_with("TOPIC  ")), "{blocks:#?}");

    let process = scene.start("topics --watch --every 100ms");
    process.stdout_line("shop:orders").await;
    scene.server.kill();
    process.stderr_line("warning: ").await;
    scene.server.start().await;
    let lines = process.stdout().lines().count();
    eventually("it goes on", async || (process.stdout().lines().count() > lines).then_some(())).await;
    process.signal(Signal::Interrupt);
    assert_eq!(process.wait().await.status.code(), Some(0));
    assert_fails(&scene.run("topics --every 1s").await, 2, &["--watch"]);
}
