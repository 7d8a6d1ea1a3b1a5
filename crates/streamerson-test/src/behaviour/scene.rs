//! The setting of a case: a fresh topic and group, members that answer, and looks at what the broker holds.

use std::time::Duration;

use streamerson_core::{
    Entry, EntryId, EventType, Message, MessageId, Name, Reply, SharedBroker, StreamKey, Topic, Wire,
    broker::{Append, GroupStart, Membership, Pending, PendingEntry, Range, ReclaimFrom},
    client::{Client, ClientConfig, Request},
    dead_letter::{DEAD_ENTRIES_MAX, DeadLetter},
    group::{Held, Member, MemberConfig, Outcome, Stopper},
};
use tokio::task::JoinHandle;

use crate::eventually;

/// A topic that no other case uses, and a group on it.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) broker: SharedBroker,
    pub(super) topic: Topic,
    pub(super) group: Name,
}

impl Scene {
    pub(super) fn new(broker: SharedBroker) -> Self {
        let topic = Topic::new(&Name::unique()).expect("a unique name is a topic");
        Self { broker, topic, group: Name::unique() }
    }

    /// The same topic and another group on it.
    pub(super) fn other_group(&self) -> Self {
        Self { group: Name::unique(), ..self.clone() }
    }

    /// Another topic on the same broker.
    pub(super) fn other_topic(&self) -> Self {
        Self::new(self.broker.clone())
    }

    pub(super) fn inbound(&self) -> StreamKey {
        self.topic.inbound()
    }

    pub(super) fn client(&self) -> Client {
        self.client_with(|_| {})
    }

    pub(super) fn client_with(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = ClientConfig::default();
        change(&mut config);
        Client::with_config(self.broker.clone(), config)
    }

    /// A member whose lease outlasts the case.
    pub(super) async fn member(&self) -> Member {
        self.member_with(|_| {}).await
    }

    pub(super) async fn member_with(&self, change: impl FnOnce(&mut MemberConfig)) -> Member {
        let mut config = MemberConfig::default();
        // A member that leaves waits for the end of its read.
        config.block = Duration::from_millis(200);
        change(&mut config);
        Member::join(self.broker.clone(), self.topic.clone(), self.group.clone(), config).await.expect("joined")
    }

    /// A member that answers each request with its payload.
    pub(super) async fn echo(&self) -> Worker {
        Worker::start(self.member().await, |held| Outcome::Replied(Reply::new(held.delivery.message.payload.clone())))
    }

    /// Appends events with these payloads, in order, in one batch.
    pub(super) async fn emit(&self, payloads: &[&str]) -> Vec<EntryId> {
        append(&self.broker, &self.inbound(), payloads.iter().map(|payload| event(payload))).await
    }

    /// Appends `count` events with their numbers as payloads.
    pub(super) async fn emit_many(&self, count: usize) -> Vec<EntryId> {
        let events = (0..count).map(|number| event(&number.to_string()));
        append(&self.broker, &self.inbound(), events).await
    }

    pub(super) async fn pending(&self) -> Vec<PendingEntry> {
        let pending = Pending {
            key: self.inbound(),
            group: self.group.clone(),
            member: None,
            from: EntryId::ZERO,
            count: 100_000,
        };
        self.broker.pending(pending).await.expect("the pending entries")
    }

    /// Waits until everything that was delivered is settled.
    pub(super) async fn all_settled(&self) {
        eventually("nothing is pending", async || self.pending().await.is_empty().then_some(())).await;
    }

    /// The members of the group, as the broker lists them.
    pub(super) async fn members(&self) -> Vec<String> {
        let members = self.broker.members(&self.inbound(), &self.group).await.expect("the members");
        members.into_iter().map(|member| member.name).collect()
    }

    /// Has a member that dies at once take this many new deliveries. Unlike a [`Member`] that is dropped it has no read
    /// under way, which could take one more.
    pub(super) async fn take(&self, deliveries: usize) {
        let (key, start) = (self.inbound(), GroupStart::After(EntryId::ZERO));
        self.broker.create_group(&key, &self.group, start).await.expect("a group");
        let mut reader = self.broker.group_reader(&Membership::new(key, self.group.clone()));
        let mut left = deliveries;
        while left > 0 {
            left -= reader.read(left, Duration::from_secs(1)).await.expect("deliveries").len();
        }
    }

