//! The setting of a case: a fresh topic, its streams, and the members of a group.

use std::time::Duration;

use streamerson_core::{
    BrokerError, Entry, EntryId, Fields, Name, SharedBroker, StreamKey, Topic,
    broker::{
        Append, Delivered, Fence, GroupReader, GroupStart, Keep, Membership, Pending, PendingEntry, Range, ReclaimFrom,
        Reclaimed, Settlement,
    },
    dead_letter::DEAD_ENTRIES_MAX,
};

/// Longer than any case takes: a stand-in for "never".
pub(super) const FOREVER: Duration = Duration::from_secs(3600);

/// For reads that must not wait because what they want is there.
pub(super) const AT_ONCE: Duration = Duration::ZERO;

/// A topic that no other case uses, and a group on its inbound stream.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) broker: SharedBroker,
    pub(super) topic: Topic,
    /// The inbound stream.
    pub(super) key: StreamKey,
    pub(super) group: Name,
}

impl Scene {
    /// A topic without any stream.
    pub(super) fn new(broker: SharedBroker) -> Self {
        let topic = Topic::new(&Name::unique()).expect("a unique name is a topic");
        let key = topic.inbound();
        Self { broker, topic, key, group: Name::unique() }
    }

    /// A topic with a group that starts at the beginning of the inbound stream.
    pub(super) async fn with_group(broker: SharedBroker) -> Self {
        let scene = Self::new(broker);
        let is_new = scene.broker.create_group(&scene.key, &scene.group, GroupStart::After(EntryId::ZERO)).await;
        assert!(is_new.expect("the group is made"));
        scene
    }

    /// The same topic and another group on it.
    pub(super) async fn other_group(&self, start: GroupStart) -> Self {
        let other = Self { group: Name::unique(), ..self.clone() };
        assert!(self.broker.create_group(&self.key, &other.group, start).await.expect("the group is made"));
        other
    }

    /// Appends one entry to the inbound stream.
    pub(super) async fn append(&self, text: &str) -> EntryId {
        append_to(&self.broker, &self.key, text).await
    }

    /// Appends entries `0`, `1`, … to the inbound stream, in one batch.
    pub(super) async fn append_many(&self, count: usize) -> Vec<EntryId> {
        let batch = (0..count).map(|number| Append::new(self.key.clone(), fields(&number.to_string()))).collect();
        let answers = self.broker.append(batch).await;
        assert_eq!(answers.len(), count, "one answer for each entry");
        answers.into_iter().map(|answer| answer.expect("appended").id.expect("an id")).collect()
    }

    /// A member of the group, with a name of its own.
    pub(super) fn member(&self) -> Member {
        let membership = Membership::new(self.key.clone(), self.group.clone());
        let reader = self.broker.group_reader(&membership);
        Member { scene: self.clone(), membership, reader }
    }

    /// A member that holds `count` new entries, and their ids.
    pub(super) async fn holder(&self, count: usize) -> (Member, Vec<EntryId>) {
        self.append_many(count).await;
        let mut member = self.member();
        let deliveries = member.read(count).await;
        assert_eq!(deliveries.len(), count, "all are delivered at once");
        (member, ids(&deliveries))
    }

    /// Everything pending in the group.
    pub(super) async fn pending(&self) -> Vec<PendingEntry> {
        let pending = Pending {
            key: self.key.clone(),
            group: self.group.clone(),
            member: None,
            from: EntryId::ZERO,
            count: 100_000,
        };
        self.broker.pending(pending).await.expect("the pending entries")
    }

    /// The ids of everything pending in the group.
    pub(super) async fn pending_ids(&self) -> Vec<EntryId> {
        self.pending().await.into_iter().map(|entry| entry.id).collect()
    }

    /// Who holds this entry.
    pub(super) async fn owner(&self, id: EntryId) -> Option<String> {
        self.pending().await.into_iter().find(|entry| entry.id == id).map(|entry| entry.member)
    }

    /// An inbox that lives for as long as the case.
    pub(super) async fn inbox(&self) -> StreamKey {
        let key = self.topic.inbox(&Name::unique());
        self.keep(&key, FOREVER).await;
        key
    }

    /// Makes or refreshes a stream that goes after `ttl`.
    pub(super) async fn keep(&self, key: &StreamKey, ttl: Duration) {
        let keep = Keep { key: key.clone(), ttl, unless_epoch: None };
        self.broker.keep(vec![keep]).await.expect("the stream is kept");
    }

    /// Whether there is such a stream.
    pub(super) async fn exists(&self, key: &StreamKey) -> bool {
        self.broker.stream_info(key).await.expect("what is known of a stream").is_some()
    }

    /// How many entries the inbound stream holds.
    pub(super) async fn len(&self) -> u64 {
        self.broker.stream_info(&self.key).await.expect("what is known of a stream").expect("the stream").len
    }
}

/// One member of a scene's group.
#[derive(Debug)]
pub(super) struct Member {
    scene: Scene,
    pub(super) membership: Membership,
    reader: Box<dyn GroupReader>,
}

