//! Named leases, and registries of who lives.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{clock::unix_millis, store::Store};
use crate::{
    broker::{BrokerError, LeaseRequest, LeaseState, REGISTRY_NAMES_MAX},
    keys::{OwnerKey, RegistryKey},
    name::Name,
};

/// The leases and registries of one shard.
#[derive(Debug, Default)]
pub(super) struct Owners {
    leases: HashMap<OwnerKey, Owner>,
    /// The names of each registry, and when each goes.
    registries: HashMap<RegistryKey, BTreeMap<Name, Duration>>,
}

#[derive(Debug)]
struct Owner {
    /// None when it was released.
    holder: Option<Name>,
    epoch: u64,
    ends: Duration,
    /// Until when the epoch is remembered.
    kept: Duration,
}

impl Owners {
    fn lease(&mut self, request: LeaseRequest, now: Duration) -> LeaseState {
        let LeaseRequest { key, holder, ttl } = request;
        if !self.leases.contains_key(&key) {
            // Few keys ever come, so that now is the time to look after those that nobody asks for any more.
            self.leases.retain(|_, owner| owner.kept > now);
        }
        let owner = self.leases.entry(key).or_insert(Owner { holder: None, epoch: 0, ends: now, kept: now });
        if owner.holder.as_ref() != Some(&holder) && (owner.holder.is_none() || owner.ends <= now) {
            owner.epoch = (owner.epoch + 1).max(unix_millis(now));
            owner.holder = Some(holder.clone());
        }
        let held = owner.holder.as_ref() == Some(&holder);
        if held {
            owner.ends = now.saturating_add(ttl.max(Duration::from_millis(1)));
            owner.kept = owner.ends.saturating_add(LeaseRequest::EPOCH_KEPT);
        }
        LeaseState {
            holder: owner.holder.clone().unwrap_or(holder),
            epoch: owner.epoch,
            held,
            left: owner.ends.saturating_sub(now),
        }
    }

    fn release(&mut self, key: &OwnerKey, holder: &Name) -> bool {
        let owner = self.leases.get_mut(key).filter(|owner| owner.holder.as_ref() == Some(holder));
        owner.and_then(|owner| owner.holder.take()).is_some()
    }

    fn register(
        &mut self,
        key: &RegistryKey,
        name: &Name,
        ttl: Duration,
        now: Duration,
    ) -> Result<Vec<Name>, BrokerError> {
        if !self.registries.contains_key(key) {
            self.registries.retain(|_, names| names.values().any(|ends| *ends > now));
        }
        let names = self.registries.entry(key.clone()).or_default();
        names.retain(|_, ends| *ends > now);
        if !names.contains_key(name) && names.len() as u64 >= REGISTRY_NAMES_MAX {
            return Err(BrokerError::Full { key: key.as_str().into(), max: REGISTRY_NAMES_MAX });
        }
        names.insert(name.clone(), now.saturating_add(ttl.max(Duration::from_millis(1))));
        Ok(names.keys().cloned().collect())
    }

    fn unregister(&mut self, key: &RegistryKey, name: &Name) {
        if let Some(names) = self.registries.get_mut(key) {
            names.remove(name);
            if names.is_empty() {
                self.registries.remove(key);
            }
        }
    }
}

impl Store {
    pub(super) fn lease(&self, request: LeaseRequest) -> LeaseState {
        let place = request.key.place().clone();
        let mut step = self.step([&place]);
        let now = step.now();
        step.shard(&place).owners.lease(request, now)
    }

    pub(super) fn release_lease(&self, key: &OwnerKey, holder: &Name) -> bool {
        self.step([key.place()]).shard(key.place()).owners.release(key, holder)
    }

    pub(super) fn register(&self, key: &RegistryKey, name: &Name, ttl: Duration) -> Result<Vec<Name>, BrokerError> {
        let mut step = self.step([key.place()]);
        let now = step.now();
        step.shard(key.place()).owners.register(key, name, ttl, now)
    }

    pub(super) fn unregister(&self, key: &RegistryKey, name: &Name) {
        self.step([key.place()]).shard(key.place()).owners.unregister(key, name);
    }
}
