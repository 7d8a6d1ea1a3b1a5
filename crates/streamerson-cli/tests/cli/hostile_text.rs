//! Texts that others wrote, and addresses in the wrong place: neither steers a terminal, forges a log line or shows a
//! password.

use std::process::Command;

use streamerson_test::{Finished, Process};

use crate::support::{Scene, command, json_of};

/// Steers a terminal, turns the direction of text, hides, and begins a new line, in each of the ways there are.
const EVIL: &str =
    "a\u{1b}[2J\u{1b}]0;x\u{7}\u{7f}\u{9b}31m\u{85}\u{202e}\u{2066}\u{200b}\u{2028}\u{ad}\u{feff}\u{e0041}\r\nforged";

/// The password of all addresses here, in one place or another.
const PASSWORD: &str = "5ecret";

#[track_caller]
fn assert_harmless(finished: &Finished, what: &str) {
    for (stream, text) in [("output", &finished.stdout), ("error", &finished.stderr)] {
        let bad = text.chars().find(|char| *char != '\n' && streamerson::core::text::is_unprintable(*char));
        assert_eq!(bad, None, "{what}: {stream}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{what}: {stream}: {text:?}");
    }
}

#[tokio::test]
async fn nothing_that_the_broker_holds_steers_a_terminal() {
    let scene = Scene::new().await;
    let server = &scene.server;
    let headers = serde_json::json!({ "x": EVIL, EVIL: "y" }).to_string();
    let letter = serde_json::json!({
        "reason": "failed", "error": EVIL, "group": "g", "member": "m", "attempts": 1, "at": 1, "entry": "1-1",
    });
    let letter = letter.to_string();
    for stream in ["in", "dead"] {
        let key = format!("{{default:orders}}:{stream}");
        for (id, fields) in [
            ("1-1", ["m", "seen a - -", "h", &headers, "p", EVIL, "d", &letter]),
            ("1-2", ["m", EVIL, "h", EVIL, "p", EVIL, "d", &letter]),
            ("1-3", [EVIL, EVIL, "x", "y", "p", &serde_json::to_string(EVIL).expect("JSON"), "d", &letter]),
        ] {
            server
                .command([&[key.as_str()], [id].as_slice(), &fields].concat().into_iter().fold(
                    vec!["XADD"],
                    |mut all, word| {
                        all.push(word);
                        all
                    },
                ))
                .await;
        }
    }
    server.command(["XGROUP", "CREATE", "{default:orders}:in", EVIL, "0"]).await;
    server.command(["XGROUP", "CREATE", "{default:orders}:in", "g", "0"]).await;
    for group in [EVIL, "g"] {
        server.command(["XREADGROUP", "GROUP", group, EVIL, "STREAMS", "{default:orders}:in", ">"]).await;
    }
    let packed = format!("1:m,10:seen b - -,1:h,0:,1:p,{}:{EVIL},", EVIL.len());
    server.command(["HSET", "{default:orders}:later:entries", "a", &packed]).await;
    server.command(["ZADD", "{default:orders}:later", "99999999999999", "a"]).await;
    for arguments in [
        "tail orders --from start --count 3",
        "tail orders --stream dead --from start --count 3",
        "topics",
        "groups orders",
        "pending orders g",
        "dead list orders",
        "dead list orders --by-error",
        "dead show orders 1-1 1-2 1-3",
        "dead replay orders --all --yes",
        "scheduled list orders",
        "doctor",
    ] {
        for format in ["--human", "--json"] {
            let what = format!("{arguments} {format}");
            let finished = scene.run(&what).await;
            assert_harmless(&finished, &what);
            assert!(!finished.stdout.is_empty() || !finished.stderr.is_empty(), "{what}");
            if format == "--json" && finished.status.success() {
                json_of(&finished);
            }
        }
    }
}

