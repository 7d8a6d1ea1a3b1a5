//! All that the adapter does, over TLS, and what it says when TLS fails.

mod certificates;
mod conformance;
mod handshake;
mod outages;
mod server;
