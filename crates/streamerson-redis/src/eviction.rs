//! A warning for a server that drops keys when its memory is full. A stream that is dropped takes its groups and
//! whatever is pending along, and nothing in the protocol tells.

use crate::resp::Reply;

/// What `INFO memory` gives reason to warn of: the policy, and what it drops.
pub(crate) fn warning(info: &Reply) -> Option<(&str, &'static str)> {
    let Reply::Bulk(text) = info else { return None };
    let text = std::str::from_utf8(text).ok()?;
    let value = |name| text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name);
    // Without a limit nothing is dropped; managed services that hide theirs do have one.
    if value("maxmemory").is_some_and(|(_, limit)| limit == "0") {
        return None;
    }
    let (_, policy) = value("maxmemory_policy")?;
    if policy.starts_with("allkeys-") {
        Some((policy, "any stream: whole topics, with their groups, undelivered requests and dead letters"))
    } else if policy.starts_with("volatile-") {
        // Nothing else of ours expires but the streams by which reads are woken, which are missed by nobody for long.
        Some((policy, "inboxes, with the replies in them: their callers time out"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &'static str) -> Option<String> {
        warning(&Reply::Bulk(text.into())).map(|(policy, dropped)| format!("{policy}: {dropped}"))
    }

    #[test]
    fn a_policy_that_drops_is_worth_a_warning() {
        let all = warned("# Memory\r\nmaxmemory:1000\r\nmaxmemory_human:1000B\r\nmaxmemory_policy:allkeys-lru\r\n");
        assert!(all.is_some_and(|text| text.starts_with("allkeys-lru: any stream")));
        let some = warned("maxmemory:1000\r\nmaxmemory_policy:volatile-ttl\r\n");
        assert!(some.is_some_and(|text| text.starts_with("volatile-ttl: inboxes")));
        let hidden = warned("maxmemory_policy:volatile-lru\r\n");
        assert!(hidden.is_some());
    }

    #[test]
    fn others_are_not() {
        assert_eq!(warned("maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n"), None);
        assert_eq!(warned("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"), None);
        assert_eq!(warned("# Memory\r\nused_memory:7\r\n"), None);
        assert_eq!(warning(&Reply::Nil), None);
    }
}
