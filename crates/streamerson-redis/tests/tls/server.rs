//! A server with a port for TLS.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use streamerson_redis::RedisConfig;
use streamerson_test::{RedisServer, RedisServerBuilder};

use crate::certificates::certificates;

/// Ports above those of the plain listeners and of outgoing connections.
const PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_000;

/// A server that speaks plainly on one port and TLS on another, and where the second is.
pub(crate) async fn spawn(change: impl FnOnce(RedisServerBuilder) -> RedisServerBuilder) -> (RedisServer, SocketAddr) {
    let port = free_port();
    let certificates = certificates();
    let builder = RedisServer::builder()
        .setting("tls-port", &port.to_string())
        .setting("tls-cert-file", text(&certificates.server.certificate))
        .setting("tls-key-file", text(&certificates.server.key))
        .setting("tls-ca-cert-file", text(&certificates.ca))
        .setting("tls-auth-clients", "no");
    (change(builder).spawn().await, (Ipv4Addr::LOCALHOST, port).into())
}

/// The settings for a server at this address whose authority is known.
pub(crate) fn config(address: SocketAddr) -> RedisConfig {
    RedisConfig::new(format!("rediss://{address}").parse().expect("a URL")).ca_file(&certificates().ca)
}

/// A path, as an argument of the server.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start() + u16::try_from(number % u32::from(PORTS.end() - PORTS.start())).expect("small");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
