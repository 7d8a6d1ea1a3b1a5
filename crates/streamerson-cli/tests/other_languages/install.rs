//! Libraries of other languages, each installed once, under `target/`.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::{Mutex, PoisonError},
};

#[derive(Clone, Copy)]
pub(crate) enum Installer {
    Pip,
    Npm,
}

impl Installer {
    /// Where a library of this name and version is installed. The first test to ask installs it; the next run finds it
    /// there.
    pub(crate) fn installed(self, library: &str) -> PathBuf {
        // Held while one is installed, so that the tests of one run install each once.
        static INSTALLED: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let directories = installed.get_or_insert_default();
        if let Some(directory) = directories.get(library) {
            return directory.clone();
        }
        let kind = match self {
            Self::Pip => "python",
            Self::Npm => "node",
        };
        let name = format!("{kind}-{}", library.replace('/', "+"));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if !directory.exists() {
            let draft = directory.with_extension(format!("draft-{}", process::id()));
            self.install(library, &draft);
            // Another run may have been quicker, and what it installed is as good.
            if let Err(error) = fs::rename(&draft, &directory) {
                assert!(directory.exists(), "cannot make {}: {error}", directory.display());
                fs::remove_dir_all(&draft).expect("what was just made");
            }
        }
        directories.insert(library.to_owned(), directory.clone());
        directory
    }

    fn install(self, library: &str, directory: &Path) {
        let mut command = match self {
            Self::Pip => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
                pip
            }
            Self::Npm => {
                let mut npm = Command::new("npm");
                npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
                npm
            }
        };
        command.arg(directory).arg(library);
        let why = match command.output() {
            Ok(output) if output.status.success() => return,
            Ok(Output { status, stdout, stderr }) => {
                format!("{status}\n{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such program".into(),
            Err(error) => error.to_string(),
        };
        let _ = fs::remove_dir_all(directory);
        panic!(
            "the library {library} was not installed: {command:?}: {why}\nThese tests need Python 3.8 or later with pip, \
             Node 20 or later with npm, and the package registries"
        );
    }
}
