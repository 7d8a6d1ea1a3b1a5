//! The standalone gateway: a configuration file, listeners, TLS, metrics, and an end in good order. With the feature `server`.
//!
//! [`Config::parse`] reads the file, [`Server::bind`] takes the addresses, and [`Server::run`] serves until it is told to
//! stop. The program `streamerson gateway` is these three calls; `docs/gateway.md` is the reference of the file.

mod admin;
mod agreement;
mod beside;
mod config;
mod connection;
mod connections;
mod cors;
mod edge;
mod exchange;
mod exchanges;
mod last_call;
mod metrics;
mod peer;
mod response_body;
mod responses;
mod router;
mod run;
mod send_rate;
mod stage;
mod tls;

pub use self::{
    beside::serve_metrics,
    config::{Config, InvalidConfig, ListenAddr, Mistake, Overrides},
    run::{Server, StartError},
    tls::{Certificate, InvalidCertificate},
};
