//! The command line, by hand: an example needs no more.

use std::{env, time::Duration};

const USAGE: &str = "\
usage: hello [gateway|worker] [--broker URL] [--listen ADDR] [--timeout SECONDS] [--lease SECONDS]";

pub(crate) struct Options {
    pub(crate) role: Role,
    pub(crate) broker: String,
    pub(crate) listen: String,
    /// How long the gateway waits for a reply.
    pub(crate) timeout: Duration,
    /// How long what a worker has waits for another worker when that one dies.
    pub(crate) lease: Duration,
}

/// Which parts run in this process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Worker,
    Both,
}

impl Options {
    pub(crate) fn from_args() -> Result<Self, String> {
        let mut options = Self {
            role: Role::Both,
            broker: "memory://".into(),
            listen: "127.0.0.1:3000".into(),
            timeout: Duration::from_secs(5),
            lease: Duration::from_secs(30),
        };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(USAGE);
            match &*arg {
                "gateway" => options.role = Role::Gateway,
                "worker" => options.role = Role::Worker,
                "--broker" => options.broker = value()?,
                "--listen" => options.listen = value()?,
                "--timeout" => options.timeout = seconds(&value()?)?,
                "--lease" => options.lease = seconds(&value()?)?,
                _ => return Err(USAGE.into()),
            }
        }
        if options.role != Role::Both && options.broker == "memory://" {
            return Err("two processes cannot meet in memory://: say --broker redis://127.0.0.1:6379".into());
        }
        Ok(options)
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    text.parse().map(Duration::from_secs).map_err(|_| USAGE)
}
