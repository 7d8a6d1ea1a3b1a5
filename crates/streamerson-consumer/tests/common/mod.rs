//! A consumer on an embedded broker, and what a caller and an operator see of it.
#![allow(dead_code, clippy::unwrap_used)] // No file uses all of it, and a test may unwrap.

use std::time::Duration;

use streamerson_consumer::{Consumer, Reply, RunError, Topic};
use streamerson_core::{
    Client, EntryId, EventType, Fields, Message, Wire,
    broker::{Pending, Range, SharedBroker, StreamInfo, memory::Memory},
    client::Request,
    dead_letter::{DeadLetter, Reason},
};
use tokio::{sync::oneshot, task::JoinHandle};

pub(crate) fn topic() -> Topic {
    Topic::new("orders").unwrap()
}

pub(crate) fn consumer() -> Consumer {
    Consumer::new(topic())
}

/// A consumer that runs.
pub(crate) struct Running {
    pub(crate) broker: SharedBroker,
    pub(crate) client: Client,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Result<(), RunError>>,
}

impl Running {
    pub(crate) fn start(consumer: Consumer) -> Self {
        Self::start_on(Memory::new().into(), consumer)
    }

    pub(crate) fn start_on(broker: SharedBroker, consumer: Consumer) -> Self {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { _ = stopped.await };
        let run = tokio::spawn(consumer.run(SharedBroker::clone(&broker), shutdown));
        let client = Client::new(SharedBroker::clone(&broker)).with_timeout(Duration::from_secs(3600));
        Self { broker, client, stop: Some(stop), run }
    }

    pub(crate) async fn request(&self, event: &str, payload: &str) -> Reply {
        self.send(request(event, payload)).await
    }

    pub(crate) async fn send(&self, request: Request) -> Reply {
        self.client.request(&topic(), request).await.unwrap()
    }

    pub(crate) async fn emit(&self, event: &str, payload: &str) {
        let message = Message::new(EventType::new(event).unwrap(), payload.to_owned());
        self.client.emit(&topic(), message).await.unwrap();
    }

    /// The first dead letter and the message that it was, as soon as there is one.
    pub(crate) async fn dead_letter(&self) -> (DeadLetter, Message) {
        let mut reader = self.broker.reader();
        let read = reader.read(&[(topic().dead(), EntryId::ZERO)], 1, Duration::from_secs(60)).await.unwrap();
        split(&read.first().expect("a dead letter").entries[0].fields)
    }

    pub(crate) async fn dead_letters(&self) -> Vec<(DeadLetter, Message)> {
        entries(&self.broker, topic().dead()).await.iter().map(split).collect()
    }

    pub(crate) async fn pending(&self) -> usize {
        let (key, group) = (topic().inbound(), topic().name().clone());
        let pending = Pending { key, group, member: None, from: EntryId::ZERO, count: 1000 };
        self.broker.pending(pending).await.unwrap().len()
    }

    /// Waits until everything that was sent is settled. Under a paused clock each look is when nothing else can run.
    pub(crate) async fn idle(&self) {
        loop {
            let groups = self.broker.groups(&topic().inbound()).await.unwrap();
            let info = self.broker.stream_info(&topic().inbound()).await.unwrap();
            if let (Some(group), Some(StreamInfo { last, .. })) = (groups.first(), info)
                && group.pending == 0
                && group.last_delivered == last
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Tells the consumer to stop, and goes on at once.
    pub(crate) fn tell_to_stop(&mut self) {
        _ = self.stop.take().expect("not told before").send(());
    }

    pub(crate) async fn stopped(self) {
        self.run.await.unwrap().unwrap();
    }

    /// Drops the consumer where it stands.
    pub(crate) fn crash(self) {
        self.run.abort();
    }

    pub(crate) async fn stop(mut self) {
        self.tell_to_stop();
        self.stopped().await;
    }
}

pub(crate) fn request(event: &str, payload: &str) -> Request {
    Request::new(EventType::new(event).unwrap(), payload.to_owned())
}

/// What a stream holds.
pub(crate) async fn entries(broker: &SharedBroker, key: streamerson_core::StreamKey) -> Vec<Fields> {
    let range = Range { key, from: EntryId::ZERO, to: EntryId::MAX, count: 1000, newest_first: false };
    broker.range(range).await.unwrap().into_iter().map(|entry| entry.fields).collect()
}

pub(crate) async fn messages(broker: &SharedBroker, key: streamerson_core::StreamKey) -> Vec<Message> {
    entries(broker, key).await.iter().map(|fields| Wire::default().decode(fields).unwrap()).collect()
}

fn split(fields: &Fields) -> (DeadLetter, Message) {
    let (letter, original) = DeadLetter::split(fields).unwrap();
    (letter, Wire::default().decode(&original).unwrap())
}

pub(crate) fn status(reply: &Reply) -> u16 {
    reply.status_or_ok().as_u16()
}

pub(crate) fn reasons(letters: &[(DeadLetter, Message)]) -> Vec<Reason> {
    letters.iter().map(|(letter, _)| letter.reason).collect()
}
