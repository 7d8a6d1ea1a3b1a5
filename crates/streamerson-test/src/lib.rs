//! Real servers, the broker conformance suite and fault tools for the tests of streamerson.
//!
//! Everything here panics instead of returning errors, with a message that says what to do: the callers are tests.
//!
//! - [`RedisServer`] runs a real `redis-server` for one test and takes it away afterwards.
//! - [`Proxy`] stands between a client and a server and makes the network misbehave.
//! - [`Process`] runs one of the project's binaries and lets a test await what it prints.
//! - The module [`conformance`](mod@conformance) holds what every broker must do, and [`conformance!`] makes tests of it.
//! - The module [`behaviour`](mod@behaviour) holds what clients and members do over any broker, and [`behaviour!`] makes
//!   tests of it.
//! - [`Exposition`] reads a page of metrics, and tells what is wrong with it.
//! - [`eventually`] awaits a condition that can only be polled.

pub mod behaviour;
pub mod conformance;
mod eventually;
mod exposition;
mod process;
mod proxy;
mod redis_server;
mod resp;
mod scratch_dir;
mod signal;

pub use eventually::eventually;
pub use exposition::Exposition;
pub use process::{Finished, Process, project_binary};
pub use proxy::{Direction, Proxy};
pub use redis_server::{RedisServer, RedisServerBuilder};
pub use resp::{RespClient, Value};
pub use scratch_dir::ScratchDir;
pub use signal::Signal;
