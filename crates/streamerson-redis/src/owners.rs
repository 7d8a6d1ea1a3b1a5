//! Named leases, and registries of who lives.

use std::time::Duration;

use streamerson_core::{
    Name, OwnerKey, RegistryKey, StreamKey,
    broker::{BrokerError, LeaseRequest, LeaseState, REGISTRY_NAMES_MAX},
};

use crate::{
    append::millis,
    error::unexpected,
    reply::{array, as_count, as_text, stream_error},
    resp::Reply,
    schedule::refusal,
    script,
    shared::Shared,
};

/// What errors call the scripts.
const LEASE: &str = "the lease script";
const RELEASE: &str = "the release script";
const REGISTER: &str = "the register script";

/// About what these commands take on the wire, in bytes.
const OWNER_BYTES: usize = 512;

/// See [`Broker::lease`](streamerson_core::Broker::lease).
pub(crate) async fn lease(shared: &Shared, request: &LeaseRequest) -> Result<LeaseState, BrokerError> {
    let LeaseRequest { key, holder, ttl } = request;
    let reply = script::LEASE.run(shared, 1, 3, OWNER_BYTES, |command| {
        command.arg(key.as_str()).arg(holder.as_str());
        command.int(bounded(*ttl)).int(millis(LeaseRequest::EPOCH_KEPT));
    });
    let state = array(LEASE, checked(LEASE, reply.await?, key)?)?;
    let number = |at: usize| state.get(at).and_then(as_text)?.parse().ok();
    let name = state.first().and_then(as_text).and_then(|name| Name::new(name.to_owned()).ok());
    match (name, number(1), number(2)) {
        (Some(name), Some(epoch), Some(left)) => {
            let held = name == *holder;
            Ok(LeaseState { holder: name, epoch, held, left: Duration::from_millis(left) })
        }
        _ => Err(unexpected(LEASE, &Reply::Array(state))),
    }
}

/// See [`Broker::release_lease`](streamerson_core::Broker::release_lease).
pub(crate) async fn release(shared: &Shared, key: &OwnerKey, holder: &Name) -> Result<bool, BrokerError> {
    let reply = script::RELEASE.run(shared, 1, 1, OWNER_BYTES, |command| {
        command.arg(key.as_str()).arg(holder.as_str());
    });
    let reply = checked(RELEASE, reply.await?, key)?;
    as_count(&reply).map(|released| released > 0).ok_or_else(|| unexpected(RELEASE, &reply))
}

/// See [`Broker::register`](streamerson_core::Broker::register).
pub(crate) async fn register(
    shared: &Shared,
    key: &RegistryKey,
    name: &Name,
    ttl: Duration,
) -> Result<Vec<Name>, BrokerError> {
    let reply = script::REGISTER.run(shared, 1, 3, OWNER_BYTES, |command| {
        command.arg(key.as_str()).arg(name.as_str()).int(bounded(ttl)).int(REGISTRY_NAMES_MAX);
    });
    let names = match reply.await? {
        Reply::Error(message) => return Err(refusal(REGISTER, &message, key.as_str())),
        reply => array(REGISTER, reply)?,
    };
    // What is no name was put there by somebody else.
    let mut names: Vec<_> =
        names.iter().filter_map(as_text).filter_map(|name| Name::new(name.to_owned()).ok()).collect();
    names.sort();
    Ok(names)
}

/// See [`Broker::unregister`](streamerson_core::Broker::unregister).
pub(crate) async fn unregister(shared: &Shared, key: &RegistryKey, name: &Name) -> Result<(), BrokerError> {
    let ask = shared.call_one(OWNER_BYTES, |batch| {
        batch.command(3).arg("ZREM").arg(key.as_str()).arg(name.as_str());
    });
    match ask.await? {
        Reply::Error(message) => Err(refusal("ZREM", &message, key.as_str())),
        _ => Ok(()),
    }
}

/// A time that can be added to the time of day and still be told to the millisecond.
fn bounded(ttl: Duration) -> u64 {
    millis(ttl).min(1 << 51)
}

fn checked(command: &str, reply: Reply, key: &OwnerKey) -> Result<Reply, BrokerError> {
    match reply {
        Reply::Error(message) => Err(stream_error(command, &message, &StreamKey::raw(key.as_str().to_owned()), None)),
        reply => Ok(reply),
    }
}
