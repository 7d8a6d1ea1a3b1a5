//! Whether the user that is logged in may do what clients and workers must.

use std::collections::{BTreeMap, BTreeSet};

use streamerson::{
    core::{Name, Topic, WireFormat},
    redis::{
        RedisBroker,
        examine::{Lacking, Rights, Side},
    },
};

use super::{
    finding::{Findings, Level},
    not_asked,
};
use crate::failure::Failure;

/// Tries on one topic of each namespace, since rights are given by namespace.
pub(super) async fn look(
    redis: &RedisBroker,
    topics: &BTreeSet<Topic>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut samples: BTreeMap<&Name, &Topic> = BTreeMap::new();
    // Those of the original's format have keys of other shapes.
    for topic in topics.iter().filter(|topic| topic.wire() == WireFormat::V1) {
        samples.entry(topic.namespace()).or_insert(topic);
    }
    let none = Topic::new("doctor").ok().filter(|_| samples.is_empty());
    for topic in samples.into_values().chain(&none) {
        match redis.examiner().rights(topic).await {
            Ok(rights) => tell(findings, topic, &rights)?,
            Err(error) => not_asked(findings, "rights", "the rights of this user", &error)?,
        }
    }
    Ok(())
}

fn tell(findings: &mut Findings, topic: &Topic, rights: &Rights) -> Result<(), Failure> {
    let lacks = |side| rights.lacking(side).map(rule).collect::<Vec<_>>();
    let (client, worker) = (lacks(Side::Client), lacks(Side::Worker));
    let namespace = topic.namespace();
    let (level, what) = match (client.is_empty(), worker.is_empty()) {
        (true, true) => {
            let what = format!("this user may do all that clients and workers of {namespace} must");
            return findings.add("rights", Level::Ok, what, None);
        }
        (true, false) => (
            Level::Note,
            format!("enough for clients of {namespace}, and not for workers: without {}", worker.join(" ")),
        ),
        (false, true) => (
            Level::Note,
            format!("enough for workers of {namespace}, and not for clients: without {}", client.join(" ")),
        ),
        (false, false) => (
            Level::Problem,
            format!(
                "enough for nobody of {namespace}: clients are without {}; workers are without {}",
                client.join(" "),
                worker.join(" ")
            ),
        ),
    };
    findings.add(
        "rights",
        level,
        what,
        Some("`ACL SETUSER` gives what is missing; docs/redis.md has a whole line for each side"),
    )
}

/// As an access rule is written.
fn rule(lacking: &Lacking) -> String {
    match lacking {
        Lacking::Command(command) => format!("+{command}"),
        Lacking::Key(key) => format!("~{key}"),
        _ => String::new(),
    }
}
