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
pub(super) fn admin(mut table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<ListenAddr> {
    let listen = table.required(mistakes, "listen", "\"127.0.0.1:9090\"", listen_addr);
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
    let default = Limits::default();
    let connections_max = table.get(mistakes, "connections_max", |value| {
        u32::try_from(some(value)?).map_err(|_| "it must be below 4294967296".to_owned())
    });
    let head_timeout = table.get(mistakes, "head_timeout", |value| some_duration(text(value)?));
    let head_bytes_max = table.get(mistakes, "head_bytes_max", head_bytes_max);
    let idle_grace = table.get(mistakes, "idle_grace", |value| duration(text(value)?));
    table.finish(mistakes);
    Limits {
        connections_max: connections_max.map_or(default.connections_max, |it| it.value),
        head_timeout: head_timeout.map_or(default.head_timeout, |it| it.value),
        head_bytes_max: head_bytes_max.map_or(default.head_bytes_max, |it| it.value),
        idle_grace: idle_grace.map_or(default.idle_grace, |it| it.value),
    }
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
