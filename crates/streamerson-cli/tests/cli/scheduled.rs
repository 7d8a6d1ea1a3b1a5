//! `streamerson emit --after`, `--at`, and `streamerson scheduled`.

use serde_json::{Value, json};

use crate::support::{Scene, assert_fails, json_of, run, stdout_of};

const HOUR_MS: u64 = 60 * 60 * 1000;

fn at(row: &Value) -> u64 {
    row["at"].as_u64().unwrap_or_else(|| panic!("no time in {row}"))
}

#[tokio::test]
async fn an_event_waits_for_its_time() {
    let scene = Scene::new().await;
    let before = scene.broker.now().0;
    let after = scene.run_with("emit orders order.remind -H a:b --after 1h -", br#"{"id": 7}"#).await;
    let sent = json_of(&after).remove(0);
    assert!((before + HOUR_MS..=scene.broker.now().0 + HOUR_MS).contains(&at(&sent)), "{sent}");
    assert!(sent["entry"].is_null());
    let dated = json_of(&scene.run("emit orders order.remind --at 2100-01-01T00:00:00Z").await).remove(0);
    assert_eq!(at(&dated), 4_102_444_800_000);

    let rows = json_of(&scene.run("scheduled list orders").await);
    let expected = json!({"id": sent["id"], "at": sent["at"], "event": "order.remind", "message": sent["id"],
        "headers": {"a": "b"}, "payload": {"id": 7}});
    assert_eq!(rows[0], expected);
    assert_eq!((&rows[1]["id"], &rows[1]["payload"], rows.len()), (&dated["id"], &json!(""), 2));
    assert_eq!(json_of(&scene.run("scheduled list orders --count 1").await).len(), 1);
}

#[tokio::test]
async fn what_is_due_comes_and_is_listed_no_more() {
    let scene = Scene::new().await;
    let sent = json_of(&scene.run("emit orders order.remind --at 1000").await).remove(0);
    let echo = scene.start("echo orders");
    let came = json_of(&scene.run("tail orders --from start --count 1").await).remove(0);
    assert_eq!((&came["id"], &came["event"]), (&sent["id"], &json!("order.remind")));
    assert_eq!(stdout_of(&scene.run("scheduled list orders").await), "");
    echo.terminate().await;
}

#[tokio::test]
async fn people_see_what_waits_in_columns() {
    let scene = Scene::new().await;
    assert_eq!(stdout_of(&scene.run("scheduled list orders --human").await), "nothing waits for its time\n");
    let said = scene.run("emit orders order.remind --after 2h --human").await;
    let lines: Vec<_> = stdout_of(&said).lines().collect();
    assert!(lines[0].starts_with("order.remind comes to default:orders in ") && lines.len() == 2, "{lines:#?}");
    assert!(lines[1].starts_with("`streamerson scheduled cancel default:orders 01"), "{lines:#?}");
    scene.run("emit orders order.late --at 1000").await;
    scene.run("emit orders order.last --after 3h").await;
    let listed = scene.run("scheduled list orders --human --count 2").await;
    let lines: Vec<_> = stdout_of(&listed).lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[0].contains(" AT ") && lines[0].contains("EVENT"), "{lines:#?}");
    assert!(lines[1].contains("d late  order.late"), "{lines:#?}");
    assert!(lines[2].contains(" in ") && lines[2].ends_with("order.remind"), "{lines:#?}");
    assert_eq!(listed.stderr, "there are more: --count shows them\n");
}

#[tokio::test]
async fn what_is_cancelled_never_comes() {
    let scene = Scene::new().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let sent = json_of(&scene.run(&format!("emit orders order.remind --after {}h", number + 1)).await).remove(0);
        ids.push(sent["id"].as_str().unwrap().to_owned());
    }
    let finished = scene.run(&format!("scheduled cancel orders {}", ids[1])).await;
    assert_eq!(json_of(&finished), [json!({"topic": "default:orders", "cancelled": 1, "missing": []})]);

    let finished = scene.run(&format!("scheduled cancel orders {} {}", ids[0], ids[1])).await;
    assert_eq!(finished.status.code(), Some(1));
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report, json!({"topic": "default:orders", "cancelled": 1, "missing": [ids[1]]}));
    assert!(finished.stderr.contains(&format!("has no {}", ids[1])), "{}", finished.stderr);

    let finished = scene.run("scheduled cancel orders --all --human").await;
    assert_eq!(stdout_of(&finished), "cancelled 1 entry of the schedule of default:orders\n");
    assert_eq!(stdout_of(&scene.run("scheduled list orders").await), "");
}

#[tokio::test]
async fn a_time_that_is_none_is_misuse() {
    for (arguments, said) in [
        ("emit orders seen --after 10", "a duration is"),
        ("emit orders seen --at tomorrow", "a time is"),
        ("emit orders seen --at 18:00 --after 1h", "cannot be used with"),
        ("scheduled cancel orders", "<ID>"),
        ("scheduled cancel orders 1 --all", "cannot be used with"),
    ] {
        assert_fails(&run(arguments).await, 2, &["error:", said]);
    }
}
