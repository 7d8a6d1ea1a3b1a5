//! What is shown again and again: in one place on a terminal, one after another elsewhere.

use std::io::{self, Write};

use crate::{
    failure::Failure,
    output::{Format, Output, styled},
    shown::printable,
};

/// The other screen of the terminal, no cursor, and no wrapping of long lines; and all of it back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The lines that are left for what is shown, on a terminal that does not say how high it is.
const HEIGHT_DEFAULT: usize = 24;

/// A place for lines that change. The terminal is as it was before when this is dropped.
pub(crate) struct Screen {
    pub(crate) output: Output,
    /// Whether it is a terminal for people.
    is_live: bool,
    has_shown: bool,
    last: Vec<String>,
}

impl Screen {
    pub(crate) fn new(mut output: Output) -> Result<Self, Failure> {
        let is_live = output.format == Format::Human && output.height().is_some();
        if is_live {
            output.bytes(ENTER)?;
            output.flush()?;
        }
        Ok(Self { output, is_live, has_shown: false, last: Vec::new() })
    }

    /// Shows these lines in the place of those before, as many as there is room for.
    pub(crate) fn show(&mut self, title: &str, lines: &[String]) -> Result<(), Failure> {
        self.last = lines.to_vec();
        if !self.is_live {
            if self.has_shown {
                self.output.line("")?;
            }
            self.has_shown = true;
            lines.iter().try_for_each(|line| self.output.line(line))?;
            return self.output.flush();
        }
        self.draw(title)
    }

    /// Says what is wrong, and leaves what was shown last.
    pub(crate) fn complain(&mut self, what: &str) -> Result<(), Failure> {
        if self.is_live {
            let (red, reset) = (self.output.style.red, self.output.style.reset);
            return self.draw(&format!("{red}{}{reset}", printable(what)));
        }
        _ = writeln!(io::stderr(), "warning: {}", printable(what));
        Ok(())
    }

    fn draw(&mut self, title: &str) -> Result<(), Failure> {
        // The title, a line below it, and one for what there is no room for.
        let room = self.output.height().unwrap_or(HEIGHT_DEFAULT).saturating_sub(3).max(1);
        let mut text = format!("\x1b[H{}{title}{}\x1b[K\r\n\x1b[K", self.output.style.dim, self.output.style.reset);
        for line in self.last.iter().take(room) {
            text.push_str(&format!("\r\n{}\x1b[K", styled(line, self.output.style)));
        }
        if self.last.len() > room {
            let more = self.last.len() - room;
            text.push_str(&format!("\r\n… {more} more, for which there is no room\x1b[K"));
        }
        text.push_str("\x1b[J");
        self.output.bytes(text.as_bytes())?;
        self.output.flush()
    }

    /// Gives the terminal back, with what was shown last.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        if !std::mem::take(&mut self.is_live) {
            return Ok(());
        }
        self.output.bytes(LEAVE)?;
        self.last.iter().try_for_each(|line| self.output.line(line))?;
        self.output.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_live {
            _ = self.output.bytes(LEAVE);
            _ = self.output.flush();
        }
    }
}
