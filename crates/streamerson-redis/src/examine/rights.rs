//! What the user that is logged in may not do.
//!
//! Nothing tells a user its own rights without a right of its own. But a server looks at rights when a command is queued
//! in a transaction; so all that the two sides need is queued, and the connection is dropped before anything runs. Where
//! transactions themselves are denied, what can do no harm is run.

use streamerson_core::{Name, Topic, broker::BrokerError};

use crate::{
    connection::{Broken, Connection},
    error::{connect_error, interrupted},
    reply::is_denial,
    resp::Reply,
    shared::Shared,
};

/// Who needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Whoever asks: gateways and other clients.
    Client,
    /// Whoever answers: members of groups, and pipelines.
    Worker,
}

/// A right that the user lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lacking {
    /// This command may not be run, in the words of an access rule: `xgroup|create`.
    Command(String),
    /// This key may not be touched; the last part stands for all that begin so where it ends with `*`.
    Key(String),
}

/// What the user may not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rights {
    /// What it lacks for each side, in order and each once.
    pub lacking: Vec<(Side, Lacking)>,
    /// Whether all that the workers need was tried: not where transactions are denied.
    pub is_whole: bool,
}

impl Rights {
    /// What it lacks to be this side.
    pub fn lacking(&self, side: Side) -> impl Iterator<Item = &Lacking> {
        self.lacking.iter().filter(move |(of, _)| *of == side).map(|(_, lacking)| lacking)
    }
}

/// A command, and the key that it is tried on.
struct Probe {
    side: Side,
    /// In the words of an access rule.
    rule: &'static str,
    key: Key,
    /// The words, with `KEY` for the key. What the clients need does no harm where it is run: it names an entry id that
    /// nothing can have, or a key that does not exist.
    words: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    None,
    In,
    Out,
    Dead,
    Inbox,
    Wake,
    Idempotency,
    Shards,
    Done,
    Later,
    LaterEntries,
    Owner,
    Members,
}

macro_rules! probes {
    ($($side:ident $key:ident $rule:literal: $words:literal,)+) => {
        &[$(Probe { side: Side::$side, rule: $rule, key: Key::$key, words: $words }),+]
    };
}

/// What docs/redis.md grants. Courtesies are left out, without which all works.
const PROBES: &[Probe] = probes! {
    Client None "time": "TIME",
    Client In "xadd": "XADD KEY NOMKSTREAM 0-0 m x",
    Client In "xrevrange": "XREVRANGE KEY + - COUNT 1",
    Client In "xinfo|stream": "XINFO STREAM KEY",
    Client In "xinfo|groups": "XINFO GROUPS KEY",
    Client In "xinfo|consumers": "XINFO CONSUMERS KEY g",
    Client Inbox "xgroup|create": "XGROUP CREATE KEY g none",
    Client Inbox "pexpire": "PEXPIRE KEY 1",
    Client Inbox "xread": "XREAD COUNT 1 STREAMS KEY 0",
    Client Inbox "xtrim": "XTRIM KEY MINID 0",
    Client Inbox "unlink": "UNLINK KEY",
    Client Inbox "type": "TYPE KEY",
    Client Wake "xadd": "XADD KEY NOMKSTREAM 0-0 m x",
    // Without a change of it where this is run: it is there, unlike the others.
    Client Shards "get": "GET KEY",
    Client Idempotency "set": "SET KEY x XX",
    Client Idempotency "get": "GET KEY",
    Client Idempotency "mget": "MGET KEY",
    Client Idempotency "pttl": "PTTL KEY",
    Client Idempotency "pexpire": "PEXPIRE KEY 1",
    // The increment is no number, so nothing is changed where this is run.
    Client Idempotency "hincrby": "HINCRBY KEY f x",
    Client Idempotency "hgetall": "HGETALL KEY",
    Client Idempotency "hdel": "HDEL KEY f",
    Worker None "multi": "MULTI",
    Worker None "time": "TIME",
    Worker In "xadd": "XADD KEY NOMKSTREAM 0-0 m x",
    Worker In "xread": "XREAD COUNT 1 STREAMS KEY 0",
    Worker In "xreadgroup": "XREADGROUP GROUP g m COUNT 1 STREAMS KEY >",
    Worker In "xrange": "XRANGE KEY - + COUNT 1",
    Worker In "xrevrange": "XREVRANGE KEY + - COUNT 1",
    Worker In "xack": "XACK KEY g 0-0",
    Worker In "xclaim": "XCLAIM KEY g m 0 0-0",
    Worker In "xautoclaim": "XAUTOCLAIM KEY g m 0 0 COUNT 1",
    Worker In "xpending": "XPENDING KEY g",
    Worker In "xtrim": "XTRIM KEY MINID 0",
    Worker In "xinfo|stream": "XINFO STREAM KEY",
    Worker In "xinfo|groups": "XINFO GROUPS KEY",
    Worker In "xinfo|consumers": "XINFO CONSUMERS KEY g",
    Worker In "xgroup|create": "XGROUP CREATE KEY g none",
    Worker In "xgroup|delconsumer": "XGROUP DELCONSUMER KEY g m",
    Worker In "eval": "EVAL return_0 1 KEY",
    Worker In "evalsha": "EVALSHA 0 1 KEY",
    Worker Out "xadd": "XADD KEY NOMKSTREAM 0-0 m x",
    Worker Dead "xadd": "XADD KEY NOMKSTREAM 0-0 m x",
    Worker Dead "xdel": "XDEL KEY 0-0",
    Worker Dead "xlen": "XLEN KEY",
    Worker Inbox "xadd": "XADD KEY NOMKSTREAM 0-0 m x",
    Worker Inbox "type": "TYPE KEY",
    Worker Wake "xadd": "XADD KEY NOMKSTREAM 0-0 m x",
    Worker Wake "pexpire": "PEXPIRE KEY 1",
    Worker Done "set": "SET KEY x XX",
    Worker Done "get": "GET KEY",
    Worker Done "mget": "MGET KEY",
    Worker Done "hincrby": "HINCRBY KEY f x",
    Worker Done "hgetall": "HGETALL KEY",
    Worker Shards "set": "SET KEY x XX",
    Worker Owner "hset": "HSET KEY f v",
    Worker Members "zadd": "ZADD KEY XX 0 m",
    Worker Members "zremrangebyscore": "ZREMRANGEBYSCORE KEY 0 0",
    Worker Members "zrange": "ZRANGE KEY 0 0",
    Worker Members "zcard": "ZCARD KEY",
    Worker Later "zadd": "ZADD KEY XX 0 m",
    Worker Later "zrem": "ZREM KEY m",
    Worker Later "zscore": "ZSCORE KEY m",
    Worker Later "zcount": "ZCOUNT KEY 0 0",
    Worker Later "zrangebyscore": "ZRANGEBYSCORE KEY 0 0",
    Worker LaterEntries "hget": "HGET KEY f",
    Worker LaterEntries "hmget": "HMGET KEY f",
    Worker LaterEntries "hset": "HSET KEY f v",
    Worker LaterEntries "hdel": "HDEL KEY f",
};

