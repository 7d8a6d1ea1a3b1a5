//! The workers and the client in other languages that `PROTOCOL.md` prints, run as printed against a real server, our
//! own client and our own worker.
//!
//! Their libraries are installed once, under `target/`. `$STREAMERSON_REQUESTS` is how many requests each worker gets.

// The lint knows test functions, and not the helpers of a test.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::OnceLock,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::{Value as Json, json};
use streamerson::{
    Client, Reply, Topic,
    core::{EventType, client::Request},
};
use streamerson_test::{Process, RedisServer, Value, eventually};

const PROTOCOL: &str = include_str!("../../../PROTOCOL.md");
const STREAM: &str = "{default:orders}:in";
const DEAD: &str = "{default:orders}:dead";
/// A lease that a test can wait for.
const LEASE_MS: &str = "1500";

/// Makes the tests that every worker must pass.
macro_rules! worker {
    ($module:ident, $language:expr) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn every_request_is_answered_and_sigterm_ends_it() {
                Scene::new().await.every_request_is_answered($language).await;
            }

            #[tokio::test]
            async fn what_is_malformed_is_a_dead_letter() {
                Scene::new().await.what_is_malformed_is_a_dead_letter($language).await;
            }

            #[tokio::test]
            async fn what_fails_is_told_and_kept() {
                Scene::new().await.what_fails_is_told_and_kept($language).await;
            }

            #[tokio::test]
            async fn what_is_too_late_or_for_another_group_is_not_run() {
                Scene::new().await.what_is_too_late_or_for_another_group_is_not_run($language).await;
            }

            #[tokio::test]
            async fn it_shares_a_group_with_a_rust_worker() {
                Scene::new().await.it_shares_a_group_with_a_rust_worker($language).await;
            }

            #[tokio::test]
            async fn what_a_killed_one_held_another_handles() {
                Scene::new().await.what_a_killed_one_held_another_handles($language).await;
            }

            #[tokio::test]
            async fn a_group_that_is_gone_is_made_again() {
                Scene::new().await.a_group_that_is_gone_is_made_again($language).await;
            }
        }
    };
}

worker!(python, Language::Python);
worker!(node, Language::Node);

