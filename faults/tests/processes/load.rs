//! Requests and events, and what whoever sent them heard.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use faults::{Job, now_micros};
use futures_util::{SinkExt, future::join_all};
use streamerson::{
    BrokerError, CallError, Client, Message,
    core::{EventType, client::Request},
};

use crate::fleet::topic;

/// Longer than any lease here and the time to notice that it is over, so that whatever is killed is made up for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// What became of what was sent, as its sender knows it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Requests, by id.
    pub(crate) requests: BTreeMap<String, Answer>,
    /// Events, by id: confirmed, or why not.
    pub(crate) events: BTreeMap<String, Result<(), CallError>>,
    /// What each of them asked for.
    pub(crate) jobs: BTreeMap<String, Job>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: Result<(), CallError>,
    pub(crate) took: Duration,
    /// When it came.
    pub(crate) at_micros: u64,
}

impl Sent {
    fn add(mut self, other: Self) -> Self {
        self.requests.extend(other.requests);
        self.events.extend(other.events);
        self.jobs.extend(other.jobs);
        self
    }

    /// Sends all of it once more, as events with the same ids.
    pub(crate) async fn repeat(&self, client: &Client) {
        let mut publisher = client.broker().publisher(topic().inbound());
        for (id, job) in &self.jobs {
            let message = Message::json("work", job).unwrap().with_id(id.parse().unwrap());
            publisher.feed(message).await.unwrap();
        }
        publisher.flush().await.unwrap();
    }
}

/// How much is sent, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) requests: usize,
    pub(crate) events: usize,
    /// Tasks that send, one after the other each.
    pub(crate) tasks: usize,
    pub(crate) takes_ms: u64,
}

/// Sends it all, and counts what has come to an end in `ended`.
pub(crate) async fn send(client: &Client, plan: Plan, ended: &Arc<AtomicUsize>) -> Sent {
    let client = client.with_timeout(TIMEOUT);
    let next = Arc::new(AtomicUsize::new(0));
    let tasks = (0..plan.tasks).map(|_| {
        let (client, next, ended) = (client.clone(), Arc::clone(&next), Arc::clone(ended));
        tokio::spawn(async move {
            let mut sent = Sent::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.requests + plan.events {
                    return sent;
                }
                // As many of each until one of them is all sent.
                let is_request = if number / 2 < plan.requests.min(plan.events) {
                    number % 2 == 0
                } else {
                    plan.requests > plan.events
                };
                let job = Job { key: number as u64 % 1000, number: number as u64, takes_ms: plan.takes_ms };
                send_one(&client, &job, is_request, &mut sent).await;
                ended.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    join_all(tasks).await.into_iter().map(Result::unwrap).fold(Sent::default(), Sent::add)
}

async fn send_one(client: &Client, job: &Job, is_request: bool, sent: &mut Sent) {
    let message = Message::json("work", job).unwrap();
    let (id, begun) = (message.id.to_string(), Instant::now());
    sent.jobs.insert(id.clone(), job.clone());
    if is_request {
        let ask = || {
            let request = Request::new(EventType::for_user("work").unwrap(), message.payload.clone());
            let (client, request) = (client.clone(), request.with_id(message.id.clone()));
            async move { client.request(&topic(), request).await }
        };
        let result = once_it_is_there(client, ask).await.map(|reply| {
            assert_eq!(reply.payload, job.number.to_string(), "its own answer");
        });
        sent.requests.insert(id, Answer { result, took: begun.elapsed(), at_micros: now_micros() });
    } else {
        let tell = || {
            let (client, message) = (client.clone(), message.clone());
            async move { client.emit(&topic(), message).await }
        };
        let confirmed = once_it_is_there(client, tell).await.map(|_| ());
        sent.events.insert(id, confirmed);
    }
}

/// While the broker is known to be away, nothing is done and that is said at once: whoever asks comes back when it is there.
async fn once_it_is_there<T, F>(client: &Client, send: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let begun = Instant::now();
    loop {
        match send().await {
            Err(CallError::Broker(BrokerError::Unavailable { .. })) if begun.elapsed() < TIMEOUT => {
                _ = client.broker().health().wait_for(|health| health.is_up()).await;
            }
            result => return result,
        }
    }
}
