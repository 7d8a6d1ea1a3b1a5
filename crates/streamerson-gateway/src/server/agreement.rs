//! That gateways and consumers mean the same shards: made sure of before anything is sent, or as soon as the broker is there.

use std::{collections::HashSet, time::Duration};

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
    let (mut later, mut asked) = (JoinSet::new(), HashSet::new());
    for route in &config.routes {
        let Some((shards, _)) = &route.sharded else { continue };
        let broker = config.upstreams[route.upstream].broker;
        if !asked.insert((broker, shards)) {
            continue;
        }
        match timeout(ANSWERED_WITHIN, shards.agree(&*brokers[broker])).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ ShardsError::Disagree { .. })) => return Err(error),
            Ok(Err(_)) | Err(_) => _ = later.spawn(agree_later(brokers[broker].clone(), shards.clone())),
        }
    }
    Ok(later)
}

async fn agree_later(broker: SharedBroker, shards: Shards) {
    loop {
        // A broker that is gone for good fails the call, which says so.
        _ = broker.health().wait_for(|health| health.is_up()).await;
        match shards.agree(&*broker).await {
            Ok(()) => return,
            Err(error @ ShardsError::Disagree { .. }) => {
                return tracing::error!(%error, "requests go to shards that consumers do not read");
            }
            Err(error) => tracing::debug!(topic = %shards.topic(), %error, "it is not known how many shards there are"),
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}
