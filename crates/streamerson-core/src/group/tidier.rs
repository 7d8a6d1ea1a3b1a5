//! Tidying up: members that are gone leave the list, and groups that nobody reads for are named.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tracing::{debug, info, warn};

use super::member::Shared;
use crate::{
    broker::{BrokerError, GroupInfo, Membership},
    name::Name,
};

/// How often it is looked after, and how long ago a member or the last one of a group was heard of that counts as gone.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Tidies up until the member is stopped.
pub(super) async fn tidy(shared: Arc<Shared>) {
    // Members that start together don't look together.
    let first = TIDY_EVERY.mul_f64(f64::from(fraction(&shared.membership.member)));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, TIDY_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stale = HashSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.stopped.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let tidied = async {
            remove_gone_members(&shared).await?;
            name_stale_groups(&shared, &mut stale).await
        };
        if let Err(error) = tidied.await {
            debug!(member = ?shared.membership, %error, "could not tidy up");
        }
    }
}

/// A number in 0..1 that differs from member to member.
fn fraction(member: &Name) -> f32 {
    let sum = member.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    f32::from(sum) / 256.0
}

/// Takes members off the list that died and hold nothing. What they held was taken over before.
async fn remove_gone_members(shared: &Shared) -> Result<(), BrokerError> {
    let Membership { key, group, .. } = &*shared.membership;
    let gone_after = TIDY_EVERY.max(2 * shared.config.lease);
    for info in shared.broker.members(key, group).await? {
        // The pseudo-member that holds what was handed back is no name.
        let Ok(member) = Name::new(info.name.as_str()) else { continue };
        if info.pending > 0 || info.idle < gone_after || member == shared.membership.member {
            continue;
        }
        // Looked at once more by the broker, in the same step: it may have come back to life meanwhile.
        let membership = Membership { key: key.clone(), group: group.clone(), member };
        if shared.broker.leave(&membership).await? {
            info!(member = ?membership, idle = ?info.idle, "a member that is gone was taken off the list");
        }
    }
    Ok(())
}

/// Says which groups keep the stream from being trimmed although nobody reads for them.
async fn name_stale_groups(shared: &Shared, named: &mut HashSet<Name>) -> Result<(), BrokerError> {
    let Membership { key, group, .. } = &*shared.membership;
    for info in shared.broker.groups(key).await? {
        let GroupInfo { name, pending, lag, .. } = &info;
        let behind = *pending > 0 || *lag != Some(0);
        let is_stale = name != group && behind && {
            let members = shared.broker.members(key, name).await?;
            members.iter().all(|member| member.idle > TIDY_EVERY)
        };
        if !is_stale {
            named.remove(name);
        } else if named.insert(name.clone()) {
            warn!(
                %key, group = %name, pending, lag,
                "nobody reads for this group, so finished entries stay in the stream; start a member, or drop the group"
            );
        }
    }
    Ok(())
}
