//! A steady load while something goes wrong, and after it.

use std::time::Duration;

use futures_util::future::join;
use streamerson_core::Client;
use tokio::sync::watch;

use super::{
    account::{Load, Sent, broker},
    lines::Lines,
};

const TASKS: usize = 8;
/// How many calls are good before something goes wrong, and after it.
const CALLS: usize = 100;
/// What two workers and a client may log at most, each on a connection of its own, whatever happens for however long.
const LINES_MAX: usize = 24;

/// Runs two workers and a client that calls all the time; `fault` breaks something under them and mends it. Answers
/// once as many calls as before were good again.
///
/// It runs on one thread, that of the test, so that the log is that of this load alone.
pub(super) async fn steady(
    url: &str,
    timeout: Duration,
    fault: impl AsyncFnOnce(&Load, &Client),
) -> (Load, Client, Sent) {
    let lines = Lines::record();
    let mut load = Load::new(&broker(url).await).await;
    let open = watch::Sender::new(true);
    for _ in 0..2 {
        load.work(&broker(url).await, &open).await;
    }
    let client = Client::new(broker(url).await);
    let stop = watch::Sender::new(false);
    let story = async {
        load.goes_on(CALLS).await;
        fault(&load, &client).await;
        load.goes_on(CALLS).await;
        stop.send_replace(true);
    };
    let (sent, ()) = join(load.send_until(&client, TASKS, timeout, &stop), story).await;
    let lines = lines.taken();
    assert!(lines.len() <= LINES_MAX, "{} lines were logged:\n{}", lines.len(), lines.join("\n"));
    (load, client, sent)
}
