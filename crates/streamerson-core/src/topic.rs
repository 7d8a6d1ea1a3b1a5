//! Topics and the keys of their streams.

use std::{fmt, str::FromStr};

use bytestring::ByteString;

use crate::{
    name::{InvalidName, MessageId, Name},
    wire::{JS_ENTRIES_MAX, WireFormat},
};

/// What stands after the hash tag in the key of each stream of a topic.
const IN: &str = "in";
const OUT: &str = "out";
const DEAD: &str = "dead";
/// How many entries the stream of events for everyone keeps, about, unless a member is told otherwise. Nobody acks what it
/// holds, so nothing tells when one is finished.
pub(crate) const OUT_ENTRIES_MAX: u64 = 100_000;

/// The name of the inbox follows.
const INBOX: &str = "re:";
/// What stands behind the topic in the keys of the original's format.
const JS_IN: &str = "::CONSUMER_INCOMING";
const JS_OUT: &str = "::PRODUCER_OUTGOING";

/// A named domain of messages, which owns its streams: `name`, `namespace:name` or `namespace:name#shard`.
///
/// ```
/// use streamerson_core::Topic;
///
/// let topic: Topic = "shop:orders".parse()?;
/// assert_eq!(topic.inbound().as_str(), "{shop:orders}:in");
/// assert_eq!(Topic::new("orders")?.to_string(), "default:orders");
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    namespace: Name,
    name: Name,
    shard: Option<u32>,
    wire: WireFormat,
}

impl Topic {
    /// Parses `name`, `namespace:name` or `namespace:name#shard`; the namespace is `default` when it is not given.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when a part is not a name, or the shard is not a number.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let (path, shard) = match text.split_once('#') {
            Some((path, shard)) => (path, Some(parse_shard(text, shard)?)),
            None => (text, None),
        };
        let (namespace, name) = path.split_once(':').unwrap_or(("default", path));
        Ok(Self { namespace: Name::new(namespace)?, name: Name::new(name)?, shard, wire: WireFormat::V1 })
    }

    /// The topic of the same name that speaks this format. It is another topic: the keys of its streams are others.
    ///
    /// ```
    /// use streamerson_core::{Topic, wire::WireFormat};
    ///
    /// let topic = Topic::new("shop:orders")?.with_wire(WireFormat::Js);
    /// assert_eq!(topic.inbound().as_str(), "shop::orders::CONSUMER_INCOMING");
    /// # Ok::<(), streamerson_core::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_wire(&self, wire: WireFormat) -> Self {
        Self { wire, ..self.clone() }
    }

    /// The format of what its streams hold.
    #[must_use]
    pub fn wire(&self) -> WireFormat {
        self.wire
    }

    /// A new id for a message of this topic: a ULID, or a UUID where it speaks the original's format, as there. Any other
    /// [`MessageId`] will do as well.
    #[must_use]
    pub fn new_message_id(&self) -> MessageId {
        if self.is_js() { MessageId::unique_uuid() } else { MessageId::unique() }
    }

    /// Whether it speaks the original's format.
    pub(crate) fn is_js(&self) -> bool {
        self.wire == WireFormat::Js
    }

    /// How many entries an append leaves in its streams, where appends see to that.
    pub(crate) fn entries_max(&self) -> Option<u64> {
        self.is_js().then_some(JS_ENTRIES_MAX)
    }

    /// The namespace; `default` unless another was given.
    #[must_use]
    pub fn namespace(&self) -> &Name {
        &self.namespace
    }

    /// The name within the namespace.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Which part of a sharded topic this is.
    #[must_use]
    pub fn shard(&self) -> Option<u32> {
        self.shard
    }

    /// The part with this number of the same topic.
    #[must_use]
    pub fn with_shard(&self, shard: u32) -> Self {
        Self { shard: Some(shard), ..self.clone() }
    }

    /// The topic that this is a shard of, or the topic itself.
    pub(crate) fn whole(&self) -> Self {
        Self { shard: None, ..self.clone() }
    }

    /// The stream of requests and events: `{ns:topic}:in`, or `ns::topic::CONSUMER_INCOMING`.
    #[must_use]
    pub fn inbound(&self) -> StreamKey {
        if self.is_js() { self.js_key(JS_IN) } else { self.key(IN, "") }
    }

    /// The stream of events for everyone: `{ns:topic}:out`. In the original's format it holds all replies too:
    /// `ns::topic::PRODUCER_OUTGOING`.
    #[must_use]
    pub fn outbound(&self) -> StreamKey {
        if self.is_js() { self.js_key(JS_OUT) } else { self.key(OUT, "") }
    }

    /// The stream of dead letters: `{ns:topic}:dead`.
    #[must_use]
    pub fn dead(&self) -> StreamKey {
        self.key(DEAD, "")
    }

    /// The stream of replies to one client process: `{ns:topic}:re:<inbox>`. In the original's format all clients share
    /// [`Topic::outbound`].
    #[must_use]
    pub fn inbox(&self, inbox: &Name) -> StreamKey {
        if self.is_js() { self.outbound() } else { self.key(INBOX, inbox) }
    }

    pub(crate) fn key(&self, stream: &str, inbox: &str) -> StreamKey {
        if self.is_js() {
            // The original's keys have no tag, so the whole key of the inbound stream is the tag of what belongs to it.
            return StreamKey(["{", self.js_key(JS_IN).as_str(), "}:", stream, inbox].concat().into());
        }
        let shard = self.shard_text();
        // Joined rather than formatted, which costs several times as much: every reply needs the key of its inbox.
        StreamKey(["{", &self.namespace, ":", &self.name, &shard, "}:", stream, inbox].concat().into())
    }

    fn js_key(&self, suffix: &str) -> StreamKey {
        StreamKey([&self.namespace, "::", &self.name, &self.shard_text(), suffix].concat().into())
    }

    fn shard_text(&self) -> String {
        self.shard.map_or_else(String::new, |shard| format!("#{shard}"))
    }
}

