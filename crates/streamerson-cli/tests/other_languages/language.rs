//! The programs that `PROTOCOL.md` prints, taken from the page and run with their libraries.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::OnceLock,
};

const PROTOCOL: &str = include_str!("../../../../PROTOCOL.md");

#[derive(Clone, Copy)]
pub(crate) enum Language {
    Python,
    Node,
}

impl Language {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// Runs a program of the protocol's page, with its library installed.
    pub(crate) fn command(self, program: &str) -> Command {
        let directory = self.installed();
        let source = self.source(program);
        let name = match self {
            Self::Python => format!("{program}.py"),
            Self::Node => format!("{program}.mjs"),
        };
        // Beside the library, where Node looks for it. Put there whole, as other tests start the same one.
        let path = directory.join(name);
        if fs::read_to_string(&path).ok().as_deref() != Some(source) {
            let draft = directory.join(format!("{program}-{}-{:?}", process::id(), std::thread::current().id()));
            fs::write(&draft, source).expect("room under target/");
            fs::rename(&draft, &path).expect("room under target/");
        }
        let mut command = Command::new(self.interpreter());
        command.arg(path).env("PYTHONPATH", directory);
        command
    }

    fn interpreter(self) -> &'static str {
        match self {
            Self::Python => "python3",
            Self::Node => "node",
        }
    }

    /// The code as the page prints it.
    pub(crate) fn source(self, program: &str) -> &'static str {
        let (fence, library) = match self {
            Self::Python => ("```python\n", "# pip install "),
            Self::Node => ("```js\n", "// npm install "),
        };
        let is_wanted = |block: &&str| block.starts_with(library) && block.lines().next().unwrap().contains(program);
        let mut blocks = PROTOCOL.split(fence).skip(1).filter_map(|rest| rest.split("```").next());
        blocks.find(is_wanted).unwrap_or_else(|| panic!("PROTOCOL.md has no {program} in {}", self.name()))
    }

    /// The library and its version, as the page's first line says.
    fn library(self) -> &'static str {
        self.source("worker").split_whitespace().nth(3).expect("the library").trim_end_matches(';')
    }

    /// Where the library is installed. The first test to ask installs it; the next run finds it there.
    fn installed(self) -> &'static Path {
        static INSTALLED: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        INSTALLED[self as usize].get_or_init(|| {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}", self.name(), self.library()));
            if !directory.exists() {
                let draft = directory.with_extension(format!("draft-{}", process::id()));
                self.install(&draft);
                // Another run may have been quicker, and what it installed is as good.
                if let Err(error) = fs::rename(&draft, &directory) {
                    assert!(directory.exists(), "cannot make {}: {error}", directory.display());
                    fs::remove_dir_all(&draft).expect("what was just made");
                }
            }
            directory
        })
    }

    fn install(self, directory: &Path) {
        let mut command = match self {
            Self::Python => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
                pip
            }
            Self::Node => {
                let mut npm = Command::new("npm");
                npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
                npm
            }
        };
        command.arg(directory).arg(self.library());
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
            "the library {} was not installed: {command:?}: {why}\nThese tests need Python 3.8 or later with pip, Node 20 \
             or later with npm, and the package registries",
            self.library()
        );
    }
}
