//! Each topic: who reads it, what waits, what failed.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, join, stream};
use streamerson::core::{
    BrokerError, EntryId, SharedBroker, Topic,
    broker::{GroupInfo, MemberInfo, Membership, Pending, StreamInfo},
    client::ClientConfig,
    dead_letter::DEAD_ENTRIES_MAX,
};

use super::{
    finding::{Findings, Level},
    not_asked,
};
use crate::{args, failure::Failure, groups::LIVE_IDLE_MAX, human};

/// Topics that are looked at at the same time.
const AT_ONCE: usize = 16;

/// A stream that nobody reads is worth a warning from so many entries on: before that, its workers may be yet to come.
const UNREAD: u64 = 1000;

/// A group whose members live and which is so many entries behind does not keep up.
const BEHIND: u64 = 10_000;

/// How long a delivery is pending before somebody should look.
const PENDING_LONG: Duration = Duration::from_secs(5 * 60);

/// Members that were silent for so long are not coming back.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A group as it is, with its members and its oldest delivery that is pending.
struct Reading {
    group: GroupInfo,
    /// `None` where this user may not ask.
    members: Option<Vec<MemberInfo>>,
    oldest: Option<EntryId>,
}

/// What is known of a topic.
#[derive(Default)]
struct State {
    inbound: Option<StreamInfo>,
    dead: u64,
    groups: Vec<Reading>,
    /// What this user may not ask.
    denied: Vec<BrokerError>,
}

pub(super) async fn look(
    broker: &SharedBroker,
    topics: BTreeSet<Topic>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (mut count, mut groups) = (0, 0);
    let look = |topic: Topic| async move {
        let state = State::of(broker, &topic).await;
        (topic, state)
    };
    let mut states = stream::iter(topics).map(look).buffered(AT_ONCE);
    while let Some((topic, state)) = states.next().await {
        match state {
            Ok(state) => {
                count += 1;
                groups += state.groups.len() as u64;
                state.tell(&topic, broker, findings)?;
            }
            Err(error) => not_asked(findings, "topics", &format!("{topic}"), &error)?,
        }
    }
    let topics = human::counted(count, "topic", "topics");
    let groups = human::counted(groups, "group", "groups");
    findings.add("topics", Level::Ok, format!("looked at {topics} with {groups}"), None)
}

impl State {
    async fn of(broker: &SharedBroker, topic: &Topic) -> Result<Self, BrokerError> {
        let (inbound, dead) = (topic.inbound(), topic.dead());
        let mut state = Self::default();
        state.inbound = state.allowed(broker.stream_info(&inbound).await)?.flatten();
        state.dead = state.allowed(broker.stream_info(&dead).await)?.flatten().map_or(0, |info| info.len);
        for group in state.allowed(broker.groups(&inbound).await)?.unwrap_or_default() {
            let (key, name) = (inbound.clone(), group.name.clone());
            let first = Pending { key, group: name, member: None, from: EntryId::ZERO, count: 1 };
            let (members, oldest) = join!(broker.members(&inbound, &group.name), broker.pending(first));
            if matches!(
                (&members, &oldest),
                (Err(BrokerError::NoGroup { .. }), _) | (_, Err(BrokerError::NoGroup { .. }))
            ) {
                // It went meanwhile.
                continue;
            }
            let members = state.allowed(members)?;
            let oldest = state.allowed(oldest)?.and_then(|pending| pending.first().map(|entry| entry.id));
            state.groups.push(Reading { group, members, oldest });
        }
        Ok(state)
    }

    /// The answer, unless the broker refuses it: then that is told, and the rest is looked at.
    fn allowed<T>(&mut self, answer: Result<T, BrokerError>) -> Result<Option<T>, BrokerError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error @ BrokerError::Refused { .. }) => {
                self.denied.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&self, topic: &Topic, broker: &SharedBroker, findings: &mut Findings) -> Result<(), Failure> {
        for error in &self.denied {
            not_asked(findings, "topics", &format!("a part of {topic}"), error)?;
        }
        let len = self.inbound.map_or(0, |info| info.len);
        self.tell_of_backlog(topic, len, findings)?;
        if self.groups.is_empty() && len > 0 {
            let entries = human::counted(len, "entry", "entries");
            let level = if len >= UNREAD { Level::Warn } else { Level::Note };
            let what = format!("{entries} and no group: nobody reads them, and nothing is trimmed");
            findings.add_of(topic, "groups", level, what, Some("start its workers, or stop sending"))?;
        }
        let now = broker.now();
        for reading in &self.groups {
            reading.tell(topic, |id| human::since(id, now), findings)?;
        }
        self.tell_of_dead(topic, findings)
    }

    fn tell_of_backlog(&self, topic: &Topic, len: u64, findings: &mut Findings) -> Result<(), Failure> {
        let max = ClientConfig::default().backlog_max;
        let level = match len * 100 / max {
            90.. => Level::Problem,
            50.. => Level::Warn,
            _ => return Ok(()),
        };
        let what = format!(
            "{} entries, of {} by default from which on clients are refused",
            human::count(len),
            human::count(max)
        );
        let named = args::named(topic);
        let advice =
            format!("`streamerson groups {named}` shows who is behind: add members, or drop a group that nobody reads");
        findings.add_of(topic, "backlog", level, what, Some(&advice))
    }

    fn tell_of_dead(&self, topic: &Topic, findings: &mut Findings) -> Result<(), Failure> {
        if self.dead == 0 {
            return Ok(());
        }
        let named = args::named(topic);
        let letters = human::counted(self.dead, "dead letter", "dead letters");
        let what = match self.dead * 100 / DEAD_ENTRIES_MAX {
            90.. => format!("{letters}; from {} on the oldest go", human::count(DEAD_ENTRIES_MAX)),
            _ => letters,
        };
        let advice = format!(
            "`streamerson dead list {named} --by-error` says why; then mend it, and `streamerson dead replay` or `dead drop`"
        );
        findings.add_of(topic, "dead-letters", Level::Warn, what, Some(&advice))
    }
}

