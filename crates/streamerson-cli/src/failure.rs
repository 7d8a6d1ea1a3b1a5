//! How a command ends that did not do what it was asked: what is said, and the exit status.

use std::{
    borrow::Cow,
    env,
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use streamerson::core::text::{printable, printable_lines, redacted_in, redacted_words};

use crate::{hints, logging::printable_with_colours, output::is_coloured};

/// Exit status of a command that failed.
const FAILED: u8 = 1;
/// Exit status of a command that was misused.
const MISUSED: u8 = 2;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more, as under `head`: all that was wanted is done.
    BrokenPipe,
    /// It failed, and the user knows why already.
    Told,
    /// It failed.
    Failed(Trouble),
    /// It cannot work as it was asked.
    Misused(Trouble),
}

/// What went wrong, the errors behind it, and what to do next.
#[derive(Debug)]
pub(crate) struct Trouble {
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(Trouble { message: message.into(), cause: None, hint: None })
    }

    pub(crate) fn misused(message: impl Into<String>) -> Self {
        Self::Misused(Trouble { message: message.into(), cause: None, hint: None })
    }

    /// A second signal cut a server off.
    pub(crate) fn at_once() -> Self {
        Self::failed("stopped at once, before all that was begun was done")
    }

    /// The same failure, because of this error; it may know a hint.
    pub(crate) fn because(self, error: impl Error + Send + Sync + 'static) -> Self {
        self.map(|trouble| {
            let hint = trouble.hint.or_else(|| hints::of(&error));
            Trouble { hint, cause: Some(Box::new(error)), ..trouble }
        })
    }

    /// The same failure, with something to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        self.map(|trouble| Trouble { hint: Some(hint.into()), ..trouble })
    }

    fn map(self, change: impl FnOnce(Trouble) -> Trouble) -> Self {
        match self {
            Self::Failed(trouble) => Self::Failed(change(trouble)),
            Self::Misused(trouble) => Self::Misused(change(trouble)),
            quiet => quiet,
        }
    }

    /// Says what there is to say, and answers the exit status.
    pub(crate) fn report(self) -> ExitCode {
        let (trouble, code) = match self {
            Self::BrokenPipe => return ExitCode::SUCCESS,
            Self::Told => return ExitCode::from(FAILED),
            Self::Failed(trouble) => (trouble, FAILED),
            Self::Misused(trouble) => (trouble, MISUSED),
        };
        // A closed standard error leaves the exit status to tell of it.
        _ = write!(io::stderr(), "{}", without_credentials(trouble.to_string()));
        ExitCode::from(code)
    }
}

/// An error and those behind it, on one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// What clap has to say instead of a command: help, the version, or what is wrong with the arguments.
pub(crate) fn of_arguments(instead: &clap::Error) -> ExitCode {
    if !instead.use_stderr() {
        // `--help | head -1` closes the pipe, which is no failure either.
        _ = instead.print();
        return ExitCode::SUCCESS;
    }
    // Without its colours the text would lose the escape sequences of the values, and they would not be found any more.
    let text = without_credentials(printable_arguments(instead.render().ansi().to_string()));
    // Of a value that is quoted in part, colours would be taken for the error's own.
    let is_plain = env::args_os().all(|argument| !argument.to_string_lossy().contains('\x1b'));
    let is_coloured = is_plain && is_coloured(&io::stderr());
    let lines = text.split('\n').map(|line| printable_with_colours(line, is_coloured));
    let text = lines.collect::<Vec<_>>().join("\n");
    // Part of an argument is quoted as well: the value of `-Hvalue`, or of `--header=name=value`.
    _ = write!(io::stderr(), "{}", redacted_words(&text));
    ExitCode::from(MISUSED)
}

/// An error with the arguments that it quotes escaped: a line feed of a value is none of the error's own.
fn printable_arguments(text: String) -> String {
    values().fold(text, |text, value| match printable(&value) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => text.replace(&value, &shown),
    })
}

/// The arguments of the process as errors quote them: whole, and the values of `--name=value` and `-nvalue`.
fn values() -> impl Iterator<Item = String> {
    env::args_os().skip(1).flat_map(|argument| {
        let argument = argument.to_string_lossy().into_owned();
        let option = argument.strip_prefix('-');
        let long = option.and_then(|option| option.split_once('=')).map(|(_, value)| value.to_owned());
        let short = option.filter(|option| !option.starts_with('-')).and_then(|option| {
            let value = option.char_indices().nth(1).map(|(start, _)| &option[start..]);
            value.map(|value| value.strip_prefix('=').unwrap_or(value).to_owned())
        });
        [Some(argument), long, short].into_iter().flatten().filter(|value| !value.is_empty())
    })
}

/// An error without the credentials of the arguments that it quotes: one of them may be an address in the wrong place.
fn without_credentials(text: String) -> String {
    values().fold(text, |text, value| {
        let text = redacted_in(&text, &value).into_owned();
        redacted_in(&text, &printable(&value)).into_owned()
    })
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", printable_lines(&self.message))?;
        let mut cause = self.cause.as_deref().map(|error| error as &(dyn Error + 'static));
        while let Some(error) = cause {
            writeln!(f, "  caused by: {}", printable_lines(&error.to_string()))?;
            cause = error.source();
        }
        match &self.hint {
            Some(hint) => writeln!(f, "\nhint: {}", printable_lines(hint)),
            None => Ok(()),
        }
    }
}

/// Errors of writing the output; there are no others that a command does not give a context.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::failed("cannot write the output").because(error),
        }
    }
}

/// Writing JSON fails only as the output does.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::from(io::Error::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_line_of_its_own() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the middle")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::failed("the top").because(Outer(io::Error::other("the root"))).hint("dig");
        let Failure::Failed(trouble) = failure else { panic!("{failure:?}") };
        let expected = "error: the top\n  caused by: the middle\n  caused by: the root\n\nhint: dig\n";
        assert_eq!(trouble.to_string(), expected);
    }
}
