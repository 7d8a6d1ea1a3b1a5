//! Clients that mean no good, and clients that cannot help it, on raw sockets against the standalone gateway: what breaks a
//! rule is refused or cut, nothing of it is appended, and other connections are answered meanwhile.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod flood;
mod frames;
mod framing;
mod headers;
mod http2;
mod scene;
mod sending;
mod slow;
#[path = "../support/mod.rs"]
mod support;
