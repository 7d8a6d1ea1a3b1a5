//! A rolling restart of everything but Redis, under load.

use std::{collections::BTreeMap, io, iter::zip, time::Duration};

use futures_util::future::join_all;
use streamerson::core::Topic;
use streamerson_test::Process;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    http::{Answer, Connection},
    scene::Gateway,
};
use crate::support::{Scene, json_of};

/// With the timeout that routes have by default.
const CONFIG: &str = r#"
[limits]
idle_grace = "20s"

[[route]]
method = "POST"
path = "/orders"
topic = "orders"
event = "order.update"
"#;

/// All of them together take fewer requests at a time than there are clients, so that some always wait in the stream.
const WORKER: &str = "echo orders --delay 5ms --concurrency 4";

const GATEWAYS: usize = 2;
const WORKERS: usize = 3;
const CLIENTS: usize = 16;
const ROUNDS: usize = 3;

/// A round: what is down at the same time, step by step.
const STEPS: [&[Part]; 4] =
    [&[Part::Gateway(0)], &[Part::Worker(0)], &[Part::Gateway(1), Part::Worker(1)], &[Part::Worker(2)]];

/// How many answers each client gets before the next step: the first may have been asked for before the last step, and
/// the second shows a client of a new gateway that it is there.
const ANSWERS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Gateway(usize),
    Worker(usize),
}

impl Part {
    fn all() -> impl Iterator<Item = Self> {
        (0..GATEWAYS).map(Self::Gateway).chain((0..WORKERS).map(Self::Worker))
    }
}

/// Two gateways, three workers, and what their clients know.
struct Fleet {
    scene: Scene,
    running: BTreeMap<Part, Process>,
    restarts: BTreeMap<Part, usize>,
    /// Where each gateway is, or was last; none once the clients are to stop.
    addresses: watch::Sender<Vec<String>>,
    account: watch::Sender<Account>,
}

/// What became of the requests of each client.
#[derive(Debug, Default)]
struct Account {
    asked: [u64; CLIENTS],
    answered: [u64; CLIENTS],
    failed: Vec<String>,
}

impl Fleet {
    async fn new() -> Self {
        let mut fleet = Self {
            scene: Scene::new().await,
            running: BTreeMap::new(),
            restarts: BTreeMap::new(),
            addresses: watch::Sender::new(vec![String::new(); GATEWAYS]),
            account: watch::Sender::default(),
        };
        for part in Part::all() {
            fleet.start(part).await;
        }
        fleet
    }

    /// Starts a process, and returns when it does its work; from then on clients know of it.
    async fn start(&mut self, part: Part) {
        let process = match part {
            Part::Gateway(index) => {
                let gateway = Gateway::start(&self.scene.server, &format!("gateway-{index}"), CONFIG).await;
                self.addresses.send_modify(|addresses| addresses[index] = gateway.address);
                gateway.process
            }
            Part::Worker(_) => {
                let worker = self.scene.start(WORKER);
                worker.stderr_line("consumer started").await;
                worker
            }
        };
        self.running.insert(part, process);
    }

    /// Tells processes to stop, all at once, and waits until they have.
    async fn stop(&mut self, parts: &[Part]) {
        let processes: Vec<_> =
            parts.iter().map(|part| self.running.remove(part).expect("a process that runs")).collect();
        let finished = join_all(processes.into_iter().map(Process::terminate)).await;
        for (part, finished) in zip(parts, finished) {
            assert_eq!(finished.status.code(), Some(0), "{part:?}: {}", finished.stderr);
        }
    }

    /// Puts new processes in the place of others. The clients go on while these are away, and once they are there.
    async fn restart(&mut self, parts: &[Part]) {
        self.stop(parts).await;
        self.progress(&format!("while {parts:?} are away")).await;
        for &part in parts {
            self.start(part).await;
            *self.restarts.entry(part).or_default() += 1;
        }
        self.progress(&format!("with new {parts:?}")).await;
    }

    /// Waits until every client has got answers, from now on.
    async fn progress(&self, when: &str) {
        let mut account = self.account.subscribe();
        let before = account.borrow().answered;
        let progress = account.wait_for(|now| zip(now.answered, before).all(|(now, before)| now >= before + ANSWERS));
        let progress = timeout(PATIENCE, progress).await;
        assert!(progress.is_ok(), "a client is stuck {when}: {:?}", self.account.borrow());
    }
}

/// A client that keeps its connection. It goes to a gateway of its own; when that ends, to the other one, until there is
/// a new one of its own.
struct Client {
    number: usize,
    addresses: watch::Receiver<Vec<String>>,
    /// The last address of its own gateway.
    home: String,
    connection: Option<Connection>,
}

impl Client {
    fn new(number: usize, addresses: watch::Receiver<Vec<String>>) -> Self {
        Self { number, addresses, home: String::new(), connection: None }
    }

    /// Asks one thing after the other until there are no gateways any more.
    async fn run(mut self, account: watch::Sender<Account>) {
        for request in 0.. {
            let addresses = self.addresses.borrow().clone();
            if addresses.is_empty() {
                break;
            }
            let body = format!("\"{} {request}\"", self.number);
            account.send_modify(|account| account.asked[self.number] += 1);
            let asked = self.ask(&addresses, &body).await;
            account.send_modify(|account| match asked {
                Ok(answer) if answer.status == 200 && answer.text() == body => account.answered[self.number] += 1,
                failed => account.failed.push(format!("{body}: {failed:?}")),
            });
        }
    }

    /// Asks once: there is no second try, not on a connection that was kept either. Nobody connects to a gateway that
    /// ends: the other one is there, and of a new one clients are told.
    async fn ask(&mut self, addresses: &[String], body: &str) -> io::Result<Answer> {
        let own = self.number % GATEWAYS;
        let mut connection = if addresses[own] != self.home {
            self.home.clone_from(&addresses[own]);
            Connection::open(&self.home).await?
        } else if let Some(connection) = self.connection.take() {
            connection
        } else {
            Connection::open(&addresses[(own + 1) % GATEWAYS]).await?
        };
        let answer = connection.exchange("POST /orders", &[], body).await?;
        self.connection = (!answer.is_last()).then_some(connection);
        Ok(answer)
    }
}

#[tokio::test]
async fn no_request_fails_while_gateways_and_workers_are_restarted() {
    let mut fleet = Fleet::new().await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Client::new(number, fleet.addresses.subscribe()).run(fleet.account.clone()));
    }
    fleet.progress("at the beginning").await;
    for _ in 0..ROUNDS {
        for parts in STEPS {
            fleet.restart(parts).await;
        }
    }
    fleet.addresses.send_modify(Vec::clear);
    clients.join_all().await;

    let account = fleet.account.borrow();
    assert!(account.failed.is_empty(), "{:#?}", account.failed);
    assert_eq!(account.asked, account.answered);
    drop(account);
    assert_eq!(fleet.restarts, Part::all().map(|part| (part, ROUNDS)).collect());
    fleet.stop(&Part::all().collect::<Vec<_>>()).await;

    // Nothing is left of any of them.
    let groups = json_of(&fleet.scene.run("groups orders --json").await);
    let [group] = groups.as_slice() else { panic!("{groups:?}") };
    for name in ["live", "dead", "pending"] {
        assert_eq!(group[name], 0, "{name} of {group}");
    }
    let inboxes = fleet.scene.server.command(["KEYS", "{default:orders}:re:*"]).await;
    assert!(inboxes.items().is_empty(), "{inboxes:?}");
    let dead = fleet.scene.broker.stream_info(&Topic::new("orders").unwrap().dead()).await.unwrap();
    assert_eq!(dead, None);
}
