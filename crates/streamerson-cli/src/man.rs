//! `streamerson man`: the manual, as pages for `man`.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::{
    Man as Page,
    roff::{Roff, roman},
};

use crate::{
    args::{Cli, Common},
    failure::Failure,
    output::Output,
};

/// What the pages are a part of, as their head says.
const MANUAL: &str = "streamerson";

/// Print a manual page, or write all of them into a directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// The command whose page is printed; that of the program when none is given
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,

    /// Write a page for each command into this directory, which is made if it does not exist
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  streamerson man | man -l -
  streamerson man dead replay | man -l -
  streamerson man --dir ~/.local/share/man/man1           then: man streamerson-dead-replay";

impl Man {
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let mut program = Cli::command();
        program.build();
        if let Some(dir) = &self.dir {
            let failed = |error| Failure::failed(format!("cannot write into {}", dir.display())).because(error);
            fs::create_dir_all(dir).map_err(failed)?;
            return pages(&program).try_for_each(|command| {
                fs::write(dir.join(format!("{}.1", name(command))), render(command)?).map_err(failed)
            });
        }
        let mut command = &program;
        for word in &self.command {
            command = command.find_subcommand(word).ok_or_else(|| {
                Failure::misused(format!("there is no command `{}`", self.command.join(" ")))
                    .hint("`streamerson --help` lists them")
            })?;
        }
        let mut output = Output::new(common);
        output.bytes(&render(command)?)?;
        output.flush()
    }
}

/// A command and all below it, each of which has a page. What clap adds to say help is none of ours.
fn pages(command: &Command) -> Box<dyn Iterator<Item = &Command> + '_> {
    let below = command.get_subcommands().filter(|command| command.get_name() != "help").flat_map(pages);
    Box::new(std::iter::once(command).chain(below))
}

/// `streamerson-dead-replay`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn render(command: &Command) -> Result<Vec<u8>, io::Error> {
    let page = Page::new(command.clone()).manual(MANUAL).source(format!("streamerson {}", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        page.render_options_section(&mut text)?;
    }
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        page.render_subcommands_section(&mut text)?;
    }
    examples(command).to_writer(&mut text)?;
    Ok(text)
}

/// What stands below the help is set in columns, which filling its lines would break.
fn examples(command: &Command) -> Roff {
    let mut roff = Roff::default();
    let Some(help) = command.get_after_help() else { return roff };
    roff.control("SH", ["EXAMPLES AND OUTPUT"]).control("nf", []);
    for line in help.to_string().lines() {
        match line.strip_suffix(':').filter(|line| *line == "Examples") {
            Some(_) => {}
            None => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}
