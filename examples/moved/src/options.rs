//! The command line, by hand: an example needs no more.

use std::env;

const USAGE: &str = "usage: moved [plain|gateway|worker] [--broker URL] [--listen ADDR]";

pub(crate) struct Options {
    pub(crate) role: Role,
    pub(crate) broker: String,
    pub(crate) listen: String,
}

/// Which parts run in this process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The service on a socket of its own, as it was before.
    Plain,
    Gateway,
    Worker,
    /// Gateway and worker.
    Both,
}

impl Options {
    pub(crate) fn from_args() -> Result<Self, String> {
        let mut options = Self { role: Role::Both, broker: "memory://".into(), listen: "127.0.0.1:3000".into() };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(USAGE);
            match &*arg {
                "plain" => options.role = Role::Plain,
                "gateway" => options.role = Role::Gateway,
                "worker" => options.role = Role::Worker,
                "--broker" => options.broker = value()?,
                "--listen" => options.listen = value()?,
                _ => return Err(USAGE.into()),
            }
        }
        if matches!(options.role, Role::Gateway | Role::Worker) && options.broker == "memory://" {
            return Err("two processes cannot meet in memory://: say --broker redis://127.0.0.1:6379".into());
        }
        Ok(options)
    }
}
