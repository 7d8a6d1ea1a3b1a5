//! Signals to child processes.

use std::process::Command;

/// A signal that a test sends to a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// Asks for an orderly stop.
    Terminate,
    /// Asks for a stop, as Ctrl-C does.
    Interrupt,
    /// Asks a server to read its files again.
    HangUp,
    /// Ends the process at once; it gets no chance to clean up.
    Kill,
    /// Freezes the process, as a long pause of the machine would.
    Stop,
    /// Thaws a frozen process.
    Continue,
}

impl Signal {
    /// Sends the signal to the process `pid`.
    ///
    /// Goes through the shell's own `kill`: the standard library sends SIGKILL only, and a system call would need
    /// `unsafe` or another dependency. Every POSIX shell has it built in, so that nothing has to be installed.
    pub(crate) fn send(self, pid: u32) {
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$0" "$1""#, self.name(), &pid.to_string()])
            .status()
            .expect("`sh` starts");
        assert!(status.success(), "signal {} to process {pid} failed: {status}", self.name());
    }

    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::HangUp => "HUP",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}
