//! Signals that ask a command to stop, Ctrl-C and SIGTERM, or to read its files again, SIGHUP.

use std::io::{self, Write};

use tokio::sync::watch;

use crate::failure::Failure;

/// How often the process was asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<usize>);

impl Stop {
    /// Listens from here on; without this call a signal ends the process at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut signals =
            Signals::new().map_err(|error| Failure::failed("cannot listen for signals").because(error))?;
        let (count, stop) = watch::channel(0);
        tokio::spawn(async move {
            while signals.next().await.is_some() {
                count.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(stop))
    }

    /// Returns at the first signal: the command is to end in an orderly way.
    pub(crate) fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        self.count(1)
    }

    /// Whether there was a signal.
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// As [`Stop::requested`], for what takes a while to end: the user is told that the signal was heard.
    pub(crate) fn announced(&self) -> impl Future<Output = ()> + Send + use<> {
        let requested = self.requested();
        async move {
            requested.await;
            _ = writeln!(io::stderr(), "stopping once what was begun is done; a second signal stops at once");
        }
    }

    /// Returns at the second signal: the command is to end at once.
    pub(crate) fn demanded(&self) -> impl Future<Output = ()> + Send + use<> {
        self.count(2)
    }

    fn count(&self, wanted: usize) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.0.clone();
        async move {
            if stop.wait_for(|count| *count >= wanted).await.is_err() {
                // Nobody listens for signals any more, so there will be none.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Option<()> {
        tokio::select! {
            signal = self.interrupt.recv() => signal,
            signal = self.terminate.recv() => signal,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Option<()> {
        tokio::signal::ctrl_c().await.ok()
    }
}

/// Signals that ask a server to read its files again. Where there are none, none comes.
pub(crate) struct HangUps {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
}

impl HangUps {
    /// Listens from here on; without this call a signal ends the process at once.
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = signal(SignalKind::hangup());
        let signals = signals.map_err(|error| Failure::failed("cannot listen for signals").because(error))?;
        Ok(Self { signals })
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// The next one, or for ever.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if self.signals.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}
