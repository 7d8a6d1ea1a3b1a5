//! What the member under test and whoever tests it agree on: jobs, and the journal of what was done.

mod job;
mod journal;

pub use self::{
    job::{Job, TOPIC},
    journal::{Journal, Line, What, now_micros},
};