/// See [`Examiner::rights`](super::Examiner::rights).
pub(super) async fn of(shared: &Shared, topic: &Topic) -> Result<Rights, BrokerError> {
    let lost = |Broken(cause): Broken| interrupted(shared.address(), cause);
    let open = Connection::open(shared.config(), shared.metrics()).await;
    // A connection of its own: what was begun on it ends with it.
    let mut connection = open.map_err(|error| connect_error(shared.address(), &error))?;
    let deadline = shared.config().response_timeout;
    let begun = connection.call(deadline, |batch| {
        batch.command(1).arg("MULTI");
    });
    let is_whole = !matches!(begun.await.map_err(lost)?, Reply::Error(_));
    let mut rights = Rights { lacking: Vec::new(), is_whole };
    for probe in PROBES {
        let key = probe.key.of(topic);
        if probe.rule == "multi" {
            if !is_whole {
                rights.lacking.push((probe.side, Lacking::Command("multi".to_owned())));
            }
            continue;
        }
        if probe.side == Side::Worker && !is_whole {
            continue;
        }
        let words: Vec<_> = probe.words.split(' ').map(|word| if word == "KEY" { &*key } else { word }).collect();
        let asked = connection.call(deadline, |batch| {
            let mut command = batch.command(words.len());
            words.iter().for_each(|word| {
                command.arg(*word);
            });
        });
        if let Reply::Error(message) = asked.await.map_err(lost)?
            && is_denial(&message)
        {
            let lacking = match is_about_a_key(&message) {
                true => Lacking::Key(probe.key.shown(topic)),
                false => Lacking::Command(probe.rule.to_owned()),
            };
            rights.lacking.push((probe.side, lacking));
        }
    }
    rights.lacking.sort_unstable();
    rights.lacking.dedup();
    Ok(rights)
}

/// Servers put it in words of their own versions, and all name the command where it is the command.
fn is_about_a_key(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message).to_lowercase();
    text.contains("key") && !text.contains("run the")
}

impl Key {
    /// What stands after the tag, before a name that nothing has.
    fn stem(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::In => "in",
            Self::Out => "out",
            Self::Dead => "dead",
            Self::Inbox => "re:",
            Self::Wake => "wake:",
            Self::Idempotency => "idem:",
            Self::Shards => "shards",
            Self::Done => "done:",
            Self::Later => "later",
            Self::LaterEntries => "later:entries",
            Self::Owner => "owner:",
            Self::Members => "members:",
        })
    }

    fn of(self, topic: &Topic) -> String {
        self.text(topic, &Name::unique())
    }

    fn shown(self, topic: &Topic) -> String {
        self.text(topic, "*")
    }

    fn text(self, topic: &Topic, name: &str) -> String {
        let Some(stem) = self.stem() else { return String::new() };
        let name = if stem.ends_with(':') { name } else { "" };
        match self {
            // Of the topic as a whole, whichever part of it this is.
            Self::Shards => format!("{{{}:{}}}:{stem}", topic.namespace(), topic.name()),
            _ => format!("{{{topic}}}:{stem}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_topic() {
        let topic = Topic::new("shop:orders#1").unwrap();
        let schedule = topic.schedule();
        for (key, text) in [
            (Key::In, topic.inbound().to_string()),
            (Key::Out, topic.outbound().to_string()),
            (Key::Dead, topic.dead().to_string()),
            (Key::Later, schedule.key().to_owned()),
            (Key::LaterEntries, schedule.entries_key().to_owned()),
        ] {
            assert_eq!((key.of(&topic), key.shown(&topic)), (text.clone(), text));
        }
        let group = Name::new("g").unwrap();
        assert_eq!(Key::Inbox.text(&topic, "g"), topic.inbox(&group).to_string());
        assert_eq!(Key::Owner.text(&topic, "g"), topic.owner(&group).to_string());
        assert_eq!(Key::Shards.of(&topic), "{shop:orders}:shards");
        assert_eq!(Key::Members.shown(&topic), "{shop:orders#1}:members:*");
    }
}