/// A mistyped address is quoted without its credentials, in each option, argument and key.
#[tokio::test]
async fn an_address_in_the_wrong_place_shows_no_password() {
    let scene = Scene::new().await;
    let places = [
        format!("redis://ann:{PASSWORD}@host:6379/0"),
        format!("redis://{PASSWORD}@host"),
        format!("rediss://:{PASSWORD}@host"),
        format!("redis+unix:///socket?user=ann&pass={PASSWORD}"),
        format!("redis://ann:x@{PASSWORD}@host"),
        format!("redis://ann:{PASSWORD}"),
        format!("redis://{PASSWORD}:@host"),
        format!("ann:{PASSWORD}@redis://host"),
        format!("redis+unix:/x?pass={PASSWORD}"),
        format!("{PASSWORD}@host"),
        format!("ann@host:{PASSWORD}"),
        format!("/run/r.sock?user=a&pass={PASSWORD}"),
        format!("redis://a:{PASSWORD}@h1,redis://b:{PASSWORD}@h2"),
        format!("redis://a:{PASSWORD}@h1,redis://b:{PASSWORD}"),
        format!("redis://o'neil:{PASSWORD}"),
    ];
    let path = scene.server.directory().join("g.toml");
    for address in &places {
        let mut runs = Vec::new();
        for arguments in [
            "emit ADDRESS seen",
            "emit orders ADDRESS",
            "tail ADDRESS",
            "tail orders --from ADDRESS",
            "tail orders --count ADDRESS",
            "groups ADDRESS",
            "pending orders ADDRESS",
            "dead show orders ADDRESS",
            "request orders get --timeout ADDRESS",
            "emit orders seen -H ADDRESS",
            "emit orders seen -HADDRESS",
            "emit orders seen -H=ADDRESS",
            "emit orders seen --header=a=ADDRESS",
            "emit orders seen -qADDRESS",
            "topics --broker ADDRESS",
            "topics --broker=x\u{1b}[8mADDRESS",
            "emit a\u{1b}[8m\u{202e}ADDRESS seen",
            "emit orders seen --after=ADDRESS",
            "topics --wire ADDRESS",
            "demo --listen ADDRESS",
            "gateway --config ADDRESS",
            "gateway --config g.toml --listen=ADDRESS",
            "ADDRESS",
            "topics --ADDRESS",
        ] {
            let mut command: Command = command("");
            command.args(arguments.split(' ').map(|word| word.replace("ADDRESS", address)));
            command.env("STREAMERSON_BROKER", "redis://127.0.0.1:1");
            runs.push((arguments.to_owned(), Process::spawn(command).wait().await));
        }
        for line in [
            "listen = ADDRESS",
            "drain = ADDRESS",
            "admin = { listen = ADDRESS }",
            "cors = { origins = [ADDRESS] }",
            "tls = { certificate = ADDRESS, key = ADDRESS }",
            "limits = { requests_max = ADDRESS, head_timeout = ADDRESS }",
            "topic = { orders = { broker = ADDRESS, wire = ADDRESS, shards = ADDRESS } }",
            "topic = { ADDRESS = { broker = \"redis://x\" } }",
            "broker = ADDRESS, ADDRESS",
            "ADDRESS = 1",
            "[ADDRESS]",
            "[[route]]\nmethod = ADDRESS\npath = ADDRESS\ntopic = ADDRESS\nevent = ADDRESS\nmode = ADDRESS\nforward_headers = [ADDRESS]\nshard_by = ADDRESS\ncontent_types = [ADDRESS]\n[route.idempotency]\nprincipal = ADDRESS",
            "[[route]]\nmethod = \"GET\"\npath = ADDRESS\ntopic = \"a\"\nevent = \"a\"\n[[route]]\nmethod = \"GET\"\npath = ADDRESS\ntopic = \"a\"\nevent = \"a\"",
        ] {
            let top = if line.starts_with("listen") { "" } else { "listen = \"127.0.0.1:0\"\n" };
            let text = format!("{top}{}\n", line.replace("ADDRESS", &format!("\"{address}\"")));
            std::fs::write(&path, text).expect("a directory to write to");
            for json in ["", " --json"] {
                let arguments = format!("gateway --check --config {}{json}", path.display());
                runs.push((format!("{line}{json}"), scene.run(&arguments).await));
            }
        }
        for (what, finished) in runs {
            // The files of `tls` are not read, and an origin may have any scheme and host.
            let may_be_right = what.contains("tls") || what.contains("cors");
            assert!(!finished.status.success() || may_be_right, "{what}: {finished:?}");
            for text in [&finished.stdout, &finished.stderr] {
                assert!(!text.contains(PASSWORD), "{what}: {text}");
            }
            assert_harmless(&finished, &what);
        }
    }
}

/// Arguments come from scripts, and their values from elsewhere: errors about arguments and the summary of a file are
/// escaped as all other output is.
#[tokio::test]
async fn arguments_and_summaries_do_not_steer_the_terminal() {
    let scene = Scene::new().await;
    for arguments in [["emit", EVIL, "seen"], ["tail", "orders", EVIL], ["topics", "--wire", EVIL], ["dead", EVIL, "x"]]
    {
        let mut command = scene.command("");
        command.args(arguments);
        let finished = Process::spawn(command).wait().await;
        assert!(!finished.status.success() && finished.stderr.starts_with("error: "), "{finished:?}");
        assert_harmless(&finished, arguments[0]);
    }
    let path = scene.server.directory().join("summary.toml");
    let broker = "redis+unix:///none%0Aforged%1B%5B2J%E2%80%AE";
    std::fs::write(&path, format!("listen = \"127.0.0.1:0\"\n[topic.orders]\nbroker = \"{broker}\"\n{ROUTE}"))
        .expect("written");
    for format in ["--human", "--json"] {
        let finished = scene.run(&format!("gateway --check --config {} {format}", path.display())).await;
        assert!(finished.status.success() && finished.stdout.contains("forged"), "{finished:?}");
        assert_harmless(&finished, format);
    }
}

const ROUTE: &str = "[[route]]\nmethod = \"GET\"\npath = \"/\"\ntopic = \"orders\"\nevent = \"order.get\"\n";

/// A line feed in a field forges no event.
#[tokio::test]
async fn an_event_of_a_log_is_one_line() {
    let scene = Scene::new().await;
    let path = scene.server.directory().join("g.toml");
    let broker = "redis+unix:///none%0Aforged%1B%5B2J%E2%80%AE";
    std::fs::write(&path, format!("listen = \"127.0.0.1:0\"\nbroker = \"{broker}\"\n{ROUTE}")).expect("written");
    for format in ["text", "json"] {
        let process = Process::spawn(command(&format!("gateway --config {} --log-format {format}", path.display())));
        process.stderr_line("listening on").await;
        let finished = process.terminate().await;
        assert!(finished.stderr.contains("forged"), "{}", finished.stderr);
        assert_harmless(&finished, format);
    }
}