impl Reading {
    fn tell(&self, topic: &Topic, age: impl Fn(EntryId) -> Duration, findings: &mut Findings) -> Result<(), Failure> {
        let GroupInfo { name, pending, lag, .. } = &self.group;
        let named = args::named(topic);
        let Some(members) = &self.members else { return Ok(()) };
        let members = || members.iter().filter(|member| member.name != Membership::NOBODY);
        let live = members().filter(|member| member.idle <= LIVE_IDLE_MAX).count();
        // Where the lag is unknown there may be one.
        let waits = *pending > 0 || lag.is_none_or(|lag| lag > 0);
        if live == 0 && waits {
            return self.tell_of_nobody(topic, members().map(|member| member.idle).min(), findings);
        }
        if live == 0 {
            let what = format!("the group {name} has no live member, and nothing waits for it");
            let advice = format!(
                "start its workers; or, if they are not coming back, `streamerson groups drop {named} {name}`: what comes waits for them and is not trimmed"
            );
            findings.add_of(topic, "groups", Level::Note, what, Some(&advice))?;
        }
        if let Some(age) = self.oldest.map(age).filter(|age| *age >= PENDING_LONG && live > 0) {
            let entries = human::counted(*pending, "entry", "entries");
            let what = format!("the group {name} holds {entries}, the oldest for {}", human::age(age));
            let advice = format!(
                "a handler hangs, or waits for another try: `streamerson pending {named} {name}` shows who holds what"
            );
            findings.add_of(topic, "groups", Level::Warn, what, Some(&advice))?;
        }
        if let Some(behind) = lag.filter(|lag| *lag >= BEHIND && live > 0) {
            let members = human::counted(live as u64, "live member", "live members");
            let what = format!("the group {name} has {members} and is {} entries behind", human::count(behind));
            let advice =
                "if that grows, they do not keep up: start more members, or look for what their handlers wait for";
            findings.add_of(topic, "groups", Level::Warn, what, Some(advice))?;
        }
        let stale = members().filter(|member| member.idle >= STALE).count() as u64;
        if stale > 0 {
            let members = human::counted(stale, "member that is", "members that are");
            let what = format!("the group {name} lists {members} silent for more than a day");
            let advice = "members that live take over what these hold, and take them off the list in time";
            findings.add_of(topic, "members", Level::Note, what, Some(advice))?;
        }
        Ok(())
    }

    /// Work that waits for nobody, and all behind it.
    fn tell_of_nobody(&self, topic: &Topic, last: Option<Duration>, findings: &mut Findings) -> Result<(), Failure> {
        let GroupInfo { name, pending, lag, .. } = &self.group;
        let named = args::named(topic);
        let pending = match pending {
            0 => String::new(),
            pending => format!("{} pending, ", human::count(*pending)),
        };
        let lag = lag.map_or_else(|| "what comes".to_owned(), |lag| format!("{} not delivered", human::count(lag)));
        let last = match last {
            Some(idle) => format!(", the last was heard of {} ago", human::age(idle)),
            None => String::new(),
        };
        let what = format!(
            "the group {name} has no live member{last}; {pending}{lag}: it blocks trimming, so the stream grows"
        );
        let advice =
            format!("start its workers; or, if they are not coming back, `streamerson groups drop {named} {name}`");
        // Where the broker cannot tell the lag, there may be none.
        let is_sure = self.group.pending > 0 || self.group.lag.is_some();
        findings.add_of(topic, "groups", if is_sure { Level::Problem } else { Level::Warn }, what, Some(&advice))
    }
}
