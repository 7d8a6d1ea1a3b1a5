//! The users of docs/redis.md, made as printed there: what they can do, and that they can do no more.

mod deliveries;
mod examiner;
mod limits;
mod marks;
mod requests;
mod scene;
