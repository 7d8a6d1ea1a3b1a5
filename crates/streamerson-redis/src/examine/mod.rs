//! What an operator wants to know of a server, beyond the port: its settings, its keys, and the user's rights.
//!
//! All of it only looks. What the user may not ask is [`BrokerError::Refused`] with the code `NOPERM`, and nothing here
//! needs another thing here.

mod info;
mod keys;
mod rights;

use std::time::{Duration, Instant};

use streamerson_core::{Topic, broker::BrokerError};

pub use self::{
    info::{ReplicaInfo, ServerInfo},
    keys::{KeyInfo, KeyPage},
    rights::{Lacking, Rights, Side},
};
use crate::{
    RedisBroker,
    error::refused,
    reply::{array, as_text, is_denial},
    resp::Reply,
    shared::Shared,
};

/// About what these commands take on the wire, in bytes.
const EXAMINE_BYTES: usize = 128;

/// How often the server is pinged to know how long that takes.
const PINGS: usize = 5;

/// Looks at the server behind a broker; made by [`RedisBroker::examiner`].
#[derive(Debug)]
pub struct Examiner<'a> {
    shared: &'a Shared,
}

impl RedisBroker {
    /// Looks at the server, for an operator.
    pub fn examiner(&self) -> Examiner<'_> {
        Examiner { shared: self.shared() }
    }
}

impl Examiner<'_> {
    /// How long the server takes to answer: the median of a few times, one after another.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when it does not.
    pub async fn ping(&self) -> Result<Duration, BrokerError> {
        let mut took = [Duration::ZERO; PINGS];
        for took in &mut took {
            let asked = Instant::now();
            self.ask("PING", &["PING"]).await?;
            *took = asked.elapsed();
        }
        took.sort_unstable();
        Ok(took[PINGS / 2])
    }

    /// What the server says of itself (`INFO`).
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when it cannot be asked.
    pub async fn info(&self) -> Result<ServerInfo, BrokerError> {
        let reply = self.ask("INFO", &["INFO"]).await?;
        let text = as_text(&reply).ok_or_else(|| crate::error::unexpected("INFO", &reply))?;
        Ok(ServerInfo::read(text))
    }

    /// A setting (`CONFIG GET`), which managed servers hide and users with few rights may not ask; `None` for one that
    /// the server does not have.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when it cannot be asked.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, BrokerError> {
        let pair = array("CONFIG GET", self.ask("CONFIG GET", &["CONFIG", "GET", name]).await?)?;
        Ok(pair.get(1).and_then(as_text).map(str::to_owned))
    }

    /// Whether the server has a command. Needs no right, since it is called without the arguments that it must have. Not
    /// for commands that take none.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the server cannot be asked.
    pub async fn has_command(&self, name: &str) -> Result<bool, BrokerError> {
        let reply = self.shared.call_one(EXAMINE_BYTES, |batch| {
            batch.command(1).arg(name);
        });
        Ok(match reply.await? {
            Reply::Error(message) => !message.to_ascii_lowercase().starts_with(b"err unknown command"),
            _ => true,
        })
    }

    /// The keys that have names of ours, a page at a time, from 0 on; marks of single messages, of which there may be
    /// many, are left out. A page may hold nothing and not be the last.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the server cannot be asked.
    pub async fn keys(&self, page: u64) -> Result<KeyPage, BrokerError> {
        keys::page(self.shared, page).await
    }

    /// What this user may not do that clients and workers of a topic must be allowed.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the server cannot be reached. What is denied is no error here.
    pub async fn rights(&self, topic: &Topic) -> Result<Rights, BrokerError> {
        rights::of(self.shared, topic).await
    }

    async fn ask(&self, what: &str, words: &[&str]) -> Result<Reply, BrokerError> {
        let reply = self.shared.call_one(EXAMINE_BYTES, |batch| {
            let mut command = batch.command(words.len());
            words.iter().for_each(|word| {
                command.arg(*word);
            });
        });
        match reply.await? {
            Reply::Error(message) if is_denial(&message) => {
                let cause = format!("this user may not ask ({what})");
                Err(BrokerError::Refused { code: "NOPERM".into(), message: cause.into() })
            }
            Reply::Error(message) => Err(refused(&message)),
            reply => Ok(reply),
        }
    }
}
