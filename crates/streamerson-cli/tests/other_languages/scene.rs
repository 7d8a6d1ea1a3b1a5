//! A server, a gateway in front of it, and what the workers behind it must do.

use std::{process::Command, time::Duration};

use serde_json::{Value as Json, json};
use streamerson_test::{Process, RedisServer, Signal, Value, eventually};

use crate::{
    gateway::{Gateway, requests},
    http::Answer,
    language::Language,
};

const CONFIG: &str = include_str!("../../../../examples/polyglot/gateway.toml");
const STREAM: &str = "{default:orders}:in";
const DEAD: &str = "{default:orders}:dead";
/// A lease that a test can wait for.
const LEASE_MS: &str = "1500";

/// A server and a gateway.
pub(crate) struct Scene {
    pub(crate) server: RedisServer,
    gateway: Gateway,
}

impl Scene {
    /// Starts both, the gateway as the example configures it. Only its timeout is one for a busy machine.
    pub(crate) async fn new() -> Self {
        let server = RedisServer::spawn().await;
        let gateway = Gateway::start(&server, &CONFIG.replace("\"5s\"", "\"60s\"")).await;
        Self { server, gateway }
    }

    pub(crate) async fn every_request_is_answered(&self, language: Language) {
        let worker = self.start(language);
        for by in self.request_many(requests()).await {
            assert_eq!(by.as_deref(), Some(language.name()));
        }
        let ended = worker.terminate().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        // Nothing is left of it: no delivery, no member, no dead letter.
        assert_eq!(self.pending().await, 0);
        let members = self.server.command(["XINFO", "CONSUMERS", STREAM, "orders"]).await;
        assert_eq!(members.items().len(), 0, "{members:?}");
        assert_eq!(self.server.command(["EXISTS", DEAD]).await.int(), 0);
    }

    pub(crate) async fn a_gateway_that_dies_loses_what_it_was_asked_and_no_more(mut self, language: Language) -> u64 {
        let worker = self.start(language);
        let cut = self.gateway.ask_through_restarts(requests()).await;
        self.is_settled().await;
        assert_eq!(self.server.command(["EXISTS", DEAD]).await.int(), 0);
        assert_eq!(worker.terminate().await.status.code(), Some(0));
        cut
    }

