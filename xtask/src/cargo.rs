//! Calling cargo.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Failure;

/// The repository's root, whatever the directory that the task was called from.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Runs cargo in the repository's root; its output goes where ours does.
pub(crate) fn run<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    environment: &[(&str, &OsStr)],
) -> Result<(), Failure> {
    let mut command = command(arguments);
    command.envs(environment.iter().copied());
    eprintln!("$ {}", shown(&command));
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", shown(&command))) }
}

/// What cargo prints to its standard output.
pub(crate) fn output<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String, Failure> {
    let mut command = command(arguments);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", shown(&command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{}` printed something other than UTF-8", shown(&command)))
}

/// Whether cargo has this subcommand.
pub(crate) fn has(subcommand: &str) -> bool {
    let quiet = command([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

fn shown(command: &Command) -> String {
    let arguments = command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>();
    format!("cargo {}", arguments.join(" "))
}