    /// A stranger to the code under test, who takes over all that is pending, as if every lease had ended just now.
    pub(super) async fn steal(&self) -> Membership {
        let thief = Membership::new(self.inbound(), self.group.clone());
        let from = ReclaimFrom {
            membership: thief.clone(),
            lease: Duration::ZERO,
            cursor: EntryId::ZERO,
            count: 1000,
            handed_back_first: false,
            dead: self.topic.dead(),
            dead_entries_max: DEAD_ENTRIES_MAX,
        };
        self.broker.reclaim(from).await.expect("reclaimed");
        thief
    }

    /// How many entries a stream holds; `None` if there is no such stream.
    pub(super) async fn len(&self, key: &StreamKey) -> Option<u64> {
        self.broker.stream_info(key).await.expect("what is known of a stream").map(|info| info.len)
    }

    /// The dead letters of the topic, waiting for the first, with the entries that they were.
    pub(super) async fn dead_letters(&self) -> Vec<(DeadLetter, Entry)> {
        let entries = eventually("a dead letter", async || {
            Some(entries(&self.broker, &self.topic.dead()).await).filter(|entries| !entries.is_empty())
        })
        .await;
        let split = |Entry { id, fields }| {
            let (letter, fields) = DeadLetter::split(&fields).expect("a dead letter");
            (letter, Entry { id, fields })
        };
        entries.into_iter().map(split).collect()
    }
}

/// A member at work in a task of its own.
#[derive(Debug)]
pub(super) struct Worker {
    stopper: Stopper,
    task: JoinHandle<Member>,
}

impl Worker {
    /// Ends each delivery as `handle` says.
    pub(super) fn start<O: Into<Outcome>>(
        mut member: Member,
        mut handle: impl FnMut(&Held) -> O + Send + 'static,
    ) -> Self {
        let stopper = member.stopper();
        let task = tokio::spawn(async move {
            while let Some(held) = member.next().await {
                let outcome: Outcome = handle(&held).into();
                held.settle(outcome).await;
            }
            member
        });
        Self { stopper, task }
    }

    /// Stops taking, settles all and leaves.
    pub(super) async fn stop(self) {
        self.stopper.stop();
        let member = self.task.await.expect("the worker did not panic");
        assert_eq!(member.leave(Duration::from_secs(10)).await, 0, "all was handled");
    }
}

/// An event with a text as payload.
pub(super) fn event(payload: &str) -> Message {
    Message::new(event_type("happened"), payload.to_owned())
}

/// A request with a text as payload.
pub(super) fn request(payload: &str) -> Request {
    Request::new(event_type("asked"), payload.to_owned())
}

fn event_type(text: &'static str) -> EventType {
    EventType::for_user(text).expect("an event type")
}

pub(super) fn payload(held: &Held) -> String {
    text(&held.delivery.message)
}

pub(super) fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).expect("text")
}

/// Appends messages to any stream, in one batch.
pub(super) async fn append(
    broker: &SharedBroker,
    key: &StreamKey,
    messages: impl IntoIterator<Item = Message>,
) -> Vec<EntryId> {
    let fields = messages.into_iter().map(|message| Wire::default().encode(&message).expect("a message"));
    let batch = fields.map(|fields| Append::new(key.clone(), fields)).collect();
    let answers = broker.append(batch).await;
    answers.into_iter().map(|answer| answer.expect("appended").id.expect("an id")).collect()
}

/// Puts a reply into the inbox of a request, past all members.
pub(super) async fn reply_to(scene: &Scene, held: &Held, id: &MessageId, reply: Reply) {
    append(&scene.broker, &inbox_of(scene, held), [reply.into_message(id.clone())]).await;
}

/// Where the reply to a request goes.
pub(super) fn inbox_of(scene: &Scene, held: &Held) -> StreamKey {
    scene.topic.inbox(held.delivery.message.inbox.as_ref().expect("a request"))
}

/// All that a stream holds.
pub(super) async fn entries(broker: &SharedBroker, key: &StreamKey) -> Vec<Entry> {
    let (key, from, to) = (key.clone(), EntryId::ZERO, EntryId::MAX);
    broker.range(Range { key, from, to, count: 100_000, newest_first: false }).await.expect("a range")
}

/// All messages that a stream holds.
pub(super) async fn messages(broker: &SharedBroker, key: &StreamKey) -> Vec<Message> {
    let entries = entries(broker, key).await;
    entries.iter().map(|entry| Wire::default().decode(&entry.fields).expect("a message")).collect()
}

/// The next delivery of a member that goes on.
pub(super) async fn next(member: &mut Member) -> Held {
    member.next().await.expect("a delivery")
}
