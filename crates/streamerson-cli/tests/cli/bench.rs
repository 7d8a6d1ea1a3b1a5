//! `streamerson bench`.

use serde_json::{Value, json};
use streamerson_test::{Signal, Value as Reply, eventually};

use crate::support::{Scene, assert_fails, json_of, run, stdout_of};

impl Scene {
    /// The keys of topics. Streams by which reads are woken go by themselves.
    async fn keys(&self) -> Vec<Reply> {
        match self.server.command(["KEYS", "{*}:[iodr]*"]).await {
            Reply::Array(keys) => keys,
            other => panic!("{other:?}"),
        }
    }
}

fn measured(rows: &[Value]) -> Vec<(&str, &Value)> {
    rows.iter().map(|row| (row["what"].as_str().unwrap(), &row["in_flight"])).collect()
}

#[tokio::test]
async fn all_is_measured_and_nothing_is_left() {
    let scene = Scene::new().await;
    let finished = scene.run("bench --count 300 --in-flight 8 --payload 10").await;
    let rows = json_of(&finished);
    let (one, many, none) = (json!(1), json!(8), Value::Null);
    assert_eq!(measured(&rows), [("append", &many), ("consume", &none), ("request", &one), ("request", &many)]);
    for row in &rows {
        assert_eq!((&row["count"], &row["payload_bytes"]), (&json!(300), &json!(10)), "{row}");
        assert!(row["per_second"].as_f64() > Some(0.0) && row["seconds"].as_f64() > Some(0.0), "{row}");
        let latencies = ["p50_us", "p90_us", "p99_us", "max_us"].map(|name| row[name].as_u64());
        match row["what"] == "consume" {
            true => assert_eq!(latencies, [None; 4]),
            false => assert!(latencies.is_sorted() && latencies[0].is_some(), "{row}"),
        }
    }
    assert_eq!(scene.keys().await, []);
}

#[tokio::test]
async fn time_bounds_it_and_people_get_a_table() {
    let finished = run("bench --broker memory:// --for 50ms --in-flight 4 --human").await;
    let lines: Vec<_> = stdout_of(&finished).lines().collect();
    assert!(lines[0].contains("IN FLIGHT") && lines[0].ends_with("MAX"), "{lines:#?}");
    let names: Vec<_> = lines[1..].iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["append", "consume", "request", "request"]);
    assert!(lines[1].ends_with(" ms"), "{lines:#?}");
}

#[tokio::test]
async fn a_signal_ends_it_and_it_cleans_up() {
    let scene = Scene::new().await;
    let process = scene.start("bench --count 1000000 --for 60s --in-flight 2");
    eventually("it is under way", async || (!scene.keys().await.is_empty()).then_some(())).await;
    process.signal(Signal::Interrupt);
    let finished = process.wait().await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("stopped by a signal"), "{}", finished.stderr);
    assert_eq!(scene.keys().await, []);

    // In the midst of requests too, with a worker that would make its group again.
    let process = scene.start("bench --count 1000 --for 60s --in-flight 2 --json");
    process.stdout_line("consume").await;
    process.signal(Signal::Interrupt);
    assert!(process.wait().await.stderr.contains("stopped by a signal"));
    assert_eq!(scene.keys().await, []);
}

#[tokio::test]
async fn bounds_are_checked() {
    for (arguments, said) in [
        ("bench --count 0", "--count"),
        ("bench --in-flight 0", "from 1 to 10000"),
        ("bench --payload 2000000", "from 0 to 1048576"),
        ("bench --for 0s", "more than nothing"),
    ] {
        assert_fails(&run(arguments).await, 2, &["error:", said]);
    }
}
