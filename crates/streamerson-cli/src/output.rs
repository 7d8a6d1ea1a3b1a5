//! The standard output: for whom, in which colours, and whether anybody still reads it.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
};

use serde::Serialize;
use streamerson::core::text::{printable_json, printable_lines};

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

    /// Writes a line, which is seen after the next [`Output::flush`]. Characters that steer a terminal are escaped, but for
    /// the sequences of [`Style`].
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        match self.format {
            Format::Human => self.bytes(styled(line, self.style).as_bytes())?,
            Format::Json => self.bytes(printable_json(line).as_bytes())?,
        }
        self.bytes(b"\n")
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(value)?;
        self.bytes(printable_json(&json).as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a payload that a person looks at on a terminal: as it came, but for characters that steer the terminal.
    pub(crate) fn payload(&mut self, payload: &[u8]) -> Result<(), Failure> {
        if !io::stdout().is_terminal() {
            return self.bytes(payload);
        }
        for chunk in payload.utf8_chunks() {
            self.bytes(printable_lines(chunk.valid()).as_bytes())?;
            for byte in chunk.invalid() {
                self.bytes(format!("\\x{byte:02x}").as_bytes())?;
            }
        }
        Ok(())
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

/// Escapes all that steers a terminal but line feeds and the sequences of a style.
pub(crate) fn styled(text: &str, style: Style) -> String {
    let known = [style.bold, style.dim, style.red, style.yellow, style.green, style.reset];
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        shown.push_str(&printable_lines(&rest[..at]));
        rest = &rest[at..];
        let sequence = known.into_iter().find(|known| !known.is_empty() && rest.starts_with(known));
        let (kept, len) = sequence.map_or(("\\u{1b}", 1), |sequence| (sequence, sequence.len()));
        shown.push_str(kept);
        rest = &rest[len..];
    }
    shown.push_str(&printable_lines(rest));
    shown
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
