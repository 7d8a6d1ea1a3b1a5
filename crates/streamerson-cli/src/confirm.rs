//! A question before what cannot be undone: to a person at a terminal, and to nobody else.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::{failure::Failure, shown::printable};

/// Asks, where somebody can answer, and fails unless the answer is yes.
pub(crate) fn ask(question: &str) -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    _ = write!(io::stderr(), "{} [y/N] ", printable(question));
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed("cannot read the answer").because(error))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}
