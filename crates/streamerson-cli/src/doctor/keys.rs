//! All keys with names of ours: which topics there are, what a key must not hold, inboxes that never go.

use std::collections::BTreeSet;

use streamerson::{
    core::{BrokerError, Topic},
    redis::{
        RedisBroker,
        examine::{KeyInfo, KeyPage},
    },
};

use super::{
    finding::{Findings, Level},
    not_asked,
};
use crate::{failure::Failure, human};

/// Keys that the server looks at for one page, about.
const PAGE_KEYS: u64 = 1000;

/// So many of the keys that are wrong are told one by one.
const TOLD_MAX: usize = 10;

/// What is wrong with keys.
#[derive(Default)]
struct Wrong {
    types: BTreeSet<String>,
    inboxes: BTreeSet<String>,
}

/// Walks the keys, and answers the topics that have a stream.
pub(super) async fn look(
    redis: &RedisBroker,
    keys_max: u64,
    findings: &mut Findings,
) -> Result<BTreeSet<Topic>, Failure> {
    let (mut topics, mut wrong) = (BTreeSet::new(), Wrong::default());
    let (mut page, mut seen) = (Some(0), 0);
    while let Some(at) = page {
        if seen >= keys_max {
            let what = format!("only the first {} keys or so were looked at", human::count(seen));
            findings.add(
                "keys",
                Level::Note,
                what,
                Some("--keys-max looks at more, and naming topics at these alone"),
            )?;
            break;
        }
        match redis.examiner().keys(at).await {
            Ok(KeyPage { keys, next, .. }) => {
                keys.into_iter().for_each(|key| take(key, &mut topics, &mut wrong));
                page = next;
            }
            Err(error) => {
                denied(findings, &error)?;
                break;
            }
        }
        seen += PAGE_KEYS;
    }
    tell(findings, &wrong)?;
    Ok(topics)
}

fn take(key: KeyInfo, topics: &mut BTreeSet<Topic>, wrong: &mut Wrong) {
    let KeyInfo { key, topic, expected, found, is_inbox, expires, .. } = key;
    if found != expected {
        wrong.types.insert(format!("{key} holds a {found} and not a {expected}"));
    } else if is_inbox {
        if expires.is_none() {
            wrong.inboxes.insert(key);
        }
    } else if expected == "stream" {
        topics.insert(topic);
    }
}

fn denied(findings: &mut Findings, error: &BrokerError) -> Result<(), Failure> {
    match error {
        BrokerError::Refused { code, .. } if &**code == "NOPERM" => findings.add(
            "keys",
            Level::Note,
            "this user may not walk the keys, so topics are not found by themselves",
            Some("name them, as in `streamerson doctor orders`; or use a user with +scan +type +pttl"),
        ),
        error => not_asked(findings, "keys", "the keys", error),
    }
}

fn tell(findings: &mut Findings, wrong: &Wrong) -> Result<(), Failure> {
    for what in wrong.types.iter().take(TOLD_MAX) {
        let advice = "another program wrote it: rename or remove it, or use another namespace";
        findings.add("keys", Level::Problem, what, Some(advice))?;
    }
    if wrong.types.len() > TOLD_MAX {
        let what = format!("{} more keys hold what they must not", human::count((wrong.types.len() - TOLD_MAX) as u64));
        findings.add("keys", Level::Problem, what, None)?;
    }
    for key in wrong.inboxes.iter().take(TOLD_MAX) {
        let advice = format!(
            "it stays for ever when its client is gone: `redis-cli PEXPIRE '{key}' 120000`; a client that lives renews it"
        );
        findings.add("inboxes", Level::Warn, format!("{key} lacks an expiry"), Some(&advice))?;
    }
    if wrong.inboxes.len() > TOLD_MAX {
        let what = format!("{} more inboxes lack an expiry", human::count((wrong.inboxes.len() - TOLD_MAX) as u64));
        findings.add("inboxes", Level::Warn, what, None)?;
    }
    Ok(())
}
