//! Which broker each route sends to, and within which bound.

use std::{fmt::Display, str::FromStr};

use streamerson_core::{
    Topic,
    client::ClientConfig,
    shards::Shards,
    wire::{UnknownWireFormat, WireFormat},
};
use toml::de::DeValue;

use super::{
    mistake::Mistakes,
    route::PlacedRoute,
    table::{Parsed, Placed, Table, count, some, text},
};

/// A broker as some topics use it: each has a client of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// Which of the configuration's brokers.
    pub(crate) broker: usize,
    pub(crate) backlog_max: u64,
}

/// `[topic.NAME]`.
#[derive(Debug)]
pub(super) struct TopicConfig<B> {
    topic: Topic,
    /// The name of the table.
    title: String,
    broker: Option<B>,
    wire: WireFormat,
    /// The parts that it is in, if it says so; nothing where what it says makes no sense.
    shards: Option<Option<Shards>>,
    backlog_max: Option<u64>,
    /// The bound of the marks of requests with an idempotency key.
    idempotency_bytes_max: Option<Placed<u64>>,
}

/// The broker of topics that name none.
pub(super) struct UsualBroker<B> {
    pub(super) address: Option<B>,
    /// Whether there is an address that cannot be used.
    pub(super) is_wrong: bool,
    /// What is read only if there is no address and a topic needs one.
    pub(super) fallback: Option<String>,
}

