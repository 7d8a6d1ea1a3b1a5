//! `streamerson groups` and `streamerson pending`.

use serde_json::json;
use streamerson_test::eventually;

use crate::support::{Scene, assert_fails, json_of, stdout_of};

impl Scene {
    async fn commands(&self, commands: &[&str]) {
        for command in commands {
            self.server.command(command.split(' ')).await;
        }
    }

    /// A group that holds five of six entries: four of a member, of which one is malformed, one trimmed and one at its
    /// third delivery, and one that was handed back.
    async fn with_pending() -> Self {
        let scene = Self::new().await;
        for (id, field, value) in [
            ("1-1", "m", "order.new m1 - -"),
            ("1-2", "x", "no message"),
            ("1-3", "m", "order.new m3 - -"),
            ("1-4", "m", "order.get m4 box -"),
            ("1-5", "m", "order.get m5 box -"),
            ("1-6", "m", "order.get m6 box -"),
        ] {
            scene.server.command(["XADD", KEY, id, field, value]).await;
        }
        scene
            .commands(&[
                &format!("XGROUP CREATE {KEY} shipping 0"),
                &format!("XGROUP CREATE {KEY} audit $"),
                &format!("XREADGROUP GROUP shipping one COUNT 5 STREAMS {KEY} >"),
                &format!("XDEL {KEY} 1-3"),
                &format!("XCLAIM {KEY} shipping one 0 1-4 RETRYCOUNT 3 IDLE 192000"),
                &format!("XCLAIM {KEY} shipping - 0 1-5 IDLE 9999999999 RETRYCOUNT 0 JUSTID"),
            ])
            .await;
        scene
    }
}

const KEY: &str = "{shop:orders}:in";

#[tokio::test]
async fn a_group_is_one_line_of_json() {
    let scene = Scene::with_pending().await;
    let rows = json_of(&scene.run("groups shop:orders").await);
    let [audit, shipping] = rows.as_slice() else { panic!("{rows:?}") };
    for (name, value) in [
        ("group", json!("shipping")),
        ("live", json!(1)),
        ("dead", json!(0)),
        ("pending", json!(5)),
        ("last_delivered", json!("1-5")),
    ] {
        assert_eq!(shipping[name], value, "{name} of {shipping}");
    }
    assert!(shipping["oldest_pending_ms"].as_u64() > Some(1_700_000_000_000), "{shipping}");
    // An entry was deleted, so how many are left to deliver may not be known; it is never said to be none.
    assert_ne!(shipping["lag"], 0, "{shipping}");
    let (live, age) = (&audit["live"], &audit["oldest_pending_ms"]);
    assert!(audit["group"] == "audit" && *live == 0 && age.is_null(), "{audit}");
}

#[tokio::test]
async fn people_see_who_is_live() {
    let scene = Scene::new().await;
    let echo = scene.start("echo orders");
    let rows = eventually("a live member", async || {
        let finished = scene.run("groups orders --human").await;
        let line = finished.stdout.lines().nth(1)?.to_owned();
        line.starts_with("echo      1 ").then_some(finished.stdout)
    })
    .await;
    assert!(
        rows.starts_with("GROUP  LIVE  DEAD  PENDING  AGE  LAG  LAST\necho      1     0        0    -  "),
        "{rows}"
    );
    assert!(echo.terminate().await.status.success());
    assert!(stdout_of(&scene.run("groups orders --human").await).lines().nth(1).unwrap().starts_with("echo      0 "));
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_a_slip() {
    let scene = Scene::with_pending().await;
    for command in ["groups slip", "groups drop slip shipping"] {
        assert_fails(&scene.run(command).await, 1, &["no stream {default:slip}:in", "streamerson topics"]);
    }
    assert_fails(&scene.run("groups drop shop:orders slip").await, 1, &["has no group slip", "groups shop:orders"]);
    assert_fails(&scene.run("pending shop:orders slip").await, 1, &["group slip", "streamerson groups shop:orders"]);
}

#[tokio::test]
async fn a_group_with_something_pending_is_dropped_by_force_alone() {
    let scene = Scene::with_pending().await;
    let said = ["group shipping of shop:orders has 5 pending entries", "streamerson pending", "--force"];
    assert_fails(&scene.run("groups drop shop:orders shipping").await, 1, &said);
    assert_eq!(json_of(&scene.run("groups shop:orders").await).len(), 2);

    let dropped = scene.run("groups drop shop:orders shipping --force --human").await;
    let expected = "dropped the group shipping of shop:orders; 5 pending entries went with it\n\
                    it has 1 live member, which will make it again\n";
    assert_eq!(stdout_of(&dropped), expected);
    let dropped = json_of(&scene.run("groups drop shop:orders audit").await);
    assert_eq!(dropped, [json!({"topic": "shop:orders", "group": "audit", "pending": 0, "live": 0})]);
    assert!(stdout_of(&scene.run("groups shop:orders --human").await).contains("no groups"));
}

#[tokio::test]
async fn what_is_pending_is_one_line_of_json() {
    let scene = Scene::with_pending().await;
    let mut rows = json_of(&scene.run("pending shop:orders shipping").await);
    let idle: Vec<_> = rows.iter_mut().map(|row| row["idle_ms"].take().as_u64()).collect();
    let row = |entry, state, event, id, member, deliveries| {
        json!({
            "entry": entry, "state": state, "event": event, "id": id, "member": member, "idle_ms": null,
            "deliveries": deliveries,
        })
    };
    let (new, get, one) = (Some("order.new"), Some("order.get"), Some("one"));
    let expected = [
        row("1-1", "message", new, Some("m1"), one, 1),
        row("1-2", "malformed", None, None, one, 1),
        row("1-3", "trimmed", None, None, one, 1),
        row("1-4", "message", get, Some("m4"), one, 3),
        row("1-5", "message", get, Some("m5"), None, 1),
    ];
    assert_eq!(rows, expected);
    assert!(idle[3] >= Some(192_000) && idle[4].is_none(), "{idle:?}");

    let some = json_of(&scene.run("pending shop:orders shipping --member one --count 2").await);
    assert_eq!(some.iter().map(|row| &row["entry"]).collect::<Vec<_>>(), ["1-1", "1-2"]);
}

#[tokio::test]
async fn people_see_what_is_pending_in_columns() {
    let scene = Scene::with_pending().await;
    let finished = scene.run("pending shop:orders shipping --human --count 4").await;
    let lines: Vec<_> = stdout_of(&finished).lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("ENTRY  EVENT        ID  MEMBER") && lines[0].ends_with("  DELIVERIES"), "{lines:#?}");
    assert!(lines[1].starts_with("1-1    order.new    m1  one "), "{lines:#?}");
    assert!(lines[2].starts_with("1-2    (malformed)  -   one "), "{lines:#?}");
    assert!(lines[3].starts_with("1-3    (trimmed)    -   one "), "{lines:#?}");
    assert!(lines[4].contains("m4  one     3m 1") && lines[4].ends_with("  3"), "{lines:#?}");
    assert_eq!(finished.stderr, "there are more: --count shows them\n");
    assert_eq!(stdout_of(&scene.run("pending shop:orders audit --human").await), "nothing is pending\n");
}
