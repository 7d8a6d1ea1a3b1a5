//! `streamerson completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{
    args::{Cli, Common},
    failure::Failure,
    output::Output,
};

/// Print a script that makes a shell complete commands and options.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  streamerson completions bash > ~/.local/share/bash-completion/completions/streamerson
  streamerson completions zsh > ~/.zfunc/_streamerson        with ~/.zfunc in $fpath
  streamerson completions fish > ~/.config/fish/completions/streamerson.fish";

impl Completions {
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let mut script = Vec::new();
        // By way of memory, since the generator panics where a pipe is closed.
        clap_complete::generate(self.shell, &mut Cli::command(), "streamerson", &mut script);
        let mut output = Output::new(common);
        output.bytes(&script)?;
        output.flush()
    }
}