#[tokio::test]
async fn the_python_client_gets_the_replies_of_a_rust_worker() {
    let scene = Scene::new().await;
    let echo = scene.start_echo();
    let request = Process::spawn(scene.program(Language::Python, "client", &["order.get", r#"{"id":7}"#])).wait().await;
    assert_eq!((request.status.code(), &*request.stdout), (Some(0), "200 {\"id\":7}\n"), "{}", request.stderr);
    assert_eq!(echo.terminate().await.status.code(), Some(0));
    // It took its inbox away.
    let keys = scene.server.command(["KEYS", "*:re:*"]).await;
    assert_eq!(keys.items().len(), 0, "{keys:?}");
}

#[tokio::test]
async fn the_python_client_hears_errors_of_a_python_worker() {
    let scene = Scene::new().await;
    let _worker = scene.start(Language::Python);
    let request = Process::spawn(scene.program(Language::Python, "client", &["no.such", "{}"])).wait().await;
    assert!(request.stdout.starts_with("502 {"), "{}{}", request.stdout, request.stderr);
}

/// A server, and a client of ours.
struct Scene {
    server: RedisServer,
    client: Client,
}

impl Scene {
    async fn new() -> Self {
        let server = RedisServer::spawn().await;
        let broker = streamerson::connect(&server.url()).await.expect("a server that answers");
        Self { server, client: Client::new(broker).with_timeout(Duration::from_secs(60)) }
    }

    async fn every_request_is_answered(&self, language: Language) {
        let worker = self.start(language);
        let requests = env::var("STREAMERSON_REQUESTS").map_or(2000, |text| text.parse().expect("a number"));
        for (_, by) in self.request_many(requests).await {
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

    async fn what_is_malformed_is_a_dead_letter(&self, language: Language) {
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

    async fn what_fails_is_told_and_kept(&self, language: Language) {
        let _worker = self.start(language);
        let reply = self.request("no.such", "{}").await;
        assert!(reply.is_error);
        let problem = reply.problem();
        assert_eq!((problem.status.as_u16(), &*problem.title), (502, "Bad Gateway"));
        let reply = self.request("order.get", "no JSON").await;
        assert!(reply.is_error);
        self.is_settled().await;
        let letters = self.server.command(["XRANGE", DEAD, "-", "+"]).await;
        assert_eq!(letters.items().len(), 2, "{letters:?}");
        for letter in letters.items() {
            let why: Json = serde_json::from_str(letter.items()[1].items().last().unwrap().text()).unwrap();
            assert_eq!((&why["reason"], &why["attempts"]), (&json!("failed"), &json!(1)), "{why}");
        }
    }

    async fn what_is_too_late_or_for_another_group_is_not_run(&self, language: Language) {
        self.server.command(["XGROUP", "CREATE", "{default:orders}:re:late", "keep", "0", "MKSTREAM"]).await;
        // If a handler saw these, there would be replies or dead letters.
        self.add(&["m", "order.get late-1 late 1000", "p", r#"{"id":1}"#]).await;
        self.add(&["m", "no.such late-2 late 1000", "p", "{}"]).await;
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

    async fn it_shares_a_group_with_a_rust_worker(&self, language: Language) {
        let (worker, echo) = (self.start(language), self.start_echo());
        self.has_members(2).await;
        let replies = self.request_many(600).await;
        // The worker says who answered; echo says what it was asked.
        let theirs = replies.iter().filter(|(_, by)| by.as_deref() == Some(language.name())).count();
        assert!(theirs > 0 && theirs < replies.len(), "{theirs} of {}", replies.len());
        self.is_settled().await;
        for process in [worker, echo] {
            let ended = process.terminate().await;
            assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        }
    }

    async fn what_a_killed_one_held_another_handles(&self, language: Language) {
        let victim = self.start(language);
        let kill_half_way = async {
            loop {
                if read_so_far(&self.server.command(["XINFO", "GROUPS", STREAM]).await) >= 300 {
                    // Killed with something in its hands, and not between two batches.
                    victim.signal(streamerson_test::Signal::Stop);
                    if self.pending().await > 0 {
                        break;
                    }
                    victim.signal(streamerson_test::Signal::Continue);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            victim.kill().await;
            assert!(self.pending().await > 0);
            self.start(language)
        };
        let (replies, heir) = tokio::join!(self.request_many(1500), kill_half_way);
        assert_eq!(replies.len(), 1500);
        self.is_settled().await;
        assert_eq!(self.server.command(["EXISTS", DEAD]).await.int(), 0);
        assert_eq!(heir.terminate().await.status.code(), Some(0));
    }

    async fn a_group_that_is_gone_is_made_again(&self, language: Language) {
        let worker = self.start(language);
        self.request_many(1).await;
        self.server.command(["XGROUP", "DESTROY", STREAM, "orders"]).await;
        self.request_many(20).await;
        self.is_settled().await;
        assert_eq!(worker.terminate().await.status.code(), Some(0));
    }

    /// Sends so many requests, many at a time; answers who says that they handled each.
    async fn request_many(&self, requests: u64) -> Vec<(u64, Option<String>)> {
        let request = async |id: u64| {
            let reply = self.request("order.get", format!(r#"{{"id":{id}}}"#)).await;
            let answer: Json = serde_json::from_slice(&reply.payload).unwrap();
            assert_eq!((reply.status_or_ok().as_u16(), &answer["id"]), (200, &json!(id)), "{answer}");
            (id, answer["by"].as_str().map(str::to_owned))
        };
        stream::iter(0..requests).map(request).buffer_unordered(64).collect().await
    }

    async fn request(&self, event: &str, payload: impl Into<String>) -> Reply {
        let request = Request::new(EventType::new(event).unwrap(), payload.into());
        self.client.request(&Topic::new("orders").unwrap(), request).await.expect("a reply")
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

    async fn has_members(&self, members: usize) {
        let what = format!("{members} members of the group");
        eventually(&what, async || {
            let infos = self.server.command(["XINFO", "CONSUMERS", STREAM, "orders"]).await;
            matches!(&infos, Value::Array(infos) if infos.len() == members).then_some(())
        })
        .await;
    }

    fn start(&self, language: Language) -> Process {
        let mut command = self.program(language, "worker", &["orders"]);
        command.env("LEASE_MS", LEASE_MS);
        Process::spawn(command)
    }

    fn start_echo(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamerson"));
        command.args(["echo", "orders", "--group", "orders"]).env("STREAMERSON_BROKER", self.server.url());
        Process::spawn(command)
    }

    /// A program of the protocol's page, for the topic `orders` and with these further arguments.
    fn program(&self, language: Language, program: &str, arguments: &[&str]) -> Command {
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

#[derive(Clone, Copy)]
enum Language {
    Python,
    Node,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// Runs a program of the protocol's page, with its library installed.
    fn command(self, program: &str) -> Command {
        let directory = self.installed();
        let source = self.source(program);
        let name = match self {
            Self::Python => format!("{program}.py"),
            Self::Node => format!("{program}.mjs"),
        };
        // Beside the library, where Node looks for it. Put there whole, as other tests start the same one.
        let path = directory.join(name);
        if fs::read_to_string(&path).ok().as_deref() != Some(source) {
            let draft = directory.join(format!("{program}-{}-{:?}", process::id(), std::thread::current().id()));
            fs::write(&draft, source).expect("room under target/");
            fs::rename(&draft, &path).expect("room under target/");
        }
        let mut command = Command::new(self.interpreter());
        command.arg(path).env("PYTHONPATH", directory);
        command
    }

    fn interpreter(self) -> &'static str {
        match self {
            Self::Python => "python3",
            Self::Node => "node",
        }
    }

    /// The code as the page prints it.
    fn source(self, program: &str) -> &'static str {
        let (fence, library) = match self {
            Self::Python => ("```python\n", "# pip install "),
            Self::Node => ("```js\n", "// npm install "),
        };
        let is_wanted = |block: &&str| block.starts_with(library) && block.lines().next().unwrap().contains(program);
        let mut blocks = PROTOCOL.split(fence).skip(1).filter_map(|rest| rest.split("```").next());
        blocks.find(is_wanted).unwrap_or_else(|| panic!("PROTOCOL.md has no {program} in {}", self.name()))
    }

    /// The library and its version, as the page's first line says.
    fn library(self) -> &'static str {
        self.source("worker").split_whitespace().nth(3).expect("the library").trim_end_matches(';')
    }

    /// Where the library is installed. The first test to ask installs it; the next run finds it there.
    fn installed(self) -> &'static Path {
        static INSTALLED: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        INSTALLED[self as usize].get_or_init(|| {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}", self.name(), self.library()));
            if !directory.exists() {
                let draft = directory.with_extension(format!("draft-{}", process::id()));
                self.install(&draft);
                // Another run may have been quicker, and what it installed is as good.
                if let Err(error) = fs::rename(&draft, &directory) {
                    assert!(directory.exists(), "cannot make {}: {error}", directory.display());
                    fs::remove_dir_all(&draft).expect("what was just made");
                }
            }
            directory
        })
    }

    fn install(self, directory: &Path) {
        let mut command = match self {
            Self::Python => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
                pip
            }
            Self::Node => {
                let mut npm = Command::new("npm");
                npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
                npm
            }
        };
        command.arg(directory).arg(self.library());
        let why = match command.output() {
            Ok(output) if output.status.success() => return,
            Ok(Output { status, stdout, stderr }) => {
                format!("{status}\n{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such program".into(),
            Err(error) => error.to_string(),
        };
        let _ = fs::remove_dir_all(directory);
        panic!(
            "the library {} was not installed: {command:?}: {why}\nThese tests need Python 3.8 or later with pip, Node 20 \
             or later with npm, and the package registries",
            self.library()
        );
    }
}
