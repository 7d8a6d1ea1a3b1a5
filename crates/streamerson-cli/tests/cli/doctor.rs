//! `streamerson doctor`.

use serde_json::{Value, json};
use streamerson_test::{Finished, Process, RedisServer, eventually};

use crate::support::{Scene, assert_fails, command, json_of, run};

/// What was found, whatever the exit status.
fn findings(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The findings of a check that are as bad as this: topic and what.
#[track_caller]
fn found<'a>(findings: &'a [Value], check: &str, level: &str) -> Vec<(Option<&'a str>, &'a str)> {
    let wanted = findings.iter().filter(|finding| finding["check"] == check && finding["level"] == level);
    wanted.map(|finding| (finding["topic"].as_str(), finding["what"].as_str().unwrap())).collect()
}

async fn examine(server: &RedisServer, arguments: &str) -> Finished {
    Process::spawn(command(&format!("doctor {arguments} --broker {}", server.url()))).wait().await
}

#[tokio::test]
async fn a_broker_that_is_well_has_no_problems() {
    let server = RedisServer::builder()
        .setting("appendonly", "yes")
        .setting("maxmemory", "100mb")
        .setting("maxmemory-policy", "noeviction")
        .spawn()
        .await;
    let finished = examine(&server, "").await;
    let findings = json_of(&finished);
    assert!(findings.iter().all(|finding| finding["level"] == "ok" && finding["advice"].is_null()), "{findings:#?}");
    let checks: Vec<_> = findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    for check in [
        "connection",
        "clock",
        "server",
        "commands",
        "memory",
        "eviction",
        "persistence",
        "replication",
        "clients",
        "rights",
        "topics",
    ] {
        assert!(checks.contains(&check), "{check} is not in {checks:?}");
    }
    let human = examine(&server, "--human").await;
    assert!(human.stdout.starts_with("ok       connection    redis://127.0.0.1:"), "{}", human.stdout);
    assert!(human.stdout.ends_with("\nall is well\n"), "{}", human.stdout);
}

#[tokio::test]
async fn settings_that_lose_something_are_told() {
    let server = RedisServer::builder()
        .setting("maxmemory", "100mb")
        .setting("maxmemory-policy", "allkeys-lru")
        .setting("timeout", "5")
        .spawn()
        .await;
    let finished = examine(&server, "").await;
    assert_eq!(finished.status.code(), Some(1));
    let findings = findings(&finished);
    let [(None, eviction)] = found(&findings, "eviction", "problem")[..] else { panic!("{findings:#?}") };
    assert!(eviction.starts_with("allkeys-lru: a full server drops any stream"), "{eviction}");
    let [(None, persistence)] = found(&findings, "persistence", "warn")[..] else { panic!("{findings:#?}") };
    assert!(persistence.starts_with("nothing is kept on disk"), "{persistence}");
    assert_eq!(found(&findings, "clients", "warn").len(), 1);
    let human = examine(&server, "--human").await;
    assert!(human.stdout.contains("→ set maxmemory-policy noeviction"), "{}", human.stdout);
    assert!(human.stdout.trim_end().ends_with("1 problem, 2 warnings, 0 notes"), "{}", human.stdout);
}

/// A server whose last snapshot failed.
async fn with_failed_snapshot(stops_writes: &str) -> RedisServer {
    let server = RedisServer::builder()
        .setting("save", "3600 1")
        .setting("stop-writes-on-bgsave-error", stops_writes)
        .spawn()
        .await;
    // Where the snapshot was to go, there is a directory now.
    std::fs::create_dir(server.directory().join("dump.rdb")).unwrap();
    server.command(["XADD", "{default:orders}:in", "*", "m", "seen a - -"]).await;
    server.command(["BGSAVE"]).await;
    eventually("a failed snapshot", async || {
        let info = server.command(["INFO", "persistence"]).await;
        info.text().contains("rdb_last_bgsave_status:err").then_some(())
    })
    .await;
    server
}

