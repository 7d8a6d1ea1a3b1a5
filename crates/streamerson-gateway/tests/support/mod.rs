//! A consumer in a few lines, on the broker port alone: the gateway must work with whatever speaks the protocol.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "it runs in tests alone")]

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use bytes::Bytes;
use serde_json::Value;
use streamerson_core::{
    Headers, Message, Name, Reply, SharedBroker, Topic, Wire,
    broker::{Append, Fence, GroupStart, Membership, ReplyAppend, Settlement, memory::Memory},
    client::Client,
};
use streamerson_gateway::Gateway;
use tokio::sync::mpsc;
use tower::ServiceExt;

/// Replies may be larger than by default.
const REPLIES: Wire = Wire { payload_bytes_max: 32 * 1024 * 1024 };

/// A broker, a gateway on it, and a topic.
pub(crate) struct Bench {
    pub(crate) broker: SharedBroker,
    pub(crate) gateway: Gateway,
    pub(crate) topic: Topic,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::over(Memory::new().into())
    }

    pub(crate) fn over(broker: SharedBroker) -> Self {
        let gateway = Gateway::new(Client::new(broker.clone()));
        Self { broker, gateway, topic: Topic::new("orders").unwrap() }
    }

    /// Answers the topic's requests; what `handle` leaves without a message is acked and never answered. Each message
    /// is also handed to the test.
    pub(crate) async fn consume(
        &self,
        handle: impl Fn(&Message) -> Option<Message> + Send + 'static,
    ) -> mpsc::UnboundedReceiver<Message> {
        let (topic, broker) = (self.topic.clone(), self.broker.clone());
        let group = Name::new("workers").unwrap();
        broker.create_group(&topic.inbound(), &group, GroupStart::After(Default::default())).await.unwrap();
        let membership = Membership::new(topic.inbound(), group);
        let (seen, messages) = mpsc::unbounded_channel();
        let mut reader = broker.group_reader(&membership);
        tokio::spawn(async move {
            loop {
                for delivered in reader.read(16, Duration::from_secs(2)).await.unwrap() {
                    let message = Wire::default().decode(&delivered.entry.fields).unwrap();
                    let reply = message.inbox.as_ref().zip(handle(&message)).map(|(inbox, reply)| ReplyAppend {
                        key: topic.inbox(inbox),
                        fields: REPLIES.encode(&reply).unwrap(),
                    });
                    let settlement = Settlement { reply, ..Settlement::done(delivered.entry.id) };
                    broker.settle(&membership, &[settlement], Fence::Check).await.unwrap();
                    _ = seen.send(message);
                }
            }
        });
        messages
    }

    /// Answers a message that was acked.
    pub(crate) async fn reply(&self, message: &Message, reply: Reply) {
        let inbox = self.topic.inbox(message.inbox.as_ref().unwrap());
        let fields = Wire::default().encode(&reply.into_message(message.id.clone())).unwrap();
        let append = Append { only_if_exists: true, ..Append::new(inbox, fields) };
        self.broker.append(vec![append]).await.remove(0).unwrap();
    }

    /// How many messages were ever appended to the topic.
    pub(crate) async fn appended(&self) -> u64 {
        self.broker.stream_info(&self.topic.inbound()).await.unwrap().map_or(0, |info| info.len)
    }
}

/// Answers with what the request was: its headers, and its payload as text.
pub(crate) fn echo(message: &Message) -> Option<Message> {
    let headers: &Headers = &message.headers;
    let payload = String::from_utf8_lossy(&message.payload);
    let shown = serde_json::json!({ "event": &*message.event, "headers": headers, "payload": payload });
    Some(Reply::new(shown.to_string()).into_message(message.id.clone()))
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

pub(crate) fn post(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", content_type).body(body.into()).unwrap()
}
