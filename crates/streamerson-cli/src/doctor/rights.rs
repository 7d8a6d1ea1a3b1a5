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

/// Tries on each topic that the user named, since a user may have the keys of single topics; otherwise on one topic of each
/// namespace, since most users have the keys of namespaces.
pub(super) async fn look(
    redis: &RedisBroker,
    topics: &BTreeSet<Topic>,
    are_named: bool,
    findings: &mut Findings,
) -> Result<(), Failure> {
    // Topics of the original's format have keys of other shapes, and a stream of replies that is shared: the commands that
    // are tried on a client's inbox would change it.
    let (examined, others): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| topic.wire() == WireFormat::V1);
    if are_named {
        for topic in examined {
            examine(redis, topic, true, findings).await?;
        }
        for topic in others {
            let what = "rights are not examined for topics with --wire js";
            findings.add_of(topic, "rights", Level::Note, what, Some("docs/redis.md names their keys"))?;
        }
        return Ok(());
    }
    let mut samples: BTreeMap<&Name, &Topic> = BTreeMap::new();
    for topic in examined {
        samples.entry(topic.namespace()).or_insert(topic);
    }
    let none = Topic::new("doctor").ok().filter(|_| samples.is_empty());
    for topic in samples.into_values().chain(&none) {
        examine(redis, topic, false, findings).await?;
    }
    Ok(())
}

async fn examine(redis: &RedisBroker, topic: &Topic, is_named: bool, findings: &mut Findings) -> Result<(), Failure> {
    let rights = match redis.examiner().rights(topic).await {
        Ok(rights) => rights,
        Err(error) => return not_asked(findings, "rights", "the rights of this user", &error),
    };
    let scope = if is_named { topic.to_string() } else { topic.namespace().to_string() };
    let (level, what) = verdict(&scope, &rights);
    let advice = (level != Level::Ok)
        .then_some("`ACL SETUSER` gives what is missing; docs/redis.md has a whole line for each side");
    if is_named {
        findings.add_of(topic, "rights", level, what, advice)
    } else {
        findings.add("rights", level, what, advice)
    }
}

/// Says for which side the rights are enough within a namespace or a topic.
fn verdict(scope: &str, rights: &Rights) -> (Level, String) {
    let lacks = |side| rights.lacking(side).map(rule).collect::<Vec<_>>();
    let (client, worker) = (lacks(Side::Client), lacks(Side::Worker));
    match (client.is_empty(), worker.is_empty()) {
        (true, true) => (Level::Ok, format!("this user may do all that clients and workers of {scope} must")),
        (true, false) => {
            (Level::Note, format!("enough for clients of {scope}, and not for workers: without {}", worker.join(" ")))
        }
        (false, true) => {
            (Level::Note, format!("enough for workers of {scope}, and not for clients: without {}", client.join(" ")))
        }
        (false, false) => (
            Level::Problem,
            format!(
                "enough for neither side of {scope}: clients are without {}; workers are without {}",
                client.join(" "),
                worker.join(" ")
            ),
        ),
    }
}

/// As an access rule is written.
fn rule(lacking: &Lacking) -> String {
    match lacking {
        Lacking::Command(command) => format!("+{command}"),
        Lacking::Key(key) => format!("~{key}"),
        _ => String::new(),
    }
}
