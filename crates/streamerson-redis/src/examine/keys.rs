//! The keys that have names of ours: what they hold, and whether they go by themselves.

use std::time::Duration;

use streamerson_core::{StreamKey, Topic, broker::BrokerError};

use super::EXAMINE_BYTES;
use crate::{
    error::{refused, unexpected},
    reply::{array, as_text},
    resp::Reply,
    shared::Shared,
};

/// How many keys the server looks at for one page.
const KEYS_LOOKED_AT: u64 = 1000;

/// Keys of topics in either format, and those of many other programs.
const PATTERN: &str = "*:*";

/// Some of the keys that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyPage {
    /// They, in no order; a key may be there twice.
    pub keys: Vec<KeyInfo>,
    /// Where the next page starts; `None` after the last one.
    pub next: Option<u64>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Its text.
    pub key: String,
    /// The topic whose key it is.
    pub topic: Topic,
    /// What belongs there: `stream`, `zset`, `hash` or `string`.
    pub expected: &'static str,
    /// What is there.
    pub found: String,
    /// Whether it is an inbox, which must go by itself.
    pub is_inbox: bool,
    /// When it goes by itself; `None` for never.
    pub expires: Option<Duration>,
}

/// See [`Examiner::keys`](super::Examiner::keys).
pub(super) async fn page(shared: &Shared, page: u64) -> Result<KeyPage, BrokerError> {
    let ask = shared.call_one(EXAMINE_BYTES, |batch| {
        let mut command = batch.command(6);
        command.arg("SCAN").int(page).arg("MATCH").arg(PATTERN).arg("COUNT").int(KEYS_LOOKED_AT);
    });
    let parts = match ask.await? {
        Reply::Error(message) => return Err(refused(&message)),
        reply => array("SCAN", reply)?,
    };
    let mut parts = parts.into_iter();
    let next = parts.next().as_ref().and_then(as_text).and_then(|next| next.parse().ok());
    let (Some(next), Some(found)) = (next, parts.next()) else { return Err(unexpected("SCAN", &Reply::Nil)) };
    let found = array("SCAN", found)?;
    let ours = found.iter().filter_map(as_text).filter_map(|key| Some((key, ours(key)?))).collect();
    Ok(KeyPage { keys: look(shared, ours).await?, next: (next != 0).then_some(next) })
}

struct Ours {
    topic: Topic,
    expected: &'static str,
    is_inbox: bool,
}

/// What belongs to a key, if its name is one of ours.
fn ours(key: &str) -> Option<Ours> {
    let stream = StreamKey::raw(key.to_owned());
    if let Some(topic) = stream.topic() {
        return Some(Ours { topic, expected: "stream", is_inbox: stream.is_inbox() });
    }
    let (topic, rest) = key.strip_prefix('{')?.split_once("}:")?;
    // A key always spells the namespace out.
    let topic: Topic = topic.contains(':').then(|| topic.parse().ok()).flatten()?;
    let schedule = topic.schedule();
    let expected = match rest {
        _ if key == schedule.key() => "zset",
        _ if key == schedule.entries_key() => "hash",
        "shards" => "string",
        _ if rest.starts_with("owner:") => "hash",
        _ if rest.starts_with("members:") => "zset",
        _ => return None,
    };
    Some(Ours { topic, expected, is_inbox: false })
}

/// Asks for all of them in one go.
async fn look(shared: &Shared, ours: Vec<(&str, Ours)>) -> Result<Vec<KeyInfo>, BrokerError> {
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let answer = shared.call(2 * EXAMINE_BYTES * ours.len(), |batch| {
        for (key, _) in &ours {
            batch.command(2).arg("TYPE").arg(*key);
            batch.command(2).arg("PTTL").arg(*key);
        }
    });
    let replies = answer.await?.replies;
    let mut infos = Vec::with_capacity(ours.len());
    for ((key, Ours { topic, expected, is_inbox }), replies) in ours.into_iter().zip(replies.chunks_exact(2)) {
        let found = match &replies[0] {
            Reply::Error(message) => return Err(refused(message)),
            reply => as_text(reply).unwrap_or_default().to_owned(),
        };
        // Not every user may ask: then a key counts as one that goes by itself, and nobody is alarmed.
        let expires = match replies[1] {
            Reply::Integer(-1) => None,
            Reply::Integer(millis) => Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0))),
            _ => Some(Duration::ZERO),
        };
        // One that went meanwhile has no type.
        if found != "none" {
            infos.push(KeyInfo { key: key.to_owned(), topic, expected, found, is_inbox, expires });
        }
    }
    Ok(infos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_say_what_belongs_there() {
        let expected = |key| ours(key).map(|ours| (ours.topic.to_string(), ours.expected, ours.is_inbox));
        let topic = || "shop:orders#2".to_owned();
        assert_eq!(expected("{shop:orders#2}:dead"), Some((topic(), "stream", false)));
        assert_eq!(expected("{shop:orders#2}:re:box"), Some((topic(), "stream", true)));
        assert_eq!(expected("{shop:orders#2}:later"), Some((topic(), "zset", false)));
        assert_eq!(expected("{shop:orders#2}:later:entries"), Some((topic(), "hash", false)));
        assert_eq!(expected("{shop:orders#2}:owner:g"), Some((topic(), "hash", false)));
        assert_eq!(expected("{shop:orders#2}:shards"), Some((topic(), "string", false)));
        assert_eq!(expected("shop::orders#2::CONSUMER_INCOMING"), Some((topic(), "stream", false)));
        for other in ["{shop:orders}:wake:1", "{orders}:later", "{shop:orders}:laters", "sessions", "{orders}:in"] {
            assert_eq!(expected(other), None, "{other}");
        }
    }
}
