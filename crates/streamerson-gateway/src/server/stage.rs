//! How far the server is on its way from serving to its end.

use tokio::sync::watch;

/// The stages of a server's life, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    /// No connection is accepted any more, and each response is the last on its connection.
    Draining,
    /// Connections on which nothing is asked are closed.
    Closing,
    /// The time is up: everything ends where it is.
    Over,
}

/// Returns once a stage is reached.
pub(super) async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    // A server that was dropped is over, and with it whatever waits for a stage.
    _ = stage.wait_for(|stage| *stage >= wanted).await;
}
