//! A gateway that can be ended and started again, and many requests to it.

use std::{env, fs, io, path::PathBuf, process::Command, time::Duration};

use futures_util::{StreamExt, stream};
use serde_json::Value as Json;
use streamerson_test::{Process, RedisServer};
use tokio::{sync::watch, time::sleep};

use crate::http::{self, Answer};

/// Requests that are under way at the same time.
const AT_ONCE: usize = 64;
/// How often a request is sent that no gateway takes, at most, and the pause in between.
const TRIES: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(10);

/// How many requests a worker gets where that matters.
pub(crate) fn requests() -> u64 {
    env::var("STREAMERSON_REQUESTS").map_or(10_000, |text| text.parse().expect("a number"))
}

pub(crate) struct Gateway {
    config: PathBuf,
    broker: String,
    process: Option<Process>,
    /// Where it listens, and each that takes its place.
    pub(crate) address: String,
}

impl Gateway {
    /// Starts one as a file says.
    pub(crate) async fn start(server: &RedisServer, config: &str) -> Self {
        let path = server.directory().join("gateway.toml");
        // Nobody waits on an idle connection here, and a busy machine may leave one without its request for a while.
        fs::write(&path, format!("{config}\n[limits]\nidle_grace = \"20s\"\n")).expect("a directory to write to");
        let mut gateway = Self { config: path, broker: server.url(), process: None, address: "127.0.0.1:0".to_owned() };
        gateway.listen().await;
        gateway
    }

    async fn listen(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamerson"));
        command.args(["gateway", "--listen", &self.address, "--broker", &self.broker, "--config"]).arg(&self.config);
        let process = Process::spawn(command);
        let line = process.stderr_line("listening on http://").await;
        self.address = line.strip_prefix("listening on http://").expect("an address").to_owned();
        self.process = Some(process);
    }

    /// Kills it as a crash would, and starts another in its place.
    pub(crate) async fn crash(&mut self) {
        self.process.take().expect("a gateway that runs").kill().await;
        self.listen().await;
    }

    /// Stops it as an upgrade does, and starts another in its place.
    pub(crate) async fn restart(&mut self) {
        let ended = self.process.take().expect("a gateway that runs").terminate().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        self.listen().await;
    }

    pub(crate) async fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let answer = http::post(&self.address, path, content_type, body).await;
        let log = || self.process.as_ref().map_or_else(String::new, Process::stderr);
        answer.unwrap_or_else(|error| panic!("{error}\n{}", log()))
    }

    /// Asks `/orders/lookup` so often, while the gateway dies once and is stopped once. Every request is answered but those
    /// whose connection broke when it died; answers how many those are.
    pub(crate) async fn ask_through_restarts(&mut self, requests: u64) -> u64 {
        let (progress, mut ended) = watch::channel(Ended::default());
        let address = self.address.clone();
        let asking = ask(&address, requests, &progress);
        let restarting = async {
            ended.wait_for(|ended| ended.all >= requests / 3).await.expect("requests that go on");
            self.crash().await;
            let cut = ended.wait_for(|ended| ended.all >= requests * 2 / 3).await.expect("requests that go on").cut;
            self.restart().await;
            cut
        };
        let (outcomes, cut) = tokio::join!(asking, restarting);
        // While the system takes a dead process apart, its port may take connections once more.
        assert!(cut <= 4 * AT_ONCE as u64, "{cut} of {requests} were cut off");
        let by_stop = ended.borrow().cut - cut;
        let how: Vec<_> = outcomes.iter().filter_map(Outcome::cut).collect();
        assert_eq!(by_stop, 0, "of {requests} were cut off by a gateway that was told to stop: {how:?}");
        cut
    }

    /// Asks `/orders/lookup` so often; answers who says that they handled each.
    pub(crate) async fn ask(&self, requests: u64) -> Vec<Option<String>> {
        let outcomes = ask(&self.address, requests, &watch::channel(Ended::default()).0).await;
        let by = |outcome| match outcome {
            Outcome::Answered { by } => by,
            Outcome::Cut(error) => panic!("a connection was cut off: {error}"),
        };
        outcomes.into_iter().map(by).collect()
    }
}

/// How many requests ended so far, and how many of them with their connection.
#[derive(Default)]
struct Ended {
    all: u64,
    cut: u64,
}

/// What became of a request.
enum Outcome {
    /// Answered rightly, by whom the answer says.
    Answered { by: Option<String> },
    /// Cut off with the connection that it was sent on.
    Cut(io::Error),
}

impl Outcome {
    fn cut(&self) -> Option<&io::Error> {
        match self {
            Self::Answered { .. } => None,
            Self::Cut(error) => Some(error),
        }
    }
}

async fn ask(address: &str, requests: u64, progress: &watch::Sender<Ended>) -> Vec<Outcome> {
    let asked = stream::iter(0..requests).map(|id| async move {
        let outcome = ask_one(address, id).await;
        progress.send_modify(|ended| {
            ended.all += 1;
            ended.cut += u64::from(outcome.cut().is_some());
        });
        outcome
    });
    asked.buffer_unordered(AT_ONCE).collect().await
}

/// Asks once, and again only where there was no gateway to ask.
async fn ask_one(address: &str, id: u64) -> Outcome {
    let body = format!(r#"{{"id":{id}}}"#);
    for _ in 0..TRIES {
        match http::post(address, "/orders/lookup", "application/json", &body).await {
            Ok(reply) => {
                assert_eq!(reply.status, 200, "{reply:?}");
                let answer: Json = serde_json::from_str(&reply.body).unwrap();
                assert_eq!(answer["id"], id, "{answer}");
                return Outcome::Answered { by: answer["by"].as_str().map(str::to_owned) };
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => sleep(PAUSE).await,
            Err(error) => return Outcome::Cut(error),
        }
    }
    panic!("nobody listens on {address} any more");
}
