//! Steady requests over many connections, each for a name of its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use crate::http::{Answer, Connection};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Gateways, used in turn.
    pub(crate) gateways: Vec<SocketAddr>,
    pub(crate) connections: usize,
    /// How many requests in all, at most.
    pub(crate) requests_max: usize,
    /// How long each connection rests between an answer and the next request.
    pub(crate) rest: Duration,
}

/// Requests that are being sent.
pub(crate) struct Load {
    connections: JoinSet<Vec<Exchange>>,
    shared: Arc<Shared>,
}

struct Shared {
    plan: Plan,
    stopped: AtomicBool,
    sent: AtomicUsize,
    /// How many answers came, and how many of them were greetings.
    answered: watch::Sender<(usize, usize)>,
}

/// A request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    pub(crate) sent: Instant,
    pub(crate) took: Duration,
    pub(crate) answer: Answer,
}

impl Exchange {
    pub(crate) fn is_right(&self) -> bool {
        self.answer.is_greeting_of(&self.name)
    }
}

impl Load {
    pub(crate) fn start(plan: Plan) -> Self {
        let mut connections = JoinSet::new();
        let gateways = plan.gateways.clone().into_iter().cycle().take(plan.connections);
        let shared = Arc::new(Shared {
            plan,
            stopped: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            answered: watch::Sender::new((0, 0)),
        });
        for gateway in gateways {
            connections.spawn(Arc::clone(&shared).ask(gateway));
        }
        Self { connections, shared }
    }

    /// Waits until so many answers came.
    pub(crate) async fn answered(&self, count: usize) {
        self.until(|(answers, _)| answers >= count).await;
    }

    /// Waits until so many greetings more came.
    pub(crate) async fn greeted(&self, more: usize) {
        let before = self.shared.answered.borrow().1;
        self.until(|(_, greetings)| greetings >= before + more).await;
    }

    async fn until(&self, is_enough: impl Fn((usize, usize)) -> bool) {
        // The sender lives in `self`, so the channel cannot be closed.
        _ = self.shared.answered.subscribe().wait_for(|counts| is_enough(*counts)).await;
    }

    /// Sends no more, and waits for the answers to what was sent.
    pub(crate) async fn stop(self) -> Vec<Exchange> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until all is sent and answered.
    pub(crate) async fn finish(mut self) -> Vec<Exchange> {
        let mut exchanges = Vec::new();
        while let Some(connection) = self.connections.join_next().await {
            exchanges.extend(connection.expect("a connection that did not break"));
        }
        exchanges
    }
}

impl Shared {
    async fn ask(self: Arc<Self>, gateway: SocketAddr) -> Vec<Exchange> {
        let mut connection = Connection::open(gateway).await;
        let mut exchanges = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            if number >= self.plan.requests_max {
                break;
            }
            let (name, sent) = (format!("guest-{number}"), Instant::now());
            let answer = connection.greet(&name).await;
            let exchange = Exchange { name, sent, took: sent.elapsed(), answer };
            let is_right = exchange.is_right();
            exchanges.push(exchange);
            self.answered.send_modify(|(answers, greetings)| {
                *answers += 1;
                *greetings += usize::from(is_right);
            });
            if !self.plan.rest.is_zero() {
                tokio::time::sleep(self.plan.rest).await;
            }
        }
        assert!(!connection.has_more(), "a request was answered twice");
        exchanges
    }
}

/// Fails, and shows what came instead, unless each was greeted by its own name.
pub(crate) fn assert_all_right(exchanges: &[Exchange]) {
    let wrong: Vec<_> = exchanges.iter().filter(|exchange| !exchange.is_right()).collect();
    assert!(wrong.is_empty(), "{} of {} failed, the first: {:?}", wrong.len(), exchanges.len(), wrong[0]);
}
