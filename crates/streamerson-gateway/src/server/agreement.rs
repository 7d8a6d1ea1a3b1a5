//! That gateways and consumers mean the same shards: made sure of before anything is sent, or as soon as the broker is there.

use std::{collections::HashSet, time::Duration};

use futures_util::future::try_join_all;
use streamerson_core::{
    SharedBroker,
    shards::{Shards, ShardsError},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::config::Config;

/// How long the start waits for an answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// The pause before a question is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Asks for the shards of all routes. What cannot be asked now is asked by the tasks that are answered.
pub(super) async fn agree<B>(config: &Config<B>, brokers: &[SharedBroker]) -> Result<JoinSet<()>, ShardsError> {
    let mut asked = HashSet::new();
    for route in &config.routes {
        if let Some((shards, _)) = &route.sharded {
            asked.insert((config.upstreams[route.upstream].broker, shards));
        }
    }
    let asking = asked.into_iter().map(async |(broker, shards)| {
        let broker = &brokers[broker];
        match timeout(ANSWERED_WITHIN, shards.agree(&**broker)).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error @ ShardsError::Disagree { .. })) => Err(error),
            Ok(Err(_)) | Err(_) => Ok(Some(agree_later(broker.clone(), shards.clone()))),
        }
    });
    let later = try_join_all(asking).await?;
    Ok(later.into_iter().flatten().collect())
}

async fn agree_later(broker: SharedBroker, shards: Shards) {
    let (topic, mut warned) = (shards.topic(), false);
    loop {
        // A broker that is gone for good fails the call, which says so.
        _ = broker.health().wait_for(|health| health.is_up()).await;
        match shards.agree(&*broker).await {
            Ok(()) => return,
            Err(error @ ShardsError::Disagree { .. }) => {
                return tracing::error!(%error, "requests go to shards that consumers do not read");
            }
            Err(ShardsError::Broker(error)) if !error.is_transient() && !warned => {
                warned = true;
                tracing::warn!(%topic, %error, "nobody can tell whether others mean as many shards; asking again");
            }
            Err(error) => tracing::debug!(%topic, %error, "it is not known how many shards there are"),
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}
