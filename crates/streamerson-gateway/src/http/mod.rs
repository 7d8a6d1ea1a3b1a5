//! HTTP requests as messages, replies as HTTP responses.
//!
//! A request passes through here in the order of the files: `forward` makes the message's headers, `body` reads and
//! checks the payload, `request` (with `call`, its typed form, and `http_requests`, which asks nothing of the body) or `emit` sends the message, and `respond` turns the
//! reply into a response. What may be repeated goes through `idempotency` on its way. What fails on the way is a `Refusal`, the whole list of answers that are the gateway's own.

mod allow_list;
mod body;
mod call;
mod emit;
mod forward;
mod hop_by_hop;
mod http_requests;
mod idempotency;
mod refusal;
mod request;
mod respond;
mod route;
mod shard_key;

pub(crate) use self::idempotency::KeyedRequests;
#[cfg(feature = "server")]
pub(crate) use self::{
    allow_list::{REPLY_HEADERS, THE_REST, check_header},
    hop_by_hop::strip as strip_hop_by_hop,
    idempotency::header_name,
    refusal::{head_too_large, respond},
};
pub use self::{
    call::Calls,
    emit::Emits,
    http_requests::HttpRequests,
    idempotency::Idempotency,
    refusal::Outcome,
    request::Requests,
    route::{Answered, Route},
    shard_key::{InvalidShardKey, ShardKey},
};