#[tokio::test]
async fn a_snapshot_that_failed_is_a_problem() {
    let server = with_failed_snapshot("no").await;
    let found_there = findings(&examine(&server, "").await);
    assert_eq!(found(&found_there, "persistence", "problem"), [(None, "the last snapshot failed")]);
    // Such a server does not even answer a ping.
    let server = with_failed_snapshot("yes").await;
    let found_there = findings(&examine(&server, "").await);
    let [finding] = &found_there[..] else { panic!("{found_there:#?}") };
    assert!(finding["what"].as_str().unwrap().contains("MISCONF") && finding["level"] == "problem", "{finding}");
    assert!(finding["advice"].as_str().unwrap().contains("the room on its disk"), "{finding}");
}

#[tokio::test]
async fn what_waits_for_nobody_is_found() {
    let scene = Scene::new().await;
    for command in [
        "XADD {shop:orders}:in 1-1 m new.a.-.-",
        "XADD {shop:orders}:in 1-2 m new.b.-.-",
        "XGROUP CREATE {shop:orders}:in old 0",
        "XGROUP CREATE {shop:orders}:in done $",
        "XREADGROUP GROUP old one COUNT 1 STREAMS {shop:orders}:in >",
        "XGROUP DELCONSUMER {shop:orders}:in old one",
        "XADD {shop:orders}:dead 1-1 m new.a.-.-",
        "XADD {shop:views}:in 1-1 m new.a.-.-",
        "SET {shop:texts}:in text",
        "SADD {shop:texts}:later text",
        "XADD {shop:texts}:re:box 1-1 m x",
        "XADD {shop:texts}:re:good 1-1 m x",
        "PEXPIRE {shop:texts}:re:good 60000",
        "XADD {other:program}:index 1-1 m x",
    ] {
        scene.server.command(command.split(' ')).await;
    }
    let finished = scene.run("doctor").await;
    assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(1), ""));
    let findings = findings(&finished);
    let [(topic, what)] = found(&findings, "groups", "problem")[..] else { panic!("{findings:#?}") };
    assert!(topic == Some("shop:orders") && what.contains("the group old has no live member"), "{what}");
    assert!(what.contains("it blocks trimming"), "{what}");
    let notes = found(&findings, "groups", "note");
    assert!(notes[0].1.contains("the group done has no live member, and nothing waits for it"), "{notes:#?}");
    assert!(notes[1].0 == Some("shop:views") && notes[1].1.starts_with("1 entry and no group"), "{notes:#?}");
    assert_eq!(found(&findings, "dead-letters", "warn"), [(Some("shop:orders"), "1 dead letter")]);
    let keys = found(&findings, "keys", "problem");
    let expected = ["{shop:texts}:in holds a string and not a stream", "{shop:texts}:later holds a set and not a zset"];
    assert_eq!(keys.iter().map(|(_, what)| *what).collect::<Vec<_>>(), expected);
    assert_eq!(found(&findings, "inboxes", "warn"), [(None, "{shop:texts}:re:box lacks an expiry")]);

    // Only what is asked about.
    let some = json_of(&scene.run("doctor shop:views").await);
    assert!(found(&some, "keys", "problem").is_empty() && found(&some, "groups", "note").len() == 1, "{some:#?}");
}

#[tokio::test]
async fn live_members_are_no_problem() {
    let scene = Scene::new().await;
    scene.run("emit orders order.new").await;
    let echo = scene.start("echo orders");
    eventually("it is handled", async || (scene.pending_and_lag("orders", "echo").await?.0 == 0).then_some(())).await;
    let findings = json_of(&scene.run("doctor").await);
    assert!(findings.iter().all(|finding| finding["topic"].is_null()), "{findings:#?}");
    echo.terminate().await;
}

#[tokio::test]
async fn a_replica_takes_no_writes() {
    let primary = RedisServer::spawn().await;
    let replica = RedisServer::spawn().await;
    let port = primary.address().port().to_string();
    replica.command(["REPLICAOF", "127.0.0.1", &port]).await;
    eventually("the replica is online", async || {
        let info = primary.command(["INFO", "replication"]).await;
        info.text().contains("state=online").then_some(())
    })
    .await;
    let findings_of_primary = json_of(&examine(&primary, "").await);
    assert_eq!(found(&findings_of_primary, "replication", "ok"), [(None, "a primary with 1 replica, none behind")]);
    let finished = examine(&replica, "").await;
    assert_eq!(finished.status.code(), Some(1));
    let findings = findings(&finished);
    let [(None, what)] = found(&findings, "replication", "problem")[..] else { panic!("{findings:#?}") };
    assert!(what.starts_with("this is a replica"), "{what}");
}

