//! The tables that there is one of each.

use axum::http::HeaderValue;
use toml::de::DeValue;

use super::{
    Limits,
    mistake::Mistakes,
    table::{Parsed, Table, count, some, text},
    value::{ListenAddr, duration, origin, some_duration},
};

/// `[admin]`.
pub(super) fn admin(
    mut table: Table<'_>,
    public: Option<&ListenAddr>,
    mistakes: &mut Mistakes<'_>,
) -> Option<ListenAddr> {
    let listen = table.required(mistakes, "listen", "\"127.0.0.1:9090\"", |value| match listen_addr(value)? {
        both if Some(&both) == public && !both.as_str().ends_with(":0") => {
            Err("everybody is to be heard there already; operators need another port".to_owned())
        }
        own => Ok(own),
    });
    table.finish(mistakes);
    listen.map(|listen| listen.value)
}

/// `[cors]`: the origins whose pages may read what the gateway answers.
pub(super) fn cors(mut table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Vec<HeaderValue> {
    let origins = table.list(mistakes, "origins", origin);
    if origins.is_none() {
        table.required(mistakes, "origins", "[\"https://shop.example\"]", |_| Ok(()));
    }
    table.finish(mistakes);
    origins.unwrap_or_default()
}

/// `[limits]`.
pub(super) fn limits(mut table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Limits {
    let mut limits = Limits::default();
    let some_time = |value| some_duration(text(value)?);
    table.set(mistakes, "connections_max", &mut limits.connections_max, some_u32);
    table.set(mistakes, "requests_max", &mut limits.requests_max, some_usize);
    table.set(mistakes, "response_bytes_max", &mut limits.response_bytes_max, bytes);
    table.set(mistakes, "head_timeout", &mut limits.head_timeout, some_time);
    table.set(mistakes, "head_bytes_max", &mut limits.head_bytes_max, head_bytes_max);
    table.set(mistakes, "idle_grace", &mut limits.idle_grace, |value| duration(text(value)?));
    table.set(mistakes, "send_timeout", &mut limits.send_timeout, some_time);
    table.set(mistakes, "send_rate_min", &mut limits.send_rate_min, some);
    table.set(mistakes, "tls_handshake_timeout", &mut limits.tls_handshake_timeout, some_time);
    let http2 = &mut limits.http2;
    table.set(mistakes, "http2_streams_max", &mut http2.streams_max, some_u32);
    table.set(mistakes, "http2_response_bytes_max", &mut http2.response_bytes_max, bytes);
    table.set(mistakes, "http2_resets_max", &mut http2.resets_max, some_usize);
    table.set(mistakes, "http2_errors_max", &mut http2.errors_max, some_usize);
    table.set(mistakes, "http2_ping_interval", &mut http2.ping_interval, some_time);
    table.set(mistakes, "http2_ping_timeout", &mut http2.ping_timeout, some_time);
    table.finish(mistakes);
    limits
}

fn some_u32(value: &DeValue<'_>) -> Parsed<u32> {
    u32::try_from(some(value)?).map_err(|_| "it must be below 4294967296".to_owned())
}

fn some_usize(value: &DeValue<'_>) -> Parsed<usize> {
    Ok(some_u32(value)? as usize)
}

/// A bound in bytes that may be beyond 4 GiB.
fn bytes(value: &DeValue<'_>) -> Parsed<usize> {
    usize::try_from(some(value)?).map_err(|_| "it must be smaller".to_owned())
}

/// Up to what the server can hold for each connection, and down to what an ordinary browser sends.
fn head_bytes_max(value: &DeValue<'_>) -> Parsed<usize> {
    match usize::try_from(count(value)?) {
        Ok(bytes @ 1024..=1_048_576) => Ok(bytes),
        _ => Err("it must be from 1024 to 1048576".to_owned()),
    }
}

pub(super) fn listen_addr(value: &DeValue<'_>) -> Parsed<ListenAddr> {
    text(value)?.parse()
}
