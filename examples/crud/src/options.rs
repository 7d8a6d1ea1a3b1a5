//! The command line, by hand: an example needs no more.

use std::{env, time::Duration};

const USAGE: &str = "\
usage: crud [gateway|worker] [--broker URL] [--listen ADDR] [--database FILE] [--lease SECONDS]";

pub(crate) struct Options {
    pub(crate) role: Role,
    pub(crate) broker: String,
    pub(crate) listen: String,
    /// The file that holds the books; made if it is not there.
    pub(crate) database: String,
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
            database: "books.sqlite".into(),
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
                "--database" => options.database = value()?,
                "--lease" => options.lease = Duration::from_secs(value()?.parse().map_err(|_| USAGE)?),
                _ => return Err(USAGE.into()),
            }
        }
        if options.role != Role::Both && options.broker == "memory://" {
            return Err("two processes cannot meet in memory://: say --broker redis://127.0.0.1:6379".into());
        }
        Ok(options)
    }
}
