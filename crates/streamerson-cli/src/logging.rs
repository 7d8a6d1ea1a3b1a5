//! Logs: to the standard error, so that the output stays what was asked for.

use std::{env, io};

use tracing_subscriber::EnvFilter;

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
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(is_coloured(&io::stderr())).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
