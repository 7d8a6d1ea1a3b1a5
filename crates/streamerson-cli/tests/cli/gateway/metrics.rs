//! What a gateway and a worker count: asked over HTTP, after traffic that is known.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use streamerson_test::{Exposition, Process, RedisServer, eventually};

use super::{
    http::{Answer, Connection},
    scene::Gateway,
};
use crate::support::{Scene, assert_fails, run};

const CONFIG: &str = r#"
[admin]
listen = "127.0.0.1:0"

[[route]]
method = "POST"
path = "/ask/{case}"
topic = "orders"
event = "order.get"
idempotency = {}

[[route]]
method = "POST"
path = "/tell"
topic = "views"
event = "page.viewed"
mode = "emit"
"#;

/// A worker that serves its metrics.
struct Echo {
    process: Process,
    address: String,
}

impl Echo {
    async fn start(scene: &Scene) -> Self {
        let process = scene.start("echo orders --metrics 127.0.0.1:0");
        let line = process.stderr_line("metrics on http://").await;
        let address = line.strip_prefix("metrics on http://").and_then(|line| line.strip_suffix("/metrics"));
        let address = address.expect("an address").to_owned();
        process.stderr_line("echoing").await;
        Self { process, address }
    }

    async fn scrape(&self) -> Exposition {
        read(&scrape(&mut Connection::open(&self.address).await.expect("a worker that accepts")).await)
    }
}

async fn scrape(connection: &mut Connection) -> Answer {
    connection.exchange("GET /metrics", &[], "").await.expect("a page")
}

fn read(answer: &Answer) -> Exposition {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    Exposition::read(&answer.text())
}

impl Gateway {
    async fn scrape(&self) -> Exposition {
        read(&scrape(&mut self.admin().await).await)
    }
}

#[track_caller]
fn assert_values(page: &Exposition, values: &[(&str, f64)]) {
    for (series, value) in values {
        assert_eq!(page.get(series), Some(*value), "{series} in {page:#?}");
    }
}

/// Nothing that a caller invents becomes a series: neither paths, methods, ids and headers, nor event types and groups of
/// messages.
#[tokio::test]
async fn callers_make_no_series() {
    let scene = Scene::new().await;
    let echo = Echo::start(&scene).await;
    let gateway = Gateway::start(&scene.server, "cardinality", CONFIG).await;
    let series = async || {
        let lines = |page: String| page.lines().filter(|line| !line.starts_with('#')).count();
        let of_worker = scrape(&mut Connection::open(&echo.address).await.expect("a worker that accepts")).await;
        (lines(scrape(&mut gateway.admin().await).await.text()), lines(of_worker.text()))
    };
    let invent = async |number: usize| {
        for line in [
            format!("GET /invented/{number}"),
            format!("INVENTED{number} /tell"),
            format!("POST /ask/{number}?invented={number}"),
            format!("PUT /ask/{number}"),
            "POST /tell".to_owned(),
        ] {
            let id = format!("invented-{number}");
            let headers = [("x-request-id", &*id), ("x-invented", &*id), ("user-agent", &*id), ("origin", &*id)];
            gateway.ask(&line, &headers, "{}").await;
        }
        let line = format!("invented.{number} id{number} - -");
        scene.server.command(["XADD", "{default:orders}:in", "*", "m", &line]).await;
        scene.server.command(["XADD", "{default:orders}:in", "*", "m", &format!("no line {number}")]).await;
    };
    let settled = async || {
        eventually("all to be settled", async || {
            (scene.pending_and_lag("orders", "echo").await == Some((0, Some(0)))).then_some(())
        })
        .await;
    };
    // Some series begin with the first that they count.
    invent(0).await;
    settled().await;
    let before = series().await;
    for number in 1..200 {
        invent(number).await;
    }
    settled().await;
    assert_eq!(series().await, before);
    let page = scrape(&mut gateway.admin().await).await.text();
    assert!(!page.contains("invented"), "{page}");
    gateway.process.terminate().await;
    echo.process.terminate().await;
}

