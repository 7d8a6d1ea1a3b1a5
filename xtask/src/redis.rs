//! A Redis server for the tests: the one that is here, or one that is installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Failure;

/// Programs that serve, the most usual first. Valkey is what some distributions have in its place.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// A package manager, how it installs, and what it does before.
struct Manager {
    program: &'static str,
    prepare: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    /// Whether it must run as root.
    as_root: bool,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        program: "apt-get",
        prepare: Some(&["update"]),
        install: &["install", "--yes", "--no-install-recommends", "redis-server"],
        as_root: true,
    },
    Manager { program: "dnf", prepare: None, install: &["install", "--assumeyes", "redis"], as_root: true },
    Manager { program: "apk", prepare: None, install: &["add", "redis"], as_root: true },
    // Homebrew refuses to run as root.
    Manager { program: "brew", prepare: None, install: &["install", "redis"], as_root: false },
];

/// The server's program: `$REDIS_SERVER`, else from `$PATH`, else installed.
pub(crate) fn find_or_install() -> Result<PathBuf, Failure> {
    if let Some(program) = env::var_os("REDIS_SERVER") {
        let program = PathBuf::from(program);
        let found = if program.components().count() > 1 { is_program(&program) } else { on_path(&program).is_some() };
        return if found { Ok(program) } else { Err(format!("$REDIS_SERVER is {}: no program", program.display())) };
    }
    if let Some(program) = find() {
        return Ok(program);
    }
    install()?;
    find().ok_or_else(|| format!("the package is installed, and yet there is no redis-server on $PATH: {HELP}"))
}

const HELP: &str = "install Redis (https://redis.io/docs/latest/operate/oss_and_stack/install/) or set $REDIS_SERVER";

fn find() -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|program| on_path(Path::new(program)))
}

fn install() -> Result<(), Failure> {
    let manager = MANAGERS
        .iter()
        .find(|manager| on_path(Path::new(manager.program)).is_some())
        .ok_or_else(|| format!("no redis-server, and no package manager that is known here: {HELP}"))?;
    eprintln!("no redis-server found; installing it by {}", manager.program);
    if let Some(prepare) = manager.prepare {
        manager.run(prepare)?;
    }
    manager.run(manager.install)
}

impl Manager {
    fn run(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = if self.as_root && !is_root() {
            let mut sudo = Command::new("sudo");
            // Never ask for a password: nobody may be there to type it.
            sudo.args(["-n", "env"]);
            sudo
        } else {
            Command::new("env")
        };
        // In runlevel 1 Debian's package does not start a service; the tests start servers of their own.
        command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", self.program]).args(arguments);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{} {}` failed ({status}): {HELP}", self.program, arguments.join(" "))),
            Err(error) => Err(format!("cannot run {}: {error}: {HELP}", self.program)),
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn on_path(program: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file())
}
