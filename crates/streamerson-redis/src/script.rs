//! Scripts: steps that must look before they act, done by the server in one go.

use std::sync::OnceLock;

use streamerson_core::broker::BrokerError;

use crate::{
    resp::{Command, Reply},
    shared::{Batch, Shared},
};

/// A Lua script. Every key that it touches is declared, as clusters and some servers demand.
pub(crate) struct Script {
    text: &'static str,
    /// The name by which the server knows the script, a hash of its text; learned from the server with the first use.
    hash: OnceLock<Box<[u8]>>,
}

/// Settles deliveries that the member still owns.
pub(crate) static SETTLE: Script = Script::new(concat!(
    include_str!("scripts/lib_bury.lua"),
    include_str!("scripts/lib_pending.lua"),
    include_str!("scripts/lib_schedule.lua"),
    include_str!("scripts/settle.lua"),
));
/// Renews the lease of deliveries that the member still owns.
pub(crate) static RENEW: Script = Script::new(concat!(
    include_str!("scripts/lib_less.lua"),
    include_str!("scripts/lib_pending.lua"),
    include_str!("scripts/lib_trimmed.lua"),
    include_str!("scripts/renew.lua"),
));
/// Takes over deliveries that nobody renewed.
pub(crate) static RECLAIM: Script = Script::new(concat!(
    include_str!("scripts/lib_bury.lua"),
    include_str!("scripts/lib_pending.lua"),
    include_str!("scripts/reclaim.lua"),
));
/// Gives up deliveries that never started.
pub(crate) static HAND_BACK: Script = Script::new(concat!(
    include_str!("scripts/lib_less.lua"),
    include_str!("scripts/lib_pending.lua"),
    include_str!("scripts/lib_trimmed.lua"),
    include_str!("scripts/hand_back.lua"),
));
/// Takes a member without pending deliveries off its group.
pub(crate) static LEAVE: Script =
    Script::new(concat!(include_str!("scripts/lib_pending.lua"), include_str!("scripts/leave.lua")));
/// Trims a stream behind its slowest group.
pub(crate) static TRIM: Script =
    Script::new(concat!(include_str!("scripts/lib_less.lua"), include_str!("scripts/trim.lua")));
/// Lets entries wait for their time.
pub(crate) static SCHEDULE: Script =
    Script::new(concat!(include_str!("scripts/lib_schedule.lua"), include_str!("scripts/schedule.lua")));
/// Moves entries whose time has come.
pub(crate) static MOVE_DUE: Script =
    Script::new(concat!(include_str!("scripts/lib_unpack.lua"), include_str!("scripts/move_due.lua")));
/// Lists entries that wait.
pub(crate) static SCHEDULED: Script = Script::new(include_str!("scripts/scheduled.lua"));
/// Removes entries that wait.
pub(crate) static CANCEL: Script = Script::new(include_str!("scripts/cancel.lua"));
/// Takes or renews a named lease.
pub(crate) static LEASE: Script = Script::new(include_str!("scripts/lease.lua"));
/// Ends a named lease.
pub(crate) static RELEASE: Script = Script::new(include_str!("scripts/release.lua"));
/// Says that somebody lives.
pub(crate) static REGISTER: Script = Script::new(include_str!("scripts/register.lua"));
/// Moves a dead letter back.
pub(crate) static REPLAY: Script = Script::new(include_str!("scripts/replay.lua"));

impl Script {
    const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    /// Runs the script on `keys` keys and `arguments` arguments, which `encode` adds, keys first. `bytes` is about how
    /// large they are.
    pub(crate) async fn run(
        &self,
        shared: &Shared,
        keys: usize,
        arguments: usize,
        bytes: usize,
        encode: impl Fn(&mut Command<'_>) + Sync,
    ) -> Result<Reply, BrokerError> {
        if let Some(hash) = self.hash.get() {
            let reply = shared.call_one(bytes, |batch| self.encode("EVALSHA", hash, keys, arguments, &encode, batch));
            match reply.await? {
                // The server was restarted, or is another one.
                Reply::Error(message) if message.starts_with(b"NOSCRIPT") => {}
                reply => return Ok(reply),
            }
        }
        let answer = shared.call(bytes + 2 * self.text.len(), |batch| {
            batch.command(3).arg("SCRIPT").arg("LOAD").arg(self.text);
            self.encode("EVAL", self.text.as_bytes(), keys, arguments, &encode, batch);
        });
        let mut replies = answer.await?.replies.into_iter();
        // A user may be allowed EVAL and not SCRIPT; then there is no hash, and each run sends the text.
        if let Some(Reply::Bulk(hash)) = replies.next() {
            self.hash.get_or_init(|| hash.to_vec().into());
        }
        replies.next().ok_or_else(|| BrokerError::Protocol("a script has no reply".into()))
    }

    fn encode(
        &self,
        verb: &str,
        script: &[u8],
        keys: usize,
        arguments: usize,
        encode: &impl Fn(&mut Command<'_>),
        batch: &mut Batch<'_>,
    ) {
        let mut command = batch.command(3 + keys + arguments);
        encode(command.arg(verb).arg(script).int(keys as u64));
    }
}