#[tokio::test]
async fn a_gateway_and_its_worker_count_what_happened() {
    let scene = Scene::new().await;
    let echo = Echo::start(&scene).await;
    let gateway = Gateway::start(&scene.server, "counting", CONFIG).await;
    let garbage = ["XADD", "{default:orders}:in", "*", "m", "no line at all"];
    scene.server.command(garbage).await;
    for (line, status) in
        [("POST /ask/1", 200), ("POST /ask/2", 200), ("POST /ask/3", 200), ("POST /tell", 202), ("POST /ch\"osen", 404)]
    {
        let headers = [("idempotency-key", "\"one\"")];
        let headers = if line.ends_with("/1") { &headers[..] } else { &[] };
        assert_eq!(gateway.ask(line, headers, "{\"a\":1}").await.status, status, "{line}");
    }

    let worker = eventually("all to be settled and told of", async || {
        let page = echo.scrape().await;
        let settled = page.sum("streamerson_member_outcomes_total") == 4.0;
        (settled && page.get("streamerson_topic_dead_letters{topic=\"default:orders\"}") == Some(1.0)).then_some(page)
    })
    .await;
    assert_values(
        &worker,
        &[
            (r#"streamerson_member_deliveries_total{topic="default:orders",group="echo",delivery="first"}"#, 4.0),
            (r#"streamerson_member_deliveries_total{topic="default:orders",group="echo",delivery="again"}"#, 0.0),
            (r#"streamerson_member_settled_batch_deliveries_sum{topic="default:orders",group="echo"}"#, 4.0),
            (r#"streamerson_group_lag{topic="default:orders",group="echo"}"#, 0.0),
            (r#"streamerson_group_pending{topic="default:orders",group="echo"}"#, 0.0),
            (r#"streamerson_group_oldest_pending_seconds{topic="default:orders",group="echo"}"#, 0.0),
            (r#"streamerson_group_members{topic="default:orders",group="echo"}"#, 1.0),
        ],
    );
    // The fallback takes what it is sent, so its event types are the sender's and no labels.
    let event = r#"topic="default:orders",group="echo",event="(other)""#;
    assert_values(
        &worker,
        &[
            (&format!("streamerson_member_outcomes_total{{{event},outcome=\"replied\"}}"), 3.0),
            (&format!("streamerson_member_outcomes_total{{{event},outcome=\"dead-lettered\"}}"), 1.0),
            (&format!("streamerson_member_dead_letters_total{{{event},reason=\"malformed\"}}"), 1.0),
            (&format!("streamerson_handler_duration_seconds_count{{{event}}}"), 3.0),
            (&format!("streamerson_handler_in_flight{{{event}}}"), 0.0),
        ],
    );
    assert_eq!((worker.sum("streamerson_broker_up"), worker.sum("streamerson_broker_reconnects_total")), (1.0, 0.0));

    let edge = eventually("the events to be told of", async || {
        let page = gateway.scrape().await;
        (page.get("streamerson_topic_entries{topic=\"default:views\"}") == Some(1.0)).then_some(page)
    })
    .await;
    let route = r#"route="/ask/{case}",method="POST",event="order.get""#;
    assert_values(
        &edge,
        &[
            (&format!("streamerson_gateway_requests_total{{{route},status=\"200\"}}"), 3.0),
            (&format!("streamerson_gateway_outcomes_total{{{route},outcome=\"passed-on\"}}"), 3.0),
            (&format!("streamerson_gateway_request_duration_seconds_count{{{route}}}"), 3.0),
            (&format!("streamerson_gateway_requests_in_flight{{{route}}}"), 0.0),
            (
                r#"streamerson_gateway_requests_total{route="/tell",method="POST",event="page.viewed",status="202"}"#,
                1.0,
            ),
            (r#"streamerson_client_calls_total{topic="default:orders",outcome="replied"}"#, 3.0),
            (r#"streamerson_client_call_duration_seconds_count{topic="default:orders"}"#, 3.0),
            (r#"streamerson_client_calls_in_flight{topic="default:orders"}"#, 0.0),
            (r#"streamerson_client_inboxes{topic="default:orders"}"#, 1.0),
            (r#"streamerson_client_appended_total{topic="default:orders",kind="request"}"#, 3.0),
            (r#"streamerson_client_appended_total{topic="default:views",kind="event"}"#, 1.0),
            (r#"streamerson_client_events_total{topic="default:views",outcome="appended"}"#, 1.0),
        ],
    );
    assert_eq!(edge.sum("streamerson_broker_call_duration_seconds_count{call=\"append\"}"), 4.0);
    assert_eq!(edge.sum("streamerson_client_calls_total"), 3.0);
    assert_eq!(edge.sum("streamerson_gateway_pending_calls"), 0.0);
    let text = scrape(&mut gateway.admin().await).await.text();
    assert!(!text.contains("osen") && text.contains(r#"route="(none)",method="(any)",event="(none)""#), "{text}");

    // Nothing is shown that is not documented, and nothing documented that is not there.
    let exported: BTreeSet<String> = worker.names().union(&edge.names()).cloned().collect();
    assert_eq!(exported, named_in("docs/metrics.md", &exported));
    let drawn = named_in("packaging/grafana-dashboard.json", &exported);
    assert!(drawn.is_subset(&exported), "{:?}", drawn.difference(&exported));
    let told = ["streamerson_build_info".to_owned()].into();
    assert_eq!(exported.difference(&drawn).cloned().collect::<BTreeSet<_>>(), told, "what the dashboard does not show");
    gateway.process.terminate().await;
    echo.process.terminate().await;
}

/// The metrics that a file of this project names. What belongs to a histogram of these is named by its own name.
fn named_in(file: &str, exported: &BTreeSet<String>) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let metrics = words.filter(|word| word.starts_with("streamerson_"));
    let whole = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
        let whole = parts.map(str::to_owned).find(|whole| exported.contains(whole));
        whole.unwrap_or_else(|| name.to_owned())
    };
    metrics.map(whole).collect()
}

#[tokio::test]
async fn a_page_comes_while_the_broker_is_away_or_frozen() {
    let mut scene = Scene::new().await;
    let echo = Echo::start(&scene).await;
    let lag = r#"streamerson_group_lag{topic="default:orders",group="echo"}"#;
    let wait = async |scrape: &dyn Fn(&Exposition) -> bool| {
        eventually("the page to change", async || Some(echo.scrape().await).filter(|page| scrape(page))).await
    };
    let up = |page: &Exposition| page.sum("streamerson_broker_up") == 1.0;
    wait(&|page| up(page) && page.get(lag) == Some(0.0)).await;

    scene.server.pause();
    // What was known a moment ago is shown for a while, and then nothing is.
    wait(&|page| page.get(lag).is_none()).await;
    let asked = Instant::now();
    let page = echo.scrape().await;
    // It asks for a second at most; the machine may be busy.
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
    assert_eq!(page.sum("streamerson_topic_entries"), 0.0);
    scene.server.resume();
    wait(&|page| up(page) && page.get(lag) == Some(0.0)).await;

    scene.server.stop().await;
    let page = wait(&|page| !up(page)).await;
    assert!(page.names().contains("streamerson_broker_up") && page.get(lag).is_none(), "{page:#?}");
    let asked = Instant::now();
    for _ in 0..20 {
        assert!(!up(&echo.scrape().await));
    }
    // Nothing is asked: twenty pages that did would take twenty seconds.
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());

    scene.server.start().await;
    let page = wait(&|page| up(page) && page.get(lag).is_some()).await;
    assert!(page.sum("streamerson_broker_reconnects_total") >= 1.0, "{page:#?}");
    assert!(page.sum("streamerson_broker_failures_total") >= 1.0, "{page:#?}");
    echo.process.terminate().await;
}

#[tokio::test]
async fn an_address_for_metrics_must_be_one_and_free() {
    let server = RedisServer::spawn().await;
    let gateway = Gateway::start(&server, "taken", CONFIG).await;
    let taken = run(&format!("echo orders --metrics {} --broker {}", gateway.address, server.url())).await;
    assert_fails(&taken, 1, &[&format!("cannot serve metrics on {}", gateway.address), "caused by: ", "127.0.0.1:0"]);
    assert_fails(&run("echo orders --metrics 9091").await, 2, &["--metrics", "9091"]);
    gateway.process.terminate().await;
}
