//! `streamerson dead`.

use serde_json::{Value, json};
use streamerson_test::{Finished, Signal, eventually};

use crate::support::{Scene, assert_fails, json_of, stdout_of};

/// The field that says why.
fn letter(reason: &str, entry: &str) -> Value {
    let error = "the shelf\u{1b}[2J is empty";
    json!({"reason": reason, "error": error, "group": "shipping", "member": "one", "attempts": 3, "at": 9, "entry": entry})
}

impl Scene {
    /// The group that gave up, which is still there.
    async fn with_group(&self) {
        self.server.command("XGROUP CREATE {default:orders}:in shipping 0 MKSTREAM".split(' ')).await;
    }

    /// Three dead letters, of which one was no message, and an entry that is none.
    async fn with_dead() -> Self {
        let scene = Self::new().await;
        scene.with_group().await;
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

/// What a command printed, one line of JSON each, whatever its exit status.
fn lines_of(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn filters_pick_what_they_say() {
    let scene = Scene::with_dead().await;
    let found = async |filter: &str| {
        let rows = json_of(&scene.run(&format!("dead list orders {filter}")).await);
        rows.iter().map(|row| row["entry"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("--event order.get").await, ["5-4", "5-3"]);
    assert_eq!(found("--group shipping --reason failed").await, ["5-3", "5-1"]);
    assert_eq!(found("--group billing").await, [""; 0]);
    assert_eq!(found("--error SHELF --event order.new").await, ["5-1"]);
    assert_eq!(found("--older-than 1d").await, ["5-3", "5-2", "5-1"]);
    assert_eq!(found("--younger-than 1d").await, [""; 0]);
}

#[tokio::test]
async fn errors_that_say_the_same_are_one_line() {
    let scene = Scene::with_dead().await;
    for (number, at) in [(17, 20), (4711, 30)] {
        let dead = json!({"reason": "failed", "error": format!("order {number} is lost"), "group": "shipping",
            "member": "one", "attempts": 1, "at": at, "entry": "1-1"});
        let fields = ["m", "order.get m - -", "d", &dead.to_string()];
        scene.server.command([&["XADD", "{default:orders}:dead", &format!("7-{at}")][..], &fields].concat()).await;
    }
    let rows = json_of(&scene.run("dead list orders --by-error").await);
    let error = "the shelf\u{1b}[…J is empty";
    let expected = [
        json!({"count": 2, "reason": "failed", "error": "order … is lost", "event": "order.get", "oldest_at": 20,
            "newest_at": 30, "example": "7-30"}),
        json!({"count": 2, "reason": "failed", "error": error, "event": null, "oldest_at": 9, "newest_at": 9,
            "example": "5-3"}),
        json!({"count": 1, "reason": null, "error": null, "event": "order.get", "oldest_at": null, "newest_at": null,
            "example": "5-4"}),
        json!({"count": 1, "reason": "malformed", "error": error, "event": null, "oldest_at": 9, "newest_at": 9,
            "example": "5-2"}),
    ];
    assert_eq!(rows, expected);
    assert_eq!(json_of(&scene.run("dead list orders --by-error --count 1").await), expected[..1]);
    let human = scene.run("dead list orders --by-error --human --reason failed").await;
    let lines: Vec<_> = stdout_of(&human).lines().collect();
    assert!(lines[0].starts_with("COUNT  REASON  EVENT") && lines[1].ends_with("order … is lost"), "{lines:#?}");
}

#[tokio::test]
async fn a_replay_sends_what_it_can_and_names_the_rest() {
    let scene = Scene::with_dead().await;
    let finished = scene.run("dead replay orders --all --rate 1000/s").await;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    let lines = lines_of(&finished);
    let outcomes: Vec<_> = lines.iter().map(|line| (&line["dead"], &line["outcome"])).collect();
    let [replayed, failed] = [json!("replayed"), json!("failed")];
    let ids = ["5-1", "5-2", "5-3", "5-4"].map(|id| json!(id));
    assert_eq!(
        outcomes,
        [
            (&ids[0], &replayed),
            (&ids[1], &failed),
            (&ids[2], &replayed),
            (&ids[3], &failed),
            (&Value::Null, &Value::Null)
        ]
    );
    assert!(lines[1]["error"].as_str().unwrap().contains("would come back as malformed"), "{lines:#?}");
    let summary = json!({"topic": "default:orders", "replayed": 2, "gone": 0, "failed": 2, "stopped": false});
    assert_eq!(lines[4], summary);
    assert!(finished.stderr.contains("2 dead letters of default:orders could not be replayed"), "{}", finished.stderr);

    let left = json_of(&scene.run("dead list orders").await);
    assert_eq!(left.iter().map(|row| &row["entry"]).collect::<Vec<_>>(), ["5-4", "5-2"]);
    let sent = json_of(&scene.run("tail orders --from start --count 2").await);
    assert_eq!(sent[0]["entry"], lines[0]["entry"]);
    assert_eq!(sent[0]["headers"], json!({"a": "b", "only.group": "shipping", "replayed": "5-1"}));
    assert_eq!((&sent[0]["id"], &sent[0]["inbox"]), (&json!("m1"), &Value::Null));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let scene = Scene::with_dead().await;
    let finished = scene.run("dead replay orders --reason failed --dry-run").await;
    let lines = json_of(&finished);
    assert_eq!(lines[0], json!({"dead": "5-1", "outcome": "replayable", "entry": null, "error": null}));
    let summary = json!({"topic": "default:orders", "replayable": 2, "gone": 0, "failed": 0, "stopped": false});
    assert_eq!(lines[2], summary);
    let human = scene.run("dead replay orders --reason malformed --dry-run --human").await;
    assert_eq!(human.status.code(), Some(1));
    assert_eq!(human.stdout, "would replay 0 dead letters of default:orders\n");
    assert!(human.stderr.contains("not replayed: 5-2 is no message"), "{}", human.stderr);
    let dropped = json_of(&scene.run("dead drop orders --all --dry-run").await);
    assert_eq!(dropped, [json!({"topic": "default:orders", "droppable": 4, "missing": []})]);
    assert_eq!(json_of(&scene.run("dead list orders").await).len(), 4);
}

#[tokio::test]
async fn what_is_named_is_expected_to_be_there() {
    let scene = Scene::with_dead().await;
    let finished = scene.run("dead replay orders 5-1 9-9 --human").await;
    assert_eq!(finished.status.code(), Some(1));
    assert_eq!(finished.stdout, "replayed 1 dead letter of default:orders\n");
    assert!(finished.stderr.contains("not replayed: 9-9 is not there"), "{}", finished.stderr);

    let finished = scene.run("dead drop orders 5-2 9-9").await;
    assert_eq!(finished.status.code(), Some(1));
    assert_eq!(lines_of(&finished), [json!({"topic": "default:orders", "dropped": 1, "missing": ["9-9"]})]);
    assert!(finished.stderr.contains("{default:orders}:dead has no 9-9"), "{}", finished.stderr);
    assert_eq!(stdout_of(&scene.run("dead replay quiet --all --human").await), "no dead letters to replay\n");
}

#[tokio::test]
async fn a_program_is_asked_nothing_when_it_drops_all() {
    let scene = Scene::with_dead().await;
    let finished = scene.run("dead drop orders --reason failed --human").await;
    assert_eq!(stdout_of(&finished), "dropped 2 dead letters of default:orders\n");
    let finished = scene.run("dead drop orders --all --human").await;
    assert_eq!(stdout_of(&finished), "dropped 2 dead letters of default:orders\n");
    assert_eq!(finished.stderr, "");
    assert_eq!(stdout_of(&scene.run("dead list orders").await), "");
}

#[tokio::test]
async fn nothing_is_everything_unless_it_is_said() {
    let scene = Scene::with_dead().await;
    for action in ["replay", "drop"] {
        assert_fails(&scene.run(&format!("dead {action} orders")).await, 2, &["which dead letters?", "--all"]);
        let both = scene.run(&format!("dead {action} orders 5-1 --reason failed")).await;
        assert_fails(&both, 2, &["ids cannot be used with"]);
    }
    assert_eq!(json_of(&scene.run("dead list orders").await).len(), 4);
}

#[tokio::test]
async fn a_replay_holds_to_its_rate_and_can_be_interrupted() {
    let scene = Scene::new().await;
    scene.with_group().await;
    let failed = letter("failed", "1-1").to_string();
    for number in 1..=50 {
        let id = format!("5-{number}");
        scene.server.command(["XADD", "{default:orders}:dead", &id, "m", "seen m - -", "d", &failed]).await;
    }
    // At one each second the rest is nowhere near done when the signal comes.
    let process = scene.start("dead replay orders --all --rate 1/s");
    process.stdout_line("5-1").await;
    process.signal(Signal::Interrupt);
    let finished = process.wait().await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("stopped by a signal"), "{}", finished.stderr);
    let lines = lines_of(&finished);
    let summary = lines.last().unwrap();
    let replayed = summary["replayed"].as_u64().unwrap();
    assert!(summary["stopped"] == true && replayed < 50, "{summary}");
    // What it said is what happened, and the rest goes on.
    assert_eq!(json_of(&scene.run("dead list orders --count 100").await).len() as u64, 50 - replayed);
    let rest = json_of(&scene.run("dead replay orders --all --rate 10000/s").await);
    assert_eq!(rest.last().unwrap()["replayed"], 50 - replayed);
}

#[tokio::test]
async fn a_replay_goes_on_when_nobody_reads_what_it_says() {
    let scene = Scene::new().await;
    scene.with_group().await;
    let failed = letter("failed", "1-1").to_string();
    for number in 1..=300 {
        let id = format!("5-{number}");
        scene.server.command(["XADD", "{default:orders}:dead", &id, "m", "seen m - -", "d", &failed]).await;
    }
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#""$0" dead replay orders --all --rate 100000/s --json | head -1"#]);
    command.arg(env!("CARGO_BIN_EXE_streamerson")).env("STREAMERSON_BROKER", scene.server.url());
    let finished = streamerson_test::Process::spawn(command).wait().await;
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stderr);
    eventually("all are replayed", async || {
        let left = scene.server.command(["XLEN", "{default:orders}:dead"]).await;
        (left == streamerson_test::Value::Int(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_nobody_would_handle_stays() {
    let scene = Scene::with_dead().await;
    scene.server.command("XGROUP DESTROY {default:orders}:in shipping".split(' ')).await;
    let finished = scene.run("dead replay orders 5-1 --human").await;
    assert_eq!(finished.status.code(), Some(1));
    let said =
        "not replayed: 5-1 is for the group shipping, which does not read the topic now; start its workers first";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
    assert_eq!(json_of(&scene.run("dead list orders").await).len(), 4);
}
