//! Logs: to the standard error, so that the output stays what was asked for.

use std::{
    env, fmt,
    io::{self, Write},
};

use streamerson::core::text::{printable, printable_json};
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::format::{Writer, debug_fn},
};

use crate::{args::LogFormat, output::is_coloured};

/// Comes before all other directives, so that `$RUST_LOG` can overrule it. `h2` warns of each connection that breaks a
/// limit, and of each stray frame of some kinds, so that clients could fill a log. The gateway logs the same once in a
/// while.
const QUIET: &str = "h2=error";

/// Starts logging what `$RUST_LOG` says, or else this.
pub(crate) fn start(format: LogFormat, default: &str) {
    let wanted = env::var(EnvFilter::DEFAULT_ENV).ok().filter(|wanted| !wanted.is_empty());
    // What is no directive is left out, with a line on the standard error that says so.
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{}", wanted.as_deref().unwrap_or(default)));
    let is_coloured = is_coloured(&io::stderr());
    let escape = match format {
        LogFormat::Text if is_coloured => |event: &str| printable_with_colours(event, true),
        LogFormat::Text => |event: &str| printable(event).into_owned(),
        LogFormat::Json => |event: &str| printable_json(event).into_owned(),
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || OneLine { escape });
    match format {
        // A field is escaped before it is part of a line: later its colours could not be told from those of the log.
        LogFormat::Text => logs.with_ansi(is_coloured).fmt_fields(debug_fn(field).delimited(" ")).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}

/// Writes a field as the usual format of logs does, with its value escaped.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = printable(&value);
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => writer.write_str(&value),
        (name, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        (name, false) => write!(writer, "{name}={value}"),
    }
}

/// Writes each event as one line to the standard error. Fields hold text of clients and workers, and a line feed in one of
/// them would forge another event.
struct OneLine {
    /// Escapes an event without the line feed that ends it.
    escape: fn(&str) -> String,
}

impl Write for OneLine {
    /// An event comes whole, in one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = (self.escape)(text.strip_suffix('\n').unwrap_or(&text));
        line.push('\n');
        io::stderr().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Escapes a line but for its colours, which are kept or left out. They are those of the program: values are escaped before
/// they are part of the line.
pub(crate) fn printable_with_colours(event: &str, is_coloured: bool) -> String {
    let mut line = String::with_capacity(event.len());
    let mut rest = event;
    while let Some(at) = rest.find("\x1b[") {
        let parameters = rest[at + 2..].bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
        let end = at + 2 + parameters;
        line.push_str(&printable(&rest[..at]));
        if rest[end..].starts_with('m') {
            if is_coloured {
                line.push_str(&rest[at..=end]);
            }
            rest = &rest[end + 1..];
        } else {
            line.push_str("\\u{1b}");
            rest = &rest[at + 1..];
        }
    }
    line.push_str(&printable(rest));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_keeps_the_colours_of_the_log() {
        let event = "\x1b[2m12:00\x1b[0m \x1b[31mERROR\x1b[0m gateway: refused error=a\n12:01 INFO forged \x1b[2J\x1b]0;x\x07\u{202e}";
        let line = "\x1b[2m12:00\x1b[0m \x1b[31mERROR\x1b[0m gateway: refused error=a\\n12:01 INFO forged \\u{1b}[2J\\u{1b}]0;x\\u{7}\\u{202e}";
        assert_eq!(printable_with_colours(event, true), line);
        assert!(printable_with_colours(event, false).starts_with("12:00 ERROR gateway: "));
        assert_eq!(printable("a\nb"), "a\\nb");
    }
}
