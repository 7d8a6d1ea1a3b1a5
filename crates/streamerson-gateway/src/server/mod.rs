//! The standalone gateway: a configuration file, listeners, metrics, and an end in good order. With the feature `server`.
//!
//! [`Config::parse`] reads the file, [`Server::bind`] takes the addresses, and [`Server::run`] serves until it is told to
//! stop. The program `streamerson gateway` is these three calls; `docs/gateway.md` is the reference of the file.

mod admin;
mod beside;
mod config;
mod connections;
mod cors;
mod edge;
mod metrics;
mod router;
mod run;
mod stage;

pub use self::{
    beside::serve_metrics,
    config::{Config, InvalidConfig, ListenAddr, Overrides},
    run::{Server, StartError},
};
