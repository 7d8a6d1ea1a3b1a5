//! The programs that `PROTOCOL.md` prints, taken from the page and run with their libraries.

use std::{
    fs,
    process::{self, Command},
};

use crate::install::Installer;

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
        let installer = match self {
            Self::Python => Installer::Pip,
            Self::Node => Installer::Npm,
        };
        let directory = installer.installed(self.library());
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
}
