//! Payloads as users give them: an argument or the standard input.

use std::io::{self, Read};

use bytes::Bytes;
use clap::Args;
use serde::de::IgnoredAny;
use streamerson::core::{Headers, is_json_type, wire::PAYLOAD_BYTES_MAX};

use crate::failure::Failure;

/// What a message carries, as `emit` and `request` take it.
#[derive(Debug, Args)]
pub(crate) struct PayloadArgs {
    /// The payload, as JSON; - reads it from the standard input. Empty when not given
    #[arg(value_name = "JSON|-")]
    payload: Option<String>,

    /// A header of the message; may be given more than once
    ///
    /// With a content-type that is not JSON, the payload may be anything.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
}

impl PayloadArgs {
    /// The headers and the payload, which is the JSON that it claims to be.
    pub(crate) fn read(&self) -> Result<(Headers, Bytes), Failure> {
        let headers: Headers = self.headers.iter().map(|(name, value)| (name, value.as_str())).collect();
        let payload = match self.payload.as_deref() {
            None => Vec::new(),
            Some("-") => read_stdin()?,
            Some(text) => text.as_bytes().to_vec(),
        };
        let is_json = headers.get(Headers::CONTENT_TYPE).is_none_or(is_json_type);
        if is_json && !payload.is_empty() {
            check_json(&payload)?;
        }
        Ok((headers, payload.into()))
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE, as in 'content-type: text/plain'")?;
    if name.is_empty() || name.contains(|char: char| char.is_whitespace() || char.is_control()) {
        return Err("the name of a header is not empty and has no spaces".into());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    // One byte more than allowed is enough to know that it is too much, however much there is.
    let bounded = io::stdin().lock().take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut payload);
    bounded.map_err(|error| Failure::failed("cannot read the standard input").because(error))?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Failure::failed(format!("the payload takes more than the {PAYLOAD_BYTES_MAX} bytes allowed")));
    }
    Ok(payload)
}

fn check_json(payload: &[u8]) -> Result<(), Failure> {
    let not_json = |error: &dyn std::fmt::Display| {
        Failure::misused(format!("the payload is not JSON: {error}"))
            .hint("quote it for the shell: '{\"name\":\"Ann\"}'; for other types say -H 'content-type: text/plain'")
    };
    // The parser skips what is not wanted without a look at its encoding.
    let text = str::from_utf8(payload).map_err(|error| not_json(&error))?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| not_json(&error))
}