/// The `broker` of a table.
pub(super) fn broker<B: FromStr<Err: Display>>(table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<B> {
    let address = table.get(mistakes, "broker", |value| text(value))?;
    match parse(address.value) {
        Ok(broker) => return Some(broker),
        Err(Unusable::Memory) => {
            mistakes.note_memory();
            mistakes.add(&address.span, table.name_of("broker"), MEMORY);
        }
        Err(Unusable::Other(what)) => mistakes.add(&address.span, table.name_of("broker"), what),
    }
    None
}

const MEMORY: &str = "memory:// lives in one process, where no consumer can meet the gateway; write redis://HOST:PORT";

enum Unusable {
    Memory,
    Other(String),
}

fn parse<B: FromStr<Err: Display>>(address: &str) -> Result<B, Unusable> {
    if address.starts_with("memory:") {
        return Err(Unusable::Memory);
    }
    address.parse().map_err(|error: B::Err| Unusable::Other(error.to_string()))
}

/// `[topic.*]`.
pub(super) fn topics<B: FromStr<Err: Display>>(table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Vec<TopicConfig<B>> {
    let mut topics: Vec<TopicConfig<B>> = Vec::new();
    for (name, mut table) in table.tables(mistakes) {
        let (span, title) = (table.span().clone(), format!("topic.{name}"));
        let broker = broker(&mut table, mistakes);
        let backlog_max = table.get(mistakes, "backlog_max", count).map(|backlog| backlog.value);
        let idempotency_bytes_max = table.get(mistakes, "idempotency_bytes_max", some);
        let wire = table.get(mistakes, "wire", |value| {
            let word = text(value)?;
            word.parse().map_err(|_: UnknownWireFormat| format!("it is \"v1\" or \"js\", not {word:?}"))
        });
        let wire = wire.map_or(WireFormat::V1, |wire| wire.value);
        let topic = Topic::new(&name);
        let shards = table.has("shards").then(|| {
            let shards = table.get(mistakes, "shards", |value| in_shards(topic.as_ref().ok(), wire, value));
            shards.and_then(|shards| shards.value)
        });
        table.finish(mistakes);
        match topic {
            Ok(topic) if topics.iter().any(|before| before.topic == topic) => {
                mistakes.add(&span, title, format!("{topic} has a table already; make one of the two"));
            }
            Ok(topic) => {
                topics.push(TopicConfig { topic, title, broker, wire, shards, backlog_max, idempotency_bytes_max });
            }
            Err(error) => mistakes.add(&span, title, error.to_string()),
        }
    }
    topics
}

/// The parts of a topic, if its name is one.
fn in_shards(topic: Option<&Topic>, wire: WireFormat, value: &DeValue<'_>) -> Parsed<Option<Shards>> {
    let count = count(value)?;
    let count =
        u32::try_from(count).map_err(|_| format!("a topic is in 1 to {} shards, not {count}", Shards::COUNT_MAX))?;
    let shards = topic.map(|topic| Shards::new(topic.with_wire(wire), count));
    shards.transpose().map_err(|error| error.to_string())
}

/// Tells each route its upstream; answers the brokers and the upstreams, each of them once.
pub(super) fn assign<B: Clone + PartialEq + FromStr<Err: Display>>(
    routes: &mut [PlacedRoute],
    topics: &[TopicConfig<B>],
    mut usual: UsualBroker<B>,
    mistakes: &mut Mistakes<'_>,
) -> (Vec<B>, Vec<Upstream>) {
    let (mut brokers, mut upstreams) = (Vec::new(), Vec::new());
    for route in routes {
        let config = topics.iter().find(|config| config.topic == route.config.topic);
        if let Some(TopicConfig { wire: wire @ WireFormat::Js, .. }) = config {
            route.config.topic = route.config.topic.with_wire(*wire);
            route.refuse_what_js_lacks(mistakes);
        }
        match config.and_then(|config| config.shards.as_ref()) {
            None => route.place_in_shards(None, mistakes),
            Some(Some(shards)) => route.place_in_shards(Some(shards), mistakes),
            // That is a mistake of its own.
            Some(None) => {}
        }
        bound_idempotency(route, config, mistakes);
        let own = config.and_then(|config| config.broker.clone());
        let Some(broker) = own.or_else(|| usual.resolve(route, mistakes)) else { continue };
        let backlog_max = config.and_then(|config| config.backlog_max);
        let backlog_max = backlog_max.unwrap_or_else(|| ClientConfig::default().backlog_max);
        let upstream = Upstream { broker: index_of(&mut brokers, broker), backlog_max };
        route.config.upstream = index_of(&mut upstreams, upstream);
    }
    (brokers, upstreams)
}

/// Gives a route's idempotency keys the bound of their topic, which must have room for one reply at least.
fn bound_idempotency<B>(route: &mut PlacedRoute, config: Option<&TopicConfig<B>>, mistakes: &mut Mistakes<'_>) {
    let Some(mut idempotency) = route.config.idempotency.take() else { return };
    let of_topic = config.and_then(|config| Some((&config.title, config.idempotency_bytes_max.as_ref()?)));
    if let Some((_, bytes_max)) = of_topic {
        idempotency = idempotency.topic_bytes_max(bytes_max.value);
    }
    let (topic, path) = (&route.config.topic, &route.config.path);
    let (needed, bound) = (idempotency.request_bytes_max(topic), idempotency.topic_bytes_max);
    if needed > bound {
        let (span, title) = match of_topic {
            Some((title, bytes_max)) => (&bytes_max.span, format!("{title}.idempotency_bytes_max")),
            None => (&route.topic_span, "route.idempotency.reply_bytes_max".to_owned()),
        };
        let mistake = format!(
            "a request to {path} with an idempotency key needs room for {needed} bytes, its reply included, and {topic} \
             has {bound} for all of them; raise idempotency_bytes_max of the topic, or lower reply_bytes_max of the route"
        );
        mistakes.add(span, title, mistake);
    }
    route.config.idempotency = Some(idempotency);
}

impl<B: Clone + FromStr<Err: Display>> UsualBroker<B> {
    /// The address, for a route whose topic names none.
    fn resolve(&mut self, route: &PlacedRoute, mistakes: &mut Mistakes<'_>) -> Option<B> {
        if self.address.is_some() || self.is_wrong {
            return self.address.clone();
        }
        let topic = &route.config.topic;
        let what = match self.fallback.as_deref().map(parse) {
            Some(Ok(broker)) => {
                self.address = Some(broker);
                return self.address.clone();
            }
            Some(Err(Unusable::Memory)) => {
                mistakes.note_memory();
                format!("there is no broker for {topic}, and $STREAMERSON_BROKER cannot be it: {MEMORY}")
            }
            Some(Err(Unusable::Other(error))) => {
                format!("there is no broker for {topic}, and $STREAMERSON_BROKER cannot be it: {error}")
            }
            None => format!(
                "there is no broker for {topic}; write broker = \"redis://HOST:PORT\" at the top or in [topic.{}], or \
                 use --broker or $STREAMERSON_BROKER",
                topic.name()
            ),
        };
        mistakes.add(&route.topic_span, "route.topic", what);
        None
    }
}

/// Where an item is in a list, to which it is added if it is not there.
fn index_of<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|known| *known == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}
