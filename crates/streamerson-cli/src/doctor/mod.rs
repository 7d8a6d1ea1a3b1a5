//! `streamerson doctor`: looks at a broker and all that is in it, and says what it makes of that.

mod finding;
mod keys;
mod rights;
mod server;
mod topics;

use std::collections::BTreeSet;

use clap::Args;
use streamerson::{
    core::{BrokerError, SharedBroker, Topic},
    redis::RedisBroker,
};

use self::finding::{Findings, Level};
use crate::{
    args::{Common, WireArgs},
    broker,
    failure::{Failure, causes},
    hints,
    output::Output,
    stop::Stop,
};

/// Look at a broker, its settings, topics, groups and dead letters, and say what is wrong and what to do about it.
///
/// It only looks. What the user of the broker may not ask is said, and the rest goes on.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Doctor {
    /// Look at these topics only, instead of all that there are
    ///
    /// Then the broker need not walk its keys, which not every user may ask for.
    #[arg(value_name = "TOPIC")]
    topics: Vec<Topic>,

    #[command(flatten)]
    wire: WireArgs,

    /// Look at so many keys, at most, to find topics and what is wrong with keys
    #[arg(long, value_name = "N", default_value = "1000000")]
    keys_max: u64,
}

const HELP: &str = r#"Examples:
  streamerson doctor
  streamerson doctor shop:orders shop:mail
  streamerson doctor --broker redis://worker:secret@10.0.0.7    as a worker: are its rights enough?
  streamerson doctor --json | jq -r 'select(.level == "problem").what'

  ok       as it should be
  note     worth knowing
  warn     may become a problem, or loses something in a bad moment
  problem  something does not work, or is about to stop working

As JSON, a line for each finding: {"check","level","topic","what","advice"}; topic and advice may
be null.
Exit status 1 where there is a problem."#;

impl Doctor {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let stop = Stop::listen()?;
        let mut findings = Findings::new(Output::new(common));
        tokio::select! {
            biased;
            () = stop.requested() => Err(Failure::failed("stopped by a signal, before all was looked at")),
            result = self.look(common, &mut findings) => {
                result?;
                findings.end()
            }
        }
    }

    async fn look(self, common: &Common, findings: &mut Findings) -> Result<(), Failure> {
        let (url, redis) = match broker::connect_redis(common).await {
            Ok(connected) => connected,
            Err(failure) => return unreachable(findings, failure),
        };
        let broker: SharedBroker = redis.clone().into();
        server::look(&url, &redis, &broker, findings).await?;
        let topics = self.find_topics(&redis, findings).await?;
        rights::look(&redis, &topics, !self.topics.is_empty(), findings).await?;
        topics::look(&broker, topics, findings).await
    }

    /// The topics that are looked at; keys that hold what they must not are found on the way.
    async fn find_topics(&self, redis: &RedisBroker, findings: &mut Findings) -> Result<BTreeSet<Topic>, Failure> {
        if self.topics.is_empty() {
            keys::look(redis, self.keys_max, findings).await
        } else {
            Ok(self.topics.iter().map(|topic| self.wire.of(topic)).collect())
        }
    }
}

/// An address or a login that cannot work is misuse; a broker that is not there is what the doctor was asked to find.
fn unreachable(findings: &mut Findings, failure: broker::NotConnected) -> Result<(), Failure> {
    match failure {
        broker::NotConnected::Misused(failure) => Err(failure),
        broker::NotConnected::Failed(error) => {
            findings.add("connection", Level::Problem, causes(&error), hints::of(&error).as_deref())
        }
    }
}

/// Says that something could not be looked at, and goes on, unless the broker is gone.
fn not_asked(findings: &mut Findings, check: &'static str, what: &str, error: &BrokerError) -> Result<(), Failure> {
    match error {
        BrokerError::Refused { code, message } => {
            let advice = match &**code {
                "NOPERM" => Some("ask with a user that may, to know more"),
                _ => None,
            };
            findings.add(check, Level::Note, format!("{what} could not be looked at: {message}"), advice)
        }
        error => findings.add(check, Level::Problem, format!("{what} could not be looked at: {}", causes(error)), None),
    }
}