    pub(crate) async fn what_is_malformed_is_a_dead_letter(&self, language: Language) {
        let bad: [&[&str]; 7] = [
            &["x", "1"],
            &["m", "order.get 1 -"],
            &["m", "- 1 - -", "p", "{}"],
            &["m", "order.get 1 - soon"],
            &["m", "order.get 1 - -", "h", "[]"],
            &["m", "order.get 1 - -", "h", r#"{"a":1}"#],
            &["m", "order.get 1 - -", "m", "order.get 1 - -", "d", "mine"],
        ];
        for fields in bad {
            self.add(fields).await;
        }
        let _worker = self.start(language);
        self.request_many(1).await;
        let letters = eventually("a dead letter for each malformed entry", async || {
            let letters = self.server.command(["XRANGE", DEAD, "-", "+"]).await;
            (letters.items().len() == bad.len()).then_some(letters)
        });
        for letter in letters.await.items() {
            let fields: Vec<_> = letter.items()[1].items().iter().map(Value::text).collect();
            let (original, [name, why]) = fields.split_at(fields.len() - 2) else { panic!("{fields:?}") };
            assert!(bad.contains(&original), "{original:?}");
            let why: Json = serde_json::from_str(why).unwrap();
            assert_eq!((*name, &why["reason"], &why["group"]), ("d", &json!("malformed"), &json!("orders")));
            assert!(why["entry"].as_str().is_some_and(|entry| entry.contains('-')), "{why}");
        }
        self.is_settled().await;
    }

    pub(crate) async fn what_fails_is_told_and_kept(&self, language: Language) {
        let _worker = self.start(language);
        // What a handler cannot read, and what has no handler.
        let failed = self.post("/orders/lookup", "text/plain", "no JSON").await;
        let unknown = self.post("/orders/cancel", "application/json", "{}").await;
        for (answer, status, title) in [(failed, 502, "Bad Gateway"), (unknown, 501, "Not Implemented")] {
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
            let problem: Json = serde_json::from_str(&answer.body).unwrap();
            assert_eq!((&problem["status"], &problem["title"]), (&json!(status), &json!(title)));
        }
        self.is_settled().await;
        let letters = self.server.command(["XRANGE", DEAD, "-", "+"]).await;
        let whys = letters.items().iter().map(|letter| {
            let why: Json = serde_json::from_str(letter.items()[1].items().last().unwrap().text()).unwrap();
            (why["reason"].as_str().unwrap().to_owned(), why["attempts"].as_u64().unwrap())
        });
        assert_eq!(whys.collect::<Vec<_>>(), [("failed".into(), 1), ("no-handler".into(), 0)]);
    }

    pub(crate) async fn what_is_too_late_or_for_another_group_is_not_run(&self, language: Language) {
        self.server.command(["XGROUP", "CREATE", "{default:orders}:re:late", "keep", "0", "MKSTREAM"]).await;
        // If a handler saw these, there would be replies or dead letters.
        self.add(&["m", "order.get late-1 late 1000", "p", r#"{"id":1}"#]).await;
        self.add(&["m", "no.such late-2 late 1000", "p", "{}"]).await;
        self.add(&["m", "cancel mine - -", "h", "", "p", ""]).await;
        self.add(&["m", "no.such other late -", "h", r#"{"Only.Group":"audit"}"#, "p", "{}"]).await;
        self.add(&["m", "order.get mine late -", "h", r#"{"only.group":"orders"}"#, "p", r#"{"id":3}"#]).await;
        let _worker = self.start(language);
        self.request_many(1).await;
        self.is_settled().await;
        let replies = self.server.command(["XRANGE", "{default:orders}:re:late", "-", "+"]).await;
        let lines: Vec<_> = replies.items().iter().map(|reply| reply.items()[1].items()[1].text()).collect();
        assert_eq!(lines, ["reply mine - -"]);
        assert_eq!(self.server.command(["EXISTS", DEAD]).await.int(), 0);
    }

    pub(crate) async fn it_shares_a_group_with_a_rust_worker(&self, language: Language) {
        let (worker, echo) = (self.start(language), self.start_echo());
        self.has_members(2).await;
        let replies = self.request_many(600).await;
        // The worker says who answered; echo says what it was asked.
        let theirs = replies.iter().filter(|by| by.as_deref() == Some(language.name())).count();
        assert!(theirs > 0 && theirs < replies.len(), "{theirs} of {}", replies.len());
        self.is_settled().await;
        for process in [worker, echo] {
            let ended = process.terminate().await;
            assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        }
    }

    pub(crate) async fn what_a_killed_one_held_another_handles(&self, language: Language) {
        let victim = self.start(language);
        let kill_half_way = async {
            loop {
                if read_so_far(&self.server.command(["XINFO", "GROUPS", STREAM]).await) >= 300 {
                    // Killed with something in its hands, and not between two batches.
                    victim.signal(Signal::Stop);
                    if self.pending().await > 0 {
                        break;
                    }
                    victim.signal(Signal::Continue);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            victim.kill().await;
            assert!(self.pending().await > 0);
            self.start(language)
        };
        let (replies, heir) = tokio::join!(self.request_many(1000), kill_half_way);
        assert_eq!(replies.len(), 1000);
        self.is_settled().await;
        assert_eq!(self.server.command(["EXISTS", DEAD]).await.int(), 0);
        assert_eq!(heir.terminate().await.status.code(), Some(0));
    }

    pub(crate) async fn a_group_that_is_gone_is_made_again(&self, language: Language) {
        let worker = self.start(language);
        self.request_many(1).await;
        self.server.command(["XGROUP", "DESTROY", STREAM, "orders"]).await;
        self.request_many(20).await;
        self.is_settled().await;
        assert_eq!(worker.terminate().await.status.code(), Some(0));
    }

    pub(crate) async fn it_survives_an_outage_and_stops_in_one(mut self, language: Language) {
        let worker = self.start(language);
        self.request_many(1).await;
        // It comes back empty, without the group.
        self.server.kill();
        self.server.start().await;
        self.has_members(1).await;
        eventually("a gateway that knows of it", async || {
            let answer = self.post("/orders/lookup", "application/json", r#"{"id":1}"#).await;
            (answer.status == 200).then_some(())
        })
        .await;
        self.request_many(20).await;
        self.server.kill();
        // There is nobody to say goodbye to, so its status is not that of a good end.
        worker.terminate().await;
    }

    /// Sends so many requests, many at a time; answers who says that they handled each.
    pub(crate) async fn request_many(&self, requests: u64) -> Vec<Option<String>> {
        self.gateway.ask(requests).await
    }

    async fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        self.gateway.post(path, content_type, body).await
    }

    async fn add(&self, fields: &[&str]) {
        let id = self.server.command(["XADD", STREAM, "*"].iter().chain(fields)).await;
        assert!(id.text().contains('-'), "{id:?}");
    }

    async fn pending(&self) -> i64 {
        self.server.command(["XPENDING", STREAM, "orders"]).await.items()[0].int()
    }

    async fn is_settled(&self) {
        eventually("no delivery pending", async || (self.pending().await == 0).then_some(())).await;
    }

    pub(crate) async fn has_members(&self, members: usize) {
        let what = format!("{members} members of the group");
        eventually(&what, async || {
            let infos = self.server.command(["XINFO", "CONSUMERS", STREAM, "orders"]).await;
            matches!(&infos, Value::Array(infos) if infos.len() == members).then_some(())
        })
        .await;
    }

    pub(crate) fn start(&self, language: Language) -> Process {
        let mut command = self.program(language, "worker", &["orders"]);
        command.env("LEASE_MS", LEASE_MS);
        Process::spawn(command)
    }

    pub(crate) fn start_echo(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamerson"));
        command.args(["echo", "orders", "--group", "orders"]).env("STREAMERSON_BROKER", self.server.url());
        Process::spawn(command)
    }

    /// A program of the protocol's page, for the topic `orders` and with these further arguments.
    pub(crate) fn program(&self, language: Language, program: &str, arguments: &[&str]) -> Command {
        let mut command = language.command(program);
        command.arg(self.server.url()).arg("default:orders").args(arguments);
        command
    }
}

/// How many entries the first group was given, ever, from what `XINFO GROUPS` says; 0 before there is one.
fn read_so_far(groups: &Value) -> i64 {
    let Value::Array(groups) = groups else { return 0 };
    let parts = groups.first().map_or(&[][..], Value::items);
    let at = parts.iter().position(|part| matches!(part, Value::Bulk(name) if name.as_ref() == b"entries-read"));
    match at.and_then(|at| parts.get(at + 1)) {
        Some(Value::Int(read)) => *read,
        _ => 0,
    }
}
