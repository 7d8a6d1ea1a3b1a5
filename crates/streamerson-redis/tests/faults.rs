//! What becomes of messages while the network, the server and its data fail: an account of every one of them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the helpers are tests too, and the account is to be seen"
)]

mod faults {
    mod account;
    mod away;
    mod cuts;
    mod lines;
    mod network;
    mod outages;
    mod removed;
    mod settling;
    mod steady;
}
