//! What was found, how bad it is, and what to do about it.

use serde::Serialize;
use streamerson::core::Topic;

use crate::{
    failure::Failure,
    human,
    output::{Format, Output},
    shown::printable,
};

/// Where the text of a finding begins.
const INDENT: usize = 23;

/// Characters that a line has at least, however narrow the terminal.
const WIDTH_MIN: usize = 30;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// May become a problem, or loses something in a bad moment.
    Warn,
    /// Something does not work, or is about to stop working.
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding<'a> {
    check: &'static str,
    level: Level,
    topic: Option<String>,
    what: &'a str,
    advice: Option<&'a str>,
}

/// Prints each finding as it comes, and counts them.
pub(super) struct Findings {
    output: Output,
    counts: [u64; 4],
}

impl Findings {
    pub(super) fn new(output: Output) -> Self {
        Self { output, counts: [0; 4] }
    }

    /// Something about the broker as a whole.
    pub(super) fn add(
        &mut self,
        check: &'static str,
        level: Level,
        what: impl AsRef<str>,
        advice: Option<&str>,
    ) -> Result<(), Failure> {
        self.print(&Finding { check, level, topic: None, what: what.as_ref(), advice })
    }

    /// Something about a topic.
    pub(super) fn add_of(
        &mut self,
        topic: &Topic,
        check: &'static str,
        level: Level,
        what: impl AsRef<str>,
        advice: Option<&str>,
    ) -> Result<(), Failure> {
        self.print(&Finding { check, level, topic: Some(topic.to_string()), what: what.as_ref(), advice })
    }

    fn print(&mut self, finding: &Finding<'_>) -> Result<(), Failure> {
        self.counts[finding.level as usize] += 1;
        match self.output.format {
            Format::Json => {
                // On one line, which is laid out for people on several.
                let words = |advice: &str| advice.split_whitespace().collect::<Vec<_>>().join(" ");
                let advice = finding.advice.map(words);
                self.output.json(&Finding { advice: advice.as_deref(), topic: finding.topic.clone(), ..*finding })?;
            }
            Format::Human => self.print_for_people(finding)?,
        }
        self.output.flush()
    }

    /// Level and check in columns, what to do below what is.
    fn print_for_people(&mut self, finding: &Finding<'_>) -> Result<(), Failure> {
        let style = self.output.style;
        let (colour, word) = match finding.level {
            Level::Ok => (style.green, "ok"),
            Level::Note => (style.bold, "note"),
            Level::Warn => (style.yellow, "warn"),
            Level::Problem => (style.red, "problem"),
        };
        let (dim, reset) = (style.dim, style.reset);
        let topic = finding.topic.as_ref().map_or_else(String::new, |topic| format!("{topic}: "));
        let text = format!("{topic}{}", printable(finding.what));
        let mut head = format!("{colour}{word:<7}{reset}  {dim}{:<12}{reset}  ", finding.check);
        for line in self.wrapped(&text) {
            self.output.line(&format!("{head}{line}"))?;
            head = " ".repeat(INDENT);
        }
        for advice in finding.advice.into_iter().flat_map(str::lines) {
            let mut head = format!("{:INDENT$}{dim}→ ", "");
            for line in self.wrapped(&printable(advice.trim())) {
                self.output.line(&format!("{head}{line}{reset}"))?;
                head = format!("{:INDENT$}{dim}  ", "");
            }
        }
        Ok(())
    }

    /// A text on as many lines as it takes on this terminal.
    fn wrapped(&self, text: &str) -> Vec<String> {
        // Two more for the arrow.
        let width = self.output.width().map(|width| width.saturating_sub(INDENT + 2).max(WIDTH_MIN));
        wrap(text, width.unwrap_or(usize::MAX))
    }

    /// Sums up, and fails where there was a problem.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let [_, notes, warnings, problems] = self.counts;
        if self.output.format == Format::Human {
            let mut words = vec![human::counted(problems, "problem", "problems")];
            words.push(human::counted(warnings, "warning", "warnings"));
            words.push(human::counted(notes, "note", "notes"));
            let words = if problems + warnings + notes == 0 { "all is well".to_owned() } else { words.join(", ") };
            self.output.line(&format!("\n{words}"))?;
            self.output.flush()?;
        }
        if problems > 0 { Err(Failure::Told) } else { Ok(()) }
    }
}

/// Breaks a text between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let is_full = line.chars().count() + 1 + word.chars().count() > width;
        if !line.is_empty() && is_full {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrap("one two three", usize::MAX), ["one two three"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one äöüßäöüßäöü three", 4), ["one", "äöüßäöüßäöü", "three"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
