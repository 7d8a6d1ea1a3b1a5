//! The command line, by hand: an example needs no more.

use std::env;

const USAGE: &str = "usage: pipeline [stages|alarm|sensors|screen] [--broker URL]";

pub(crate) struct Options {
    pub(crate) role: Role,
    pub(crate) broker: String,
}

/// Which parts run in this process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Stages,
    Alarm,
    Sensors,
    Screen,
    All,
}

impl Options {
    pub(crate) fn from_args() -> Result<Self, String> {
        let mut options = Self { role: Role::All, broker: "memory://".into() };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            match &*arg {
                "stages" => options.role = Role::Stages,
                "alarm" => options.role = Role::Alarm,
                "sensors" => options.role = Role::Sensors,
                "screen" => options.role = Role::Screen,
                "--broker" => options.broker = args.next().ok_or(USAGE)?,
                _ => return Err(USAGE.into()),
            }
        }
        if options.role != Role::All && options.broker == "memory://" {
            return Err("processes cannot meet in memory://: say --broker redis://127.0.0.1:6379".into());
        }
        Ok(options)
    }
}
