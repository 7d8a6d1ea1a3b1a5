//! The standard output: for whom, in which colours, and whether anybody still reads it.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
};

use serde::Serialize;

use crate::{args::Common, failure::Failure};

/// For whom is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Human,
    /// Programs: one JSON object a line.
    Json,
}

/// The buffered standard output. A closed pipe is the error [`Failure::BrokenPipe`].
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) style: Style,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// An output for whom the user says, else for people on a terminal and for programs elsewhere.
    pub(crate) fn new(common: &Common) -> Self {
        let usual = || if io::stdout().is_terminal() { Format::Human } else { Format::Json };
        Self {
            format: common.format().unwrap_or_else(usual),
            style: if is_coloured(&io::stdout()) { Style::COLOURED } else { Style::PLAIN },
            out: BufWriter::new(io::stdout().lock()),
        }
    }

    /// How many characters fit on a line of the terminal, if it is one.
    pub(crate) fn width(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into())
    }

    /// How many lines fit on the terminal, if it is one.
    pub(crate) fn height(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(_, height)| height.0.into())
    }

    /// Writes a line, which is seen after the next [`Output::flush`].
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value)?;
        self.bytes(b"\n")
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

/// Escape sequences for what stands out and what stands back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) bold: &'static str,
    pub(crate) dim: &'static str,
    pub(crate) red: &'static str,
    pub(crate) yellow: &'static str,
    pub(crate) green: &'static str,
    pub(crate) reset: &'static str,
}

impl Style {
    pub(crate) const PLAIN: Self = Self { bold: "", dim: "", red: "", yellow: "", green: "", reset: "" };
    const COLOURED: Self = Self {
        bold: "\x1b[1m",
        dim: "\x1b[2m",
        red: "\x1b[31m",
        yellow: "\x1b[33m",
        green: "\x1b[32m",
        reset: "\x1b[0m",
    };
}

/// Whether a stream takes colours: a terminal does, unless `$NO_COLOR` is set (<https://no-color.org>).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns when nobody reads the standard output any more; never where that cannot be known before the next write.
///
/// Without it, `streamerson tail TOPIC | head -1` would end with the entry after the one that was wanted.
pub(crate) async fn reader_gone() {
    #[cfg(unix)]
    if let Some(pipe) = stdout_as_pipe()
        && pipe.ready(tokio::io::Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// The standard output to be watched, not to be written to: it keeps its blocking mode, which other processes may share.
#[cfg(unix)]
fn stdout_as_pipe() -> Option<tokio::net::unix::pipe::Sender> {
    use std::os::fd::AsFd;
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok()?;
    // Regular files cannot be watched, and have no reader to lose.
    tokio::net::unix::pipe::Sender::from_owned_fd_unchecked(stdout).ok()
}