#[tokio::test]
async fn few_rights_are_named_and_the_rest_goes_on() {
    let scene = Scene::new().await;
    scene.run("emit orders order.new").await;
    scene
        .server
        .command("ACL SETUSER few on >secret ~{default:orders}:in +ping +time +xinfo|stream +xinfo|groups".split(' '))
        .await;
    let url = format!("redis://few:secret@{}", scene.server.address());
    let finished = scene.run(&format!("doctor --broker {url} orders")).await;
    assert_eq!(finished.status.code(), Some(1));
    let findings = findings(&finished);
    assert!(found(&findings, "server", "note")[0].1.contains("this user may not ask (INFO)"), "{findings:#?}");
    let [(Some("default:orders"), rights)] = found(&findings, "rights", "problem")[..] else { panic!("{findings:#?}") };
    assert!(rights.contains("+xadd") && rights.contains("+xread ") && !rights.contains("+xinfo|stream"), "{rights}");
    assert_eq!(found(&findings, "groups", "note").len(), 1, "{findings:#?}");
    assert!(!finished.stdout.contains("secret") && !finished.stderr.contains("secret"));

    let all = scene.run(&format!("doctor --broker {url}")).await;
    assert!(all.stdout.contains("this user may not walk the keys"), "{}", all.stdout);
}

/// `doctor` examines each named topic: the rights of a user of one topic say nothing of another topic of its namespace.
#[tokio::test]
async fn users_of_one_topic_are_examined_on_each_topic_that_is_named() {
    let scene = Scene::new().await;
    let text = include_str!("../../../../docs/redis.md");
    for side in ["gateway", "worker"] {
        let line = text.lines().find(|line| line.starts_with(&format!("ACL SETUSER orders-{side} "))).expect("a line");
        assert_eq!(scene.server.command(line.split(' ')).await.text(), "OK");
        let password = line.split(' ').find_map(|word| word.strip_prefix('>')).expect("a password");
        let url = format!("redis://orders-{side}:{password}@{}", scene.server.address());
        let finished = scene.run(&format!("doctor --broker {url} shop:orders shop:payments")).await;
        let findings = findings(&finished);
        let [(Some("shop:orders"), enough)] = found(&findings, "rights", "note")[..] else { panic!("{findings:#?}") };
        let side = if side == "gateway" { "clients" } else { "workers" };
        assert!(enough.starts_with(&format!("enough for {side} of shop:orders, and not for")), "{enough}");
        let [(Some("shop:payments"), lacks)] = found(&findings, "rights", "problem")[..] else {
            panic!("{findings:#?}")
        };
        assert!(lacks.contains("~{shop:payments}:in"), "{lacks}");

        let finished = scene.run(&format!("doctor --broker {url} shop:orders --wire js")).await;
        assert!(found(&self::findings(&finished), "rights", "problem").is_empty(), "{}", finished.stdout);
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_a_problem_and_a_wrong_address_is_misuse() {
    let mut server = RedisServer::spawn().await;
    let url = server.url();
    server.stop().await;
    let finished = run(&format!("doctor --broker {url}")).await;
    assert_eq!(finished.status.code(), Some(1));
    let findings = findings(&finished);
    let [finding] = &findings[..] else { panic!("{findings:#?}") };
    assert_eq!((&finding["check"], &finding["level"]), (&json!("connection"), &json!("problem")));
    assert!(finding["what"].as_str().unwrap().contains("cannot be reached"), "{finding}");
    assert_fails(&run("doctor --broker memory://").await, 2, &["lives in one process"]);
    assert_fails(&run("doctor --broker http://x").await, 2, &["the scheme `http` is unknown"]);
}
