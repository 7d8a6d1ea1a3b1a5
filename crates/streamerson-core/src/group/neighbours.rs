//! Members of one process: they share its fate, so what kills one of them kills all.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard};

use super::{keeper, member::Shared};

/// The members of a process that know of each other: one, or those for the shards of a topic.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Open for reads and take-overs; closed while a delivery has to be alone.
    gate: Arc<RwLock<()>>,
    // Locked to add one or to list all, never across an await.
    members: Mutex<Vec<Weak<Shared>>>,
}

impl Neighbours {
    pub(super) fn add(&self, member: &Arc<Shared>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(member));
    }

    fn members(&self) -> Vec<Arc<Shared>> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().filter_map(Weak::upgrade).collect()
    }

    /// For as long as this is held, no delivery begins to be alone.
    pub(super) async fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// The same, unless one is alone now or is about to be.
    pub(super) fn try_enter(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.gate.try_read().ok()
    }

    /// Waits until nothing is held in this process but one delivery that is to be alone in `host`, and what waits for its
    /// time. Until the answer is dropped nothing more is taken.
    pub(super) async fn clear_for(&self, host: &Arc<Shared>) -> OwnedRwLockWriteGuard<()> {
        let kept = |member: &Arc<Shared>| usize::from(Arc::ptr_eq(member, host));
        for member in self.members() {
            // A read that waits would go on for a while.
            if let Some(reader) = member.reader.get() {
                reader.wake();
            }
        }
        // No read is under way from here on, and none begins.
        let closed = Arc::clone(&self.gate).write_owned().await;
        // Looked up only now: one that joined meanwhile may have taken something, too.
        let members = self.members();
        for member in &members {
            member.dispatch.give_back_unstarted(kept(member));
            member.is_behind();
        }
        for member in &members {
            member.dispatch.until_quiet(kept(member)).await;
            // What was given back is the member's until the broker has heard of it.
            keeper::hand_back(member).await;
        }
        closed
    }
}