impl Member {
    /// Its name, as lists of pending entries show it.
    pub(super) fn name(&self) -> &str {
        &self.membership.member
    }

    /// New deliveries, without waiting.
    pub(super) async fn read(&mut self, count: usize) -> Vec<Delivered> {
        self.read_for(count, AT_ONCE).await.expect("a group read")
    }

    /// New deliveries, waiting for the first.
    pub(super) async fn read_for(&mut self, count: usize, block: Duration) -> Result<Vec<Delivered>, BrokerError> {
        self.reader.read(count, block).await
    }

    /// Settles with a look at the owner; answers the lost ids.
    pub(super) async fn settle(&self, batch: &[Settlement]) -> Vec<EntryId> {
        self.scene.broker.settle(&self.membership, batch, Fence::Check).await.expect("settled").lost
    }

    /// Acks all of these and asserts that none was lost.
    pub(super) async fn finish(&self, ids: &[EntryId]) {
        let batch: Vec<_> = ids.iter().copied().map(Settlement::done).collect();
        assert_eq!(self.settle(&batch).await, [], "lost while it was held");
    }

    /// Renews; answers the lost ids.
    pub(super) async fn renew(&self, ids: &[EntryId]) -> Vec<EntryId> {
        self.scene.broker.renew(&self.membership, ids.to_vec()).await.expect("renewed")
    }

    /// Gives these up.
    pub(super) async fn hand_back(&self, ids: &[EntryId]) {
        self.scene.broker.hand_back(&self.membership, ids.to_vec()).await.expect("handed back");
    }

    /// Goes off the group's list, if it can.
    pub(super) async fn leave(&self) -> bool {
        self.scene.broker.leave(&self.membership).await.expect("an answer to leaving")
    }

    /// One step of taking over.
    pub(super) async fn reclaim_step(&self, lease: Duration, count: usize, cursor: EntryId) -> Reclaimed {
        self.reclaim_by(ReclaimFrom { lease, count, cursor, ..self.reclaim_from() }).await
    }

    /// The same, with what was handed back at first.
    pub(super) async fn reclaim_handed_back(&self, lease: Duration, count: usize, cursor: EntryId) -> Reclaimed {
        self.reclaim_by(ReclaimFrom { lease, count, cursor, handed_back_first: true, ..self.reclaim_from() }).await
    }

    fn reclaim_from(&self) -> ReclaimFrom {
        ReclaimFrom {
            membership: self.membership.clone(),
            lease: Duration::ZERO,
            cursor: EntryId::ZERO,
            count: 1,
            handed_back_first: false,
            dead: self.scene.topic.dead(),
            dead_entries_max: DEAD_ENTRIES_MAX,
        }
    }

    async fn reclaim_by(&self, from: ReclaimFrom) -> Reclaimed {
        self.scene.broker.reclaim(from).await.expect("reclaimed")
    }

    /// Takes over all that was idle for a lease: deliveries and the ids of those whose entry is gone.
    pub(super) async fn reclaim(&self, lease: Duration) -> (Vec<Delivered>, Vec<EntryId>) {
        let (mut deliveries, mut trimmed, mut cursor) = (Vec::new(), Vec::new(), EntryId::ZERO);
        loop {
            let step = self.reclaim_step(lease, 100, cursor).await;
            deliveries.extend(step.deliveries);
            trimmed.extend(step.trimmed);
            cursor = step.cursor;
            if cursor == EntryId::ZERO {
                return (deliveries, trimmed);
            }
        }
    }

    /// Takes over everything pending, as if every lease had ended just now.
    pub(super) async fn steal(&self) -> Vec<Delivered> {
        self.reclaim(Duration::ZERO).await.0
    }
}

/// An entry with one field that holds the text.
pub(super) fn fields(text: &str) -> Fields {
    let mut fields = Fields::default();
    fields.push("m", text.to_owned());
    fields
}

/// The text of an entry made by [`fields`].
pub(super) fn text(entry: &Entry) -> String {
    let value = entry.fields.get(b"m").expect("the field of the test");
    String::from_utf8(value.to_vec()).expect("text")
}

/// The texts of entries made by [`fields`].
pub(super) fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(text).collect()
}

/// The ids of deliveries.
pub(super) fn ids(deliveries: &[Delivered]) -> Vec<EntryId> {
    deliveries.iter().map(|delivery| delivery.entry.id).collect()
}

/// Appends one entry to any stream.
pub(super) async fn append_to(broker: &SharedBroker, key: &StreamKey, text: &str) -> EntryId {
    let mut answers = broker.append(vec![Append::new(key.clone(), fields(text))]).await;
    assert_eq!(answers.len(), 1, "one answer for one entry");
    answers.remove(0).expect("appended").id.expect("an id")
}

/// All that a stream holds.
pub(super) async fn entries(broker: &SharedBroker, key: &StreamKey) -> Vec<Entry> {
    let (key, from, to) = (key.clone(), EntryId::ZERO, EntryId::MAX);
    broker.range(Range { key, from, to, count: 100_000, newest_first: false }).await.expect("a range")
}
