//! `streamerson tail`.

use std::{io, process::Stdio, time::Duration};

use serde_json::json;
use streamerson_test::{Process, Signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::support::{Scene, assert_fails, json_of, stdout_of};

/// How long what must not wait may take on a machine under load.
const SOON: Duration = Duration::from_secs(10);

impl Scene {
    /// Appends an entry with these fields, under an id of the test's choice.
    async fn add(&self, stream: &str, id: &str, fields: &[(&[u8], &[u8])]) {
        let mut command = vec![&b"XADD"[..], stream.as_bytes(), id.as_bytes()];
        command.extend(fields.iter().flat_map(|(name, value)| [*name, *value]));
        assert_eq!(self.server.command(command).await.text(), id);
    }

    async fn add_events(&self, ids: &[&str]) {
        for id in ids {
            self.add("{default:orders}:in", id, &[(b"m", format!("seen m{id} - -").as_bytes())]).await;
        }
    }

    /// The ids of the entries that the command shows.
    async fn tailed(&self, arguments: &str) -> Vec<String> {
        let shown = json_of(&self.run(arguments).await);
        shown.iter().map(|line| line["entry"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn an_entry_is_one_line_of_json() {
    let scene = Scene::new().await;
    let stream = "{shop:orders#2}:in";
    scene
        .add(
            stream,
            "5-1",
            &[(b"m", b"get m1 box1 1700000000000"), (b"h", b"{\"b\":\"1\",\"a\":\"2\"}"), (b"p", b"[1.0,\n 2]")],
        )
        .await;
    scene
        .add(stream, "5-2", &[(b"m", b"said m2 - -"), (b"h", b"{\"content-type\":\"text/plain\"}"), (b"p", b"1")])
        .await;
    scene.add(stream, "5-3", &[(b"m", b"said m3 - -"), (b"p", b"\xff")]).await;
    let finished = scene.run("tail shop:orders#2 --from start --count 3").await;
    let expected = [
        r#"{"entry":"5-1","event":"get","id":"m1","inbox":"box1","deadline":1700000000000,"headers":{"b":"1","a":"2"},"payload":[1.0,2]}"#,
        r#"{"entry":"5-2","event":"said","id":"m2","inbox":null,"deadline":null,"headers":{"content-type":"text/plain"},"payload":"1"}"#,
        r#"{"entry":"5-3","event":"said","id":"m3","inbox":null,"deadline":null,"headers":{},"payload_base64":"/w=="}"#,
    ];
    assert_eq!(stdout_of(&finished).lines().collect::<Vec<_>>(), expected);
    assert_eq!(finished.stderr, "");
}

#[tokio::test]
async fn people_read_one_line_for_each_entry() {
    let scene = Scene::new().await;
    let stream = "{default:orders}:in";
    scene
        .add(stream, "5-1", &[(b"m", b"get m1 box1 -"), (b"h", b"{\"a\":\"\\u001b[2J\"}"), (b"p", b"{\"id\": 7}")])
        .await;
    scene.add(stream, "5-2", &[(b"m", b"said m2 - -"), (b"p", b"two\nlines")]).await;
    scene.add(stream, "5-3", &[(b"x", b"\xff")]).await;
    let finished = scene.run("tail orders --from start --count 3 --human").await;
    let expected = [
        r#"5-1  request  get  m1  {"id":7}  a: \u{1b}[2J"#,
        r"5-2  event    said  m2  two\nlines",
        r"5-3  malformed  the entry has no field m  x=\xff",
    ];
    assert_eq!(stdout_of(&finished).lines().collect::<Vec<_>>(), expected);
    assert_eq!(finished.stderr, "tailing {default:orders}:in from the start; Ctrl-C ends it\n");
}

#[tokio::test]
async fn it_starts_where_it_is_told() {
    let scene = Scene::new().await;
    scene.add_events(&["1000-0", "2000-0", "2000-1", "3000-0"]).await;
    let now = scene.broker.now().0.to_string();
    scene.add_events(&[&format!("{now}-0")]).await;
    assert_eq!(scene.tailed("tail orders --from start --count 2").await, ["1000-0", "2000-0"]);
    assert_eq!(scene.tailed("tail orders --from 2000-1 --count 2").await, ["2000-1", "3000-0"]);
    assert_eq!(scene.tailed("tail orders --from 2000 --count 1").await, ["2000-0"]);
    assert_eq!(scene.tailed("tail orders --from 2500-0 --count 1").await, ["3000-0"]);
    assert_eq!(scene.tailed("tail orders --from 15m --count 1").await, [format!("{now}-0")]);
}

#[tokio::test]
async fn by_default_it_shows_what_comes() {
    let scene = Scene::new().await;
    scene.add_events(&["1000-0"]).await;
    let tail = scene.start("tail orders --count 1 --human");
    tail.stderr_line("tailing {default:orders}:in from the end").await;
    scene.add_events(&["2000-0"]).await;
    assert_eq!(stdout_of(&tail.wait().await), "2000-0  event    seen  m2000-0\n");

    let tail = scene.start("tail nothing-yet --count 1 --human");
    tail.stderr_line("tailing").await;
    scene.run("emit nothing-yet seen").await;
    assert_eq!(stdout_of(&tail.wait().await).lines().count(), 1);
}

#[tokio::test]
async fn a_topic_has_three_streams() {
    let scene = Scene::new().await;
    scene.add("{default:orders}:out", "1-1", &[(b"m", b"told m1 - -")]).await;
    assert_eq!(scene.tailed("tail orders --stream out --from start --count 1").await, ["1-1"]);

    let dead = br#"{"reason":"failed","error":"no luck","group":"g","member":"x","attempts":2,"at":9,"entry":"1-0"}"#;
    scene.add("{default:orders}:dead", "2-1", &[(b"m", b"get m2 - -"), (b"p", b"1"), (b"d", dead)]).await;
    scene.add("{default:orders}:dead", "2-2", &[(b"x", b"y"), (b"x", b"\xff"), (b"d", dead)]).await;
    let shown = json_of(&scene.run("tail orders --stream dead --from start --count 2").await);
    let dead = json!({"reason": "failed", "error": "no luck", "group": "g", "member": "x", "attempts": 2, "at": 9, "entry": "1-0"});
    let message = json!({
        "entry": "2-1", "event": "get", "id": "m2", "inbox": null, "deadline": null, "headers": {}, "payload": 1, "dead": dead,
    });
    let malformed = json!({
        "entry": "2-2", "malformed": "the entry has no field m", "fields": [["x", "y"], ["x", {"base64": "/w=="}]], "dead": dead,
    });
    assert_eq!(shown, [message, malformed]);
    let human = scene.run("tail orders --stream dead --from start --count 1 --human").await;
    assert_eq!(stdout_of(&human), "2-1  event    get  m2  1  failed in g, attempts 2: no luck\n");
}

#[tokio::test]
async fn a_gap_is_told() {
    let scene = Scene::new().await;
    scene.add_events(&["1000-0", "2000-0", "3000-0"]).await;
    assert_eq!(scene.server.command(["XTRIM", "{default:orders}:in", "MAXLEN", "1"]).await.int(), 2);
    let finished = scene.run("tail orders --from 1000-0 --count 1").await;
    assert_eq!(json_of(&finished)[0]["entry"], "3000-0");
    assert!(
        finished.stderr.starts_with("warning: ") && finished.stderr.contains("may be missing"),
        "{}",
        finished.stderr
    );
    let finished = scene.run("tail orders --from 3000-0 --count 1").await;
    assert_eq!((json_of(&finished).len(), finished.stderr.as_str()), (1, ""));
}

/// What is gone before it could be read, while all goes on: as of a reader that stood still for a moment.
#[tokio::test]
async fn a_hole_while_it_reads_is_told() {
    let scene = Scene::new().await;
    let tail = scene.start("tail orders --json");
    // It reads from whenever it has begun to.
    streamerson_test::eventually("an entry to be shown", async || {
        scene.server.command(["XADD", "{default:orders}:in", "*", "m", "event - a", "p", "1"]).await;
        (!tail.stdout().is_empty()).then_some(())
    })
    .await;
    let gone = "redis.call('XADD', KEYS[1], '*', 'm', 'event - a') redis.call('XTRIM', KEYS[1], 'MAXLEN', 0) return 1";
    scene.server.command(["EVAL", gone, "1", "{default:orders}:in"]).await;
    scene.server.command(["XADD", "{default:orders}:in", "*", "m", "event - b", "p", "1"]).await;
    let warning = tail.stderr_line("may be missing").await;
    assert!(warning.starts_with("warning: entries of {default:orders}:in after "), "{warning}");
    assert!(warning.contains("the stream now starts with"), "{warning}");
    let finished = tail.terminate().await;
    assert_eq!(
        (finished.status.code(), finished.stderr.matches("warning").count()),
        (Some(0), 1),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn signals_end_it_well() {
    let scene = Scene::new().await;
    scene.add_events(&["1000-0"]).await;
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let tail = scene.start("tail orders --from start");
        tail.stdout_line("1000-0").await;
        tail.signal(signal);
        let finished = tail.wait().await;
        assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn a_reader_that_goes_ends_it_at_once() {
    let scene = Scene::new().await;
    scene.add_events(&["1000-0"]).await;
    let mut command = Command::from(scene.command("tail orders --from start"));
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().contains("1000-0"));
    drop(lines);
    // No entry comes whose writing could fail.
    let output = timeout(SOON, tail.wait_with_output()).await.expect("the end of the program").unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));

    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::from(scene.command("tail orders --from start"));
    let tail = command.stdout(writer).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let output = timeout(SOON, tail.wait_with_output()).await.expect("the end of the program").unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

#[tokio::test]
async fn what_is_no_stream_is_status_1() {
    let scene = Scene::new().await;
    scene.server.command(["SET", "{default:orders}:in", "x"]).await;
    let finished = scene.run("tail orders --from start").await;
    assert_fails(&finished, 1, &["cannot read {default:orders}:in", "caused by: ", "does not hold a stream"]);
}

#[tokio::test]
async fn an_outage_is_waited_out() {
    let mut scene = Scene::new().await;
    let tail = scene.start("tail orders --count 1 --human");
    tail.stderr_line("tailing").await;
    scene.server.kill();
    scene.server.start().await;
    scene.add_events(&["2000-0"]).await;
    assert_eq!(stdout_of(&tail.wait().await), "2000-0  event    seen  m2000-0\n");
}

#[tokio::test]
async fn many_entries_come_whole_and_in_order() {
    let scene = Scene::new().await;
    let ids: Vec<String> = (1..=3000).map(|ms| format!("{ms}-0")).collect();
    let mut client = scene.server.client().await;
    for id in &ids {
        client.command(["XADD", "{default:orders}:in", id, "m", "seen m - -"]).await.unwrap();
    }
    let output = Process::spawn(scene.command("tail orders --from start --count 3000")).wait().await;
    let shown: Vec<_> = json_of(&output).iter().map(|line| line["entry"].as_str().unwrap().to_owned()).collect();
    assert_eq!(shown, ids);
}
