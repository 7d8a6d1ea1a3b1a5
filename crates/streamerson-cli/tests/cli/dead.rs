//! `streamerson dead`.

use serde_json::{Value, json};

use crate::support::{Scene, assert_fails, json_of, stdout_of};

/// The field that says why.
fn letter(reason: &str, entry: &str) -> Value {
    let error = "the shelf\u{1b}[2J is empty";
    json!({"reason": reason, "error": error, "group": "shipping", "member": "one", "attempts": 3, "at": 9, "entry": entry})
}

impl Scene {
    /// Three dead letters, of which one was no message, and an entry that is none.
    async fn with_dead() -> Self {
        let scene = Self::new().await;
        let (failed, malformed) = (letter("failed", "1-1").to_string(), letter("malformed", "1-2").to_string());
        for (id, fields) in [
            ("5-1", &["m", "order.new m1 box -", "h", r#"{"a":"b"}"#, "p", r#"{"id": 7}"#, "d", &failed][..]),
            ("5-2", &["x", "y", "d", &malformed]),
            ("5-3", &["m", "order.get m3 - -", "d", &failed]),
            ("5-4", &["m", "order.get m4 - -"]),
        ] {
            let command = [&["XADD", "{default:orders}:dead", id][..], fields].concat();
            assert_eq!(scene.server.command(command).await.text(), id);
        }
        scene
    }
}

#[tokio::test]
async fn the_newest_letters_come_first() {
    let scene = Scene::with_dead().await;
    let expected = [
        json!({"entry": "5-4", "event": "order.get", "id": "m4", "dead": null}),
        json!({"entry": "5-3", "event": "order.get", "id": "m3", "dead": letter("failed", "1-1")}),
        json!({"entry": "5-2", "event": null, "id": null, "dead": letter("malformed", "1-2")}),
        json!({"entry": "5-1", "event": "order.new", "id": "m1", "dead": letter("failed", "1-1")}),
    ];
    assert_eq!(json_of(&scene.run("dead list orders").await), expected);
    assert_eq!(json_of(&scene.run("dead list orders --count 2").await), expected[..2]);
    let failed = json_of(&scene.run("dead list orders --reason failed").await);
    assert_eq!(failed, [expected[1].clone(), expected[3].clone()]);
    assert_eq!(stdout_of(&scene.run("dead list quiet").await), "");
    assert_eq!(stdout_of(&scene.run("dead list quiet --human").await), "no dead letters\n");
}

#[tokio::test]
async fn what_is_sought_may_be_many_pages_away() {
    let scene = Scene::with_dead().await;
    let abandoned = letter("abandoned", "2-2").to_string();
    for number in 1..=250 {
        let id = format!("6-{number}");
        scene.server.command(["XADD", "{default:orders}:dead", &id, "x", "y", "d", &abandoned]).await;
    }
    let found = json_of(&scene.run("dead list orders --reason malformed").await);
    assert_eq!(found.iter().map(|row| &row["entry"]).collect::<Vec<_>>(), ["5-2"]);
    assert_eq!(json_of(&scene.run("dead list orders --count 1000").await).len(), 254);
}

#[tokio::test]
async fn people_get_columns_and_nothing_steers_their_terminal() {
    let scene = Scene::with_dead().await;
    let finished = scene.run("dead list orders --human --reason failed --count 1").await;
    let lines: Vec<_> = stdout_of(&finished).lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "ENTRY AGE REASON EVENT GROUP ATTEMPTS ERROR"
    );
    let end = r"failed  order.get  shipping         3  the shelf\u{1b}[2J is empty";
    assert!(lines.len() == 2 && lines[1].starts_with("5-3 ") && lines[1].ends_with(end), "{lines:#?}");
}

#[tokio::test]
async fn a_letter_is_shown_with_its_message_as_it_was() {
    let scene = Scene::with_dead().await;
    let shown = json_of(&scene.run("dead show orders 5-1 5-2").await);
    let expected = [
        json!({
            "entry": "5-1", "event": "order.new", "id": "m1", "inbox": "box", "deadline": null, "headers": {"a": "b"},
            "payload": {"id": 7}, "dead": letter("failed", "1-1"),
        }),
        json!({
            "entry": "5-2", "malformed": "the entry has no field m", "fields": [["x", "y"]],
            "dead": letter("malformed", "1-2"),
        }),
    ];
    assert_eq!(shown, expected);

    let finished = scene.run("dead show orders 5-1 5-2 --human").await;
    let lines: Vec<_> = stdout_of(&finished).lines().collect();
    assert!(lines[0].starts_with("entry    5-1  ") && lines[0].ends_with("d ago"), "{lines:#?}");
    assert!(lines[11].is_empty() && lines[12].starts_with("entry    5-2  "), "{lines:#?}");
    let expected = [
        "reason   failed",
        r"error    the shelf\u{1b}[2J is empty",
        "attempts 3",
        "group    shipping  member one",
        "was      entry 1-1",
        "event    order.new",
        "id       m1",
        "inbox    box",
        "header   a: b",
        r#"payload  {"id":7}"#,
    ];
    assert_eq!(lines[1..11], expected);
    assert_eq!(lines[lines.len() - 2..], ["content  malformed  the entry has no field m", "field    x=y"]);
}

#[tokio::test]
async fn an_id_that_is_not_there_fails_after_the_others() {
    let scene = Scene::with_dead().await;
    let said = ["{default:orders}:dead has no 9-9", "streamerson dead list default:orders"];
    assert_fails(&scene.run("dead show orders 9-9").await, 1, &said);
    let finished = scene.run("dead show orders 9-9 5-1").await;
    assert_eq!((finished.status.code(), finished.stdout.lines().count()), (Some(1), 1));
    assert!(finished.stderr.contains("has no 9-9"), "{}", finished.stderr);
}
