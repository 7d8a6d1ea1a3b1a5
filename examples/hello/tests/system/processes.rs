//! Two gateways, three workers, one Redis.

use std::{env, time::Instant};

use streamerson_test::{Process, RedisServer, Signal, eventually};

use crate::{
    fleet::{self, Gateway},
    load::{Exchange, Load, Plan, assert_all_right},
};

const CONNECTIONS: usize = 64;
/// How much more memory a process may have at the end of the load than after its first tenth, in MiB.
const GROWTH_MAX: usize = 24;

struct Fleet {
    server: RedisServer,
    gateways: [Gateway; 2],
    workers: Vec<Process>,
}

impl Fleet {
    async fn start() -> Self {
        let server = RedisServer::spawn().await;
        let (gateway, worker) = ("--timeout 15", "--lease 2");
        let gateways = [Gateway::start(&server, gateway).await, Gateway::start(&server, gateway).await];
        let mut workers = Vec::new();
        for _ in 0..3 {
            workers.push(fleet::worker(&server, worker).await);
        }
        Self { server, gateways, workers }
    }

    fn load(&self) -> Load {
        Load::start(Plan {
            gateways: self.gateways.iter().map(|gateway| gateway.address).collect(),
            connections: CONNECTIONS,
            requests_max: requests(),
            rest: std::time::Duration::ZERO,
        })
    }

    fn memory(&self) -> Vec<Option<usize>> {
        let gateways = self.gateways.iter().map(|gateway| &gateway.process);
        gateways.chain(&self.workers).map(fleet::resident_mib).collect()
    }

    /// What must hold after any load in which no request failed; `dead` is the member that was killed, if one was.
    async fn end(self, exchanges: &[Exchange], dead: Option<&str>) {
        let Self { server, gateways, workers } = self;
        assert_eq!(exchanges.len(), requests());
        assert_all_right(exchanges);
        fleet::settled(&server).await;
        fleet::trimmed(&server, fleet::INBOUND).await;
        assert_eq!(fleet::len(&server, fleet::DEAD).await, 0);
        let sent = fleet::appended(&server, fleet::INBOUND).await;
        let inboxes = fleet::inboxes(&server).await;
        assert_eq!(inboxes.len(), gateways.len());
        let mut replies = sent.map(|_| 0);
        for inbox in &inboxes {
            fleet::trimmed(&server, inbox).await;
            replies = replies.zip(fleet::appended(&server, inbox).await).map(|(sum, count)| sum + count);
        }
        // Each request was appended once. A reply and its ack are one step, so none of them was answered twice either.
        assert!(sent.is_none_or(|sent| sent == requests() as i64), "{sent:?} appended");
        assert_eq!(replies, sent);

        for gateway in gateways {
            quiet(&fleet::stop(gateway.process).await);
        }
        assert_eq!(fleet::inboxes(&server).await, [] as [String; 0]);
        for worker in workers {
            quiet(&fleet::stop(worker).await);
        }
        let left = fleet::members(&server).await;
        // `-` is nobody: the name under which deliveries are handed back.
        let may_stay = |name: &str| name == "-" || Some(name) == dead;
        assert!(left.iter().all(|(name, pending)| may_stay(name) && *pending == 0), "{left:?}");
    }
}

/// Nothing is logged that anybody would have to look into.
fn quiet(stderr: &str) {
    assert!(!stderr.contains("WARN") && !stderr.contains("ERROR") && stderr.lines().count() <= 4, "{stderr}");
}

/// How many requests a test sends.
fn requests() -> usize {
    env::var("STREAMERSON_REQUESTS").map_or(5000, |requests| requests.parse().expect("a number of requests"))
}

async fn holds(server: &RedisServer, member: &str) -> bool {
    fleet::members(server).await.iter().any(|(name, pending)| name == member && *pending > 0)
}

fn report(what: &str, started: Instant, exchanges: &[Exchange]) {
    let elapsed = started.elapsed();
    let mut took: Vec<_> = exchanges.iter().map(|exchange| exchange.took).collect();
    took.sort_unstable();
    let rate = exchanges.len() as f64 / elapsed.as_secs_f64();
    let [half, most, all] = [took.len() / 2, took.len() * 99 / 100, took.len() - 1].map(|index| took[index]);
    println!(
        "{what}: {} requests in {elapsed:.1?}, {rate:.0}/s, p50 {half:.1?}, p99 {most:.1?}, max {all:.1?}",
        exchanges.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_gets_its_own_answer_once() {
    let fleet = Fleet::start().await;
    let (started, load) = (Instant::now(), fleet.load());
    load.answered(requests() / 10).await;
    let before = fleet.memory();
    let exchanges = load.finish().await;
    report("steady", started, &exchanges);
    let after = fleet.memory();
    println!("memory in MiB, gateways first: {before:?} after a tenth, {after:?} at the end");
    let grown = before.iter().zip(&after).any(|(before, after)| after > &before.map(|before| before + GROWTH_MAX));
    assert!(!grown, "MiB before and after: {before:?}, {after:?}");
    fleet.end(&exchanges, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_worker_fails_no_request() {
    let mut fleet = Fleet::start().await;
    let (started, load) = (Instant::now(), fleet.load());
    load.answered(requests() / 2).await;
    let stderr = fleet::stop(fleet.workers.remove(0)).await;
    assert!(stderr.contains("consumer stopped"), "{stderr}");
    let exchanges = load.finish().await;
    report("SIGTERM to a worker", started, &exchanges);
    fleet.end(&exchanges, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_worker_fails_no_request() {
    let mut fleet = Fleet::start().await;
    let (started, load) = (Instant::now(), fleet.load());
    load.answered(requests() / 4).await;
    let worker = fleet.workers.remove(0);
    let name = fleet::member_name(&worker).await;
    // Frozen first, so that it dies with deliveries in its hands; it may have none at that moment.
    eventually("the worker has deliveries", async || {
        worker.signal(Signal::Stop);
        // Twice, as the server may have had acks before it that it had not read yet.
        let has_some = holds(&fleet.server, &name).await && holds(&fleet.server, &name).await;
        if !has_some {
            worker.signal(Signal::Continue);
        }
        has_some.then_some(())
    })
    .await;
    worker.kill().await;
    let exchanges = load.finish().await;
    report("SIGKILL to a worker, lease 2 s", started, &exchanges);
    assert!(exchanges.iter().any(|exchange| exchange.took.as_secs() >= 1), "nothing was taken over");
    fleet.end(&exchanges, Some(&name)).await;
}
