//! A durable step: from one topic to another, and no message lost on the way.

use std::time::Duration;

use futures_util::StreamExt;
use streamerson::{
    BrokerError, Message, SharedBroker, Topic,
    core::{
        Name,
        dead_letter::Reason,
        group::{Held, Member, MemberConfig, Outcome},
        publisher::Outbound,
    },
};

use crate::Error;

/// How long the messages of a process that was killed wait for another. It is renewed while a process lives.
const LEASE: Duration = Duration::from_secs(2);
/// How long a stop waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of a message: another one, nothing, or an error that makes it a dead letter.
type Step = fn(&Message) -> Result<Option<Message>, Error>;

pub(crate) struct Stage {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// Members of a group share its deliveries, and each is somebody's until it is settled.
    pub(crate) group: &'static str,
    pub(crate) step: Step,
}

impl Stage {
    /// Moves messages until told to stop.
    pub(crate) async fn run(
        self,
        broker: &SharedBroker,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let Self { from, to, group, step } = self;
        let mut config = MemberConfig::default();
        config.lease = LEASE;
        let mut member = Member::join(broker.clone(), Topic::new(from)?, Name::new(group)?, config).await?;
        let stopper = member.stopper();
        tokio::spawn(async move {
            shutdown.await;
            stopper.stop();
        });

        let target = broker.publisher(Topic::new(to)?.inbound());
        let moved = member.by_ref().filter_map(|held| apply(step, held)).forward(target).await;
        member.leave(PATIENCE).await;
        Ok(moved?)
    }
}

/// What goes on to the next topic.
///
/// A delivery that is forwarded is settled once its message is appended, never before. After a crash in between it comes
/// again and is forwarded again, under the same message id: at least once, and easy to tell.
async fn apply(step: Step, held: Held) -> Option<Result<Outbound, BrokerError>> {
    let outcome = match step(&held.delivery.message) {
        Ok(Some(message)) => return Some(Ok(held.forward(message))),
        Ok(None) => Outcome::Done,
        Err(error) => Outcome::Dead { reason: Reason::Rejected, error: error.to_string(), reply: None },
    };
    held.settle(outcome).await;
    None
}
