//! How much comes and is done in each second, from two looks at the same topic.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use streamerson::core::{
    Name,
    broker::{GroupInfo, StreamInfo},
};

/// What only grows, or is told by what only grows, at the time of a look. `None` for what the broker does not count.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters {
    came: Option<u64>,
    out: Option<u64>,
    /// What each group has yet to finish, delivered or not.
    unfinished: BTreeMap<Name, u64>,
}

/// Per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    #[serde(rename = "in_per_second")]
    pub(super) came: Option<f64>,
    #[serde(rename = "done_per_second")]
    pub(super) done: Option<f64>,
    #[serde(rename = "out_per_second")]
    pub(super) out: Option<f64>,
}

impl Counters {
    pub(super) fn of(inbound: Option<&StreamInfo>, outbound: Option<&StreamInfo>, groups: &[GroupInfo]) -> Self {
        // Nothing was ever appended to a stream that does not exist.
        let appended = |info: Option<&StreamInfo>| info.map_or(Some(0), |info| info.appended);
        let unfinished = groups.iter().filter_map(|group| Some((group.name.clone(), group.pending + group.lag?)));
        Self { came: appended(inbound), out: appended(outbound), unfinished: unfinished.collect() }
    }

    /// What happened since an earlier look.
    pub(super) fn since(&self, earlier: &Self, elapsed: Duration) -> Rates {
        let per_second = |number: f64| number / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let grown = |now: Option<u64>, then: Option<u64>| {
            // One that was removed and made again starts anew.
            let (now, then) = (now?, then?);
            Some(if now >= then { now - then } else { now } as f64)
        };
        let came = grown(self.came, earlier.came);
        let done = came.and_then(|came| {
            let of = |(name, left): (&Name, &u64)| Some(came + *earlier.unfinished.get(name)? as f64 - *left as f64);
            self.unfinished.iter().filter_map(of).map(|done| done.max(0.0)).reduce(f64::min)
        });
        Rates {
            came: came.map(per_second),
            done: done.map(per_second),
            out: grown(self.out, earlier.out).map(per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(came: u64, unfinished: &[(&str, u64)]) -> Counters {
        let unfinished = unfinished.iter().map(|(name, left)| (Name::new((*name).to_owned()).unwrap(), *left));
        Counters { came: Some(came), out: None, unfinished: unfinished.collect() }
    }

    #[test]
    fn what_is_done_is_what_came_and_is_not_left() {
        let (then, now) = (counters(100, &[("a", 10), ("b", 0)]), counters(140, &[("a", 30), ("b", 0), ("new", 140)]));
        let rates = now.since(&then, Duration::from_secs(2));
        assert_eq!(rates, Rates { came: Some(20.0), done: Some(10.0), out: None });
    }

    #[test]
    fn a_stream_that_was_made_again_starts_anew() {
        let rates = counters(4, &[]).since(&counters(100, &[("a", 10)]), Duration::from_secs(2));
        assert_eq!(rates, Rates { came: Some(2.0), done: None, out: None });
    }
}
