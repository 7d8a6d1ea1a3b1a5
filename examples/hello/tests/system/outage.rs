//! Redis dies under a steady load, stays away, and comes back with its data or without.

use std::time::{Duration, Instant};

use streamerson_test::{Process, RedisServer, RedisServerBuilder, Signal, eventually};

use crate::{
    fleet::{self, Gateway},
    http::{Answer, Connection},
    load::{Exchange, Load, Plan},
};

const OUTAGE: Duration = Duration::from_secs(5);
/// Longer than the outage, so that what is stored before it can be answered after it.
const TIMEOUT: Duration = Duration::from_secs(12);
/// After so long the loss is known: requests are refused at once. A first attempt to connect is waited for.
const NOTICED: Duration = Duration::from_secs(1);
/// After so long everything goes on. Attempts to reconnect are at most a second apart.
const RECOVERED: Duration = Duration::from_secs(3);
/// What is not waited for takes no longer, on a machine that is busy with something else.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Lines that a process may log about an outage.
const LINES_MAX: usize = 8;
/// Requests that are stored and not answered when Redis dies.
const CAUGHT: usize = 10;

struct Scene {
    server: RedisServer,
    gateways: Vec<Gateway>,
    workers: Vec<Process>,
}

/// What was answered.
struct Told {
    /// Requests of the steady load.
    load: Vec<Exchange>,
    /// The requests that were stored and not answered when Redis died.
    caught: Vec<Answer>,
    /// Just before Redis was killed: gateways notice it sooner than the test does.
    dying: Instant,
    died: Instant,
    back: Instant,
}

impl Scene {
    async fn start(server: RedisServerBuilder) -> Self {
        let server = server.spawn().await;
        let options = format!("--timeout {}", TIMEOUT.as_secs());
        let gateways = vec![Gateway::start(&server, &options).await, Gateway::start(&server, &options).await];
        let workers = vec![fleet::worker(&server, "").await, fleet::worker(&server, "").await];
        Self { server, gateways, workers }
    }

    fn lines(&self) -> Vec<usize> {
        self.processes().map(|process| process.stderr().lines().count()).collect()
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.gateways.iter().map(|gateway| &gateway.process).chain(&self.workers)
    }

    /// The outage, under load.
    async fn play(&mut self) -> Told {
        let gateways: Vec<_> = self.gateways.iter().map(|gateway| gateway.address).collect();
        let plan = Plan { gateways, connections: 8, requests_max: usize::MAX, rest: Duration::from_millis(20) };
        let load = Load::start(plan.clone());
        load.answered(100).await;

        // Nobody takes these until the workers thaw, after the outage.
        self.workers.iter().for_each(|worker| worker.signal(Signal::Stop));
        let before = fleet::appended_or_len(&self.server).await;
        let mut caught = tokio::task::JoinSet::new();
        for number in 0..CAUGHT {
            let gateway = self.gateways[number % self.gateways.len()].address;
            caught.spawn(async move { Connection::open(gateway).await.greet(&format!("caught-{number}")).await });
        }
        eventually("the requests are stored", async || {
            (fleet::appended_or_len(&self.server).await >= before + CAUGHT as i64).then_some(())
        })
        .await;

        let dying = Instant::now();
        self.server.kill();
        let died = Instant::now();
        self.workers.iter().for_each(|worker| worker.signal(Signal::Continue));
        // The load so far may wait for its answers as well; this one begins without any.
        let new = Load::start(plan);
        for process in self.processes() {
            process.stderr_line("lost redis").await;
        }
        tokio::time::sleep(OUTAGE.saturating_sub(died.elapsed())).await;
        self.server.start().await;
        let back = Instant::now();
        for process in self.processes() {
            process.stderr_line("redis is back").await;
        }
        new.greeted(100).await;
        let caught = caught.join_all().await;
        // What is sent from here on was sent long after the return.
        tokio::time::sleep(RECOVERED.saturating_sub(back.elapsed())).await;
        new.greeted(100).await;
        let mut exchanges = load.stop().await;
        exchanges.extend(new.stop().await);
        Told { load: exchanges, caught, dying, died, back }
    }

    async fn stop(self) {
        for process in self.gateways.into_iter().map(|gateway| gateway.process).chain(self.workers) {
            fleet::stop(process).await;
        }
    }
}

impl Told {
    /// What must hold whatever becomes of the data.
    fn check(&self) {
        for exchange in &self.load {
            let Exchange { sent, took, answer, .. } = exchange;
            let refused = answer.status == 503 && answer.retry_after;
            assert!(exchange.is_right() || refused || answer.status == 504, "{exchange:?}");
            assert!(*took < TIMEOUT + AT_ONCE + Duration::from_secs(1), "{exchange:?}");
            // Only what was stored and lost with the data can come to its deadline.
            assert!(
                answer.status != 504 || *sent < self.died,
                "{:?} after the return: {exchange:?}",
                *sent - self.back
            );
            if *sent + *took < self.dying || *sent > self.back + RECOVERED {
                assert!(exchange.is_right(), "{:?} after the loss: {exchange:?}", *sent - self.died);
            }
            if *sent > self.died + NOTICED && *sent + AT_ONCE < self.back {
                assert!(refused && *took < AT_ONCE, "{:?} after the loss: {exchange:?}", *sent - self.died);
            }
        }
        let count = |status| self.load.iter().filter(|exchange| exchange.answer.status == status).count();
        println!("{} greeted, {} refused, {} late; caught: {:?}", count(200), count(503), count(504), self.statuses());
        assert!(count(503) > 0, "nothing was asked during the outage");
    }

    fn statuses(&self) -> Vec<u16> {
        self.caught.iter().map(|answer| answer.status).collect()
    }
}

async fn outage(server: RedisServerBuilder) -> Told {
    let mut scene = Scene::start(server).await;
    let before = scene.lines();
    let told = scene.play().await;
    for ((process, before), after) in scene.processes().zip(before).zip(scene.lines()) {
        assert!(after - before <= LINES_MAX, "{}", process.stderr());
    }
    fleet::settled(&scene.server).await;
    scene.stop().await;
    told.check();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_data() {
    let told = outage(RedisServer::builder().setting("appendonly", "yes")).await;
    // All that was stored is answered, within its deadline.
    assert_eq!(told.statuses(), [200; CAUGHT], "{:?}", told.caught);
    let late = told.load.iter().find(|exchange| exchange.answer.status == 504);
    assert!(late.is_none(), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_data() {
    let told = outage(RedisServer::builder()).await;
    // They are gone with the server, and their callers learn of it no later than at their deadline.
    assert!(told.caught.iter().all(|answer| matches!(answer.status, 200 | 503 | 504)), "{:?}", told.caught);
}
