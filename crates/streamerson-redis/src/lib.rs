//! The Redis broker of streamerson.
//!
//! [`RedisBroker`] implements the broker port of `streamerson-core` over Redis Streams, with a RESP2 connection of its
//! own: replies are slices of the read buffer, and commands of all tasks share one write. RESP stays in this crate.
//!
//! It uses only commands that Redis from 6.2 on, Valkey, Dragonfly and Kvrocks have in common.

mod append;
mod broker;
mod claim;
mod clock;
mod config;
mod connection;
mod dead;
mod error;
mod eviction;
pub mod examine;
mod group;
mod inspect;
mod marks;
mod owners;
mod read;
mod reply;
// Public for the fuzz targets only.
#[doc(hidden)]
pub mod resp;
mod scan;
mod schedule;
mod script;
mod settle;
mod shared;
mod step;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod url;

pub use broker::RedisBroker;
pub use config::RedisConfig;
pub use url::{Endpoint, PORT_DEFAULT, RedisUrl, UrlError, UrlErrorKind};