fn parse_shard(text: &str, shard: &str) -> Result<u32, InvalidName> {
    let canonical = shard.bytes().all(|byte| byte.is_ascii_digit()) && (shard == "0" || !shard.starts_with('0'));
    match shard.parse() {
        // Only the canonical form: `#03` and `#3` would be two topics with one meaning.
        Ok(number) if canonical => Ok(number),
        _ => Err(InvalidName::new("topic", "what follows the # is the number of a shard, as in orders#3", text)),
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)?;
        match self.shard {
            Some(shard) => write!(f, "#{shard}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({self})")
    }
}

impl FromStr for Topic {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Topic {
    type Error = InvalidName;

    fn try_from(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

/// The key of one stream, as the broker knows it. Cheap to clone.
///
/// The keys of a topic come from [`Topic`]; [`StreamKey::raw`] names any other stream.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(ByteString);

impl StreamKey {
    /// The key with exactly this text.
    #[must_use]
    pub fn raw(text: impl Into<ByteString>) -> Self {
        Self(text.into())
    }

    /// The text of the key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash tag: what lies between the first `{` and the next `}`, or the whole key where there is none.
    ///
    /// Keys with the same tag share a slot of a Redis Cluster, so one transaction can span them
    /// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).
    #[must_use]
    pub fn tag(&self) -> &str {
        let tagged = self.0.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        match tagged {
            Some((tag, _)) if !tag.is_empty() => tag,
            _ => &self.0,
        }
    }
}

impl StreamKey {
    /// The topic whose stream this is; `None` for a key that no topic makes.
    ///
    /// ```
    /// use streamerson_core::{StreamKey, Topic};
    ///
    /// let topic = Topic::new("shop:orders")?;
    /// assert_eq!(topic.dead().topic(), Some(topic));
    /// assert_eq!(StreamKey::raw("sessions").topic(), None);
    /// # Ok::<(), streamerson_core::InvalidName>(())
    /// ```
    #[must_use]
    pub fn topic(&self) -> Option<Topic> {
        if let Some(topic) = self.js_topic() {
            return Some(topic);
        }
        let (topic, stream) = self.0.strip_prefix('{')?.split_once("}:")?;
        if stream == DEAD && topic.ends_with(JS_IN) {
            return Self::raw(topic.to_owned()).js_topic();
        }
        // A key always spells the namespace out: `{orders}:in` is nobody's, and not the stream of `default:orders`.
        let topic = topic.contains(':').then(|| Topic::new(topic).ok()).flatten()?;
        let is_ours = match stream.strip_prefix(INBOX) {
            Some(inbox) => Name::new(inbox.to_owned()).is_ok(),
            None => [IN, OUT, DEAD].contains(&stream),
        };
        is_ours.then_some(topic)
    }

    /// Whether this is the stream of events for everyone of some topic.
    pub(crate) fn is_outbound(&self) -> bool {
        self.0.strip_suffix(OUT).is_some_and(|tag| tag.ends_with("}:")) && self.topic().is_some()
    }

    /// The topic of the original's format whose stream this is, in or out. Cheap for any other key.
    pub(crate) fn js_topic(&self) -> Option<Topic> {
        let path = self.0.strip_suffix(JS_IN).or_else(|| self.0.strip_suffix(JS_OUT))?;
        let (namespace, name) = path.split_once("::")?;
        Some(Topic::new(&[namespace, ":", name].concat()).ok()?.with_wire(WireFormat::Js))
    }

    /// Whether this is the inbox of a client on some topic.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        let is_inbox = |(_, stream): (&str, &str)| stream.starts_with(INBOX);
        self.0.split_once("}:").is_some_and(is_inbox) && self.topic().is_some()
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_topic_carries_its_tag() {
        let topic = Topic::new("shop:orders#3").unwrap();
        let inbox = Name::new("01J").unwrap();
        let keys = [topic.inbound(), topic.outbound(), topic.dead(), topic.inbox(&inbox)];
        let texts: Vec<_> = keys.iter().map(StreamKey::as_str).collect();
        let expected = ["{shop:orders#3}:in", "{shop:orders#3}:out", "{shop:orders#3}:dead", "{shop:orders#3}:re:01J"];
        assert_eq!(texts, expected);
        assert!(keys.iter().all(|key| key.tag() == "shop:orders#3"));
    }

    #[test]
    fn topics_parse_and_print() {
        for (text, printed) in [("a", "default:a"), ("n:a", "n:a"), ("n:a#0", "n:a#0"), ("a#12", "default:a#12")] {
            assert_eq!(Topic::new(text).unwrap().to_string(), printed);
        }
        for bad in ["", ":", "a:", ":a", "a:b:c", "a#", "a#x", "a#03", "a#-1", "a#+1", "{a}", "a b", "a#4294967296"] {
            assert!(Topic::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_knows_its_topic() {
        let inbox = Name::new("01J").unwrap();
        for text in ["shop:orders", "default:a", "n:a#0", "a.b:c_d#12"] {
            let topic = Topic::new(text).unwrap();
            for key in [topic.inbound(), topic.outbound(), topic.dead()] {
                assert_eq!((key.topic(), key.is_inbox()), (Some(topic.clone()), false), "{key}");
                assert_eq!(key.is_outbound(), key == topic.outbound(), "{key}");
            }
            let key = topic.inbox(&inbox);
            assert_eq!((key.topic(), key.is_inbox()), (Some(topic), true), "{key}");
        }
        for text in [
            "",
            "{shop:orders}",
            "{shop:orders}:",
            "{shop:orders}:inn",
            "{shop:orders}:wake:1",
            "{shop:orders}:re:",
            "{shop:orders}:re:a/b",
            "{orders}:in",
            "{shop:orders#03}:in",
            "x{shop:orders}:in",
            "{a:b:c}:in",
            "shop:orders:in",
        ] {
            let key = StreamKey::raw(text);
            assert_eq!((key.topic(), key.is_inbox()), (None, false), "{text}");
        }
    }

    #[test]
    fn the_originals_keys_are_those_that_its_packages_make() {
        for (text, path) in [("orders", "default::orders"), ("shop:orders#3", "shop::orders#3")] {
            let topic = Topic::new(text).unwrap().with_wire(WireFormat::Js);
            let inbound = format!("{path}::CONSUMER_INCOMING");
            assert_eq!(topic.inbound().as_str(), inbound);
            assert_eq!(topic.outbound().as_str(), format!("{path}::PRODUCER_OUTGOING"));
            assert_eq!(topic.inbox(&Name::unique()), topic.outbound());
            // What is ours alone lies where the stream lies, and apart from the topic of the same name.
            assert_eq!(topic.dead().as_str(), format!("{{{inbound}}}:dead"));
            assert_eq!(topic.dead().tag(), topic.inbound().tag());
            for key in [topic.inbound(), topic.outbound(), topic.dead()] {
                assert_eq!((key.topic(), key.is_inbox()), (Some(topic.clone()), false), "{key}");
            }
            assert_ne!(topic, Topic::new(text).unwrap());
            assert_eq!(topic.to_string(), Topic::new(text).unwrap().to_string());
        }
        for text in [
            "::CONSUMER_INCOMING",
            "orders::CONSUMER_INCOMING",
            "a::b::c::CONSUMER_INCOMING",
            "a::b#03::PRODUCER_OUTGOING",
            "a::b::OTHER",
            "{a::b::PRODUCER_OUTGOING}:dead",
            "{a::b::CONSUMER_INCOMING}:in",
            "{a::b::CONSUMER_INCOMING}:re:x",
            "{a::b::CONSUMER_INCOMING}:wake:1",
        ] {
            assert_eq!(StreamKey::raw(text).topic(), None, "{text}");
        }
    }

    #[test]
    fn a_key_without_a_tag_is_its_own_tag() {
        assert_eq!(StreamKey::raw("plain").tag(), "plain");
        assert_eq!(StreamKey::raw("{}x").tag(), "{}x");
        assert_eq!(StreamKey::raw("a{b}c{d}").tag(), "b");
    }
}
