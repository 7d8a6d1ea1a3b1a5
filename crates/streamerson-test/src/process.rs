//! The project's own programs, run as a user runs them.

use std::{
    env,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    str,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::signal::Signal;

/// How long a program may take to print or to end what a test awaits.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child process whose output is kept line by line, killed on drop.
///
/// ```no_run
/// # use std::process::Command;
/// # async fn example() {
/// let mut command = Command::new("target/debug/streamerson");
/// command.args(["demo", "--listen", "127.0.0.1:0"]);
/// let demo = streamerson_test::Process::spawn(command);
/// let line = demo.stderr_line("listening on http://").await;
/// # }
/// ```
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// How a process ended, and all it printed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The exit code or the signal.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Process {
    /// Starts the program, with pipes for its input and output.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn spawn(command: std::process::Command) -> Self {
        let program = command.get_program().to_owned();
        let mut child = Command::from(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", Path::new(&program).display()));
        let stdout = Lines::keep(child.stdout.take().expect("a piped output"));
        let stderr = Lines::keep(child.stderr.take().expect("a piped error output"));
        Self { child, stdout, stderr }
    }

    /// The process's id.
    ///
    /// # Panics
    ///
    /// If it was waited for already.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("a process that was not waited for")
    }

    /// Whether it has ended by itself, or by a signal that somebody else sent.
    ///
    /// # Panics
    ///
    /// If the system does not say.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the state of a child process").is_some()
    }

    /// Writes to the program's input and leaves it open.
    ///
    /// # Panics
    ///
    /// If the program has closed it, or [`close_stdin`](Self::close_stdin) was called.
    pub async fn write_stdin(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.child.stdin.as_mut().expect("an open input");
        stdin.write_all(bytes.as_ref()).await.expect("the program reads its input");
        stdin.flush().await.expect("the program reads its input");
    }

    /// Ends the program's input.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// The first line on the standard error, past or future, that contains `text`.
    ///
    /// # Panics
    ///
    /// If the program ends or 20 seconds pass without one; the message holds all that it printed.
    pub async fn stderr_line(&self, text: &str) -> String {
        self.stderr.containing(text).await
    }

    /// The first line on the standard output, past or future, that contains `text`.
    ///
    /// # Panics
    ///
    /// If the program ends or 20 seconds pass without one; the message holds all that it printed.
    pub async fn stdout_line(&self, text: &str) -> String {
        self.stdout.containing(text).await
    }

    /// All whole lines printed to the standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// All whole lines printed to the standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// If the process was waited for already.
    pub fn signal(&self, signal: Signal) {
        signal.send(self.id());
    }

    /// Waits until the program ends by itself.
    ///
    /// # Panics
    ///
    /// If it has not ended after 20 seconds.
    pub async fn wait(mut self) -> Finished {
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("not ended within {PATIENCE:?}; it printed:\n{}{}", self.stdout(), self.stderr());
        };
        Finished {
            status: status.expect("the process's status"),
            stdout: self.stdout.all().await,
            stderr: self.stderr.all().await,
        }
    }

    /// Asks the program to stop (SIGTERM) and waits until it has.
    ///
    /// # Panics
    ///
    /// If it has not ended after 20 seconds.
    pub async fn terminate(self) -> Finished {
        self.signal(Signal::Terminate);
        self.wait().await
    }

    /// Kills the program at once, as a crash would, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If the process was waited for already.
    pub async fn kill(self) -> Finished {
        self.signal(Signal::Kill);
        self.wait().await
    }
}

/// The output of a process, read by a task so that a full pipe never blocks it.
#[derive(Debug)]
struct Lines {
    lines: watch::Receiver<Vec<String>>,
    reader: JoinHandle<()>,
}

impl Lines {
    fn keep(pipe: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let reader = tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line).await {
                let text = String::from_utf8_lossy(&line).into_owned();
                sender.send_modify(|lines| lines.push(text));
                line.clear();
            }
        });
        Self { lines, reader }
    }

    async fn containing(&self, text: &str) -> String {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let mut lines = self.lines.clone();
        let reason = match timeout(PATIENCE, lines.wait_for(|lines| find(lines).is_some())).await {
            Ok(Ok(lines)) => {
                return find(&lines).expect("the line awaited").trim_end().to_owned();
            }
            Ok(Err(_)) => "the program closed its output",
            Err(_) => "time is up",
        };
        panic!("{text:?} was not printed, and {reason}; it printed:\n{}", self.so_far());
    }

    fn so_far(&self) -> String {
        self.lines.borrow().concat()
    }

    async fn all(self) -> String {
        // A grandchild may hold the pipe open for ever; what is there by then is all there is.
        let _ = timeout(PATIENCE, self.reader).await;
        self.lines.borrow().concat()
    }
}

/// Builds the program `name` of the package `package` and returns its path.
///
/// For programs of other packages than the test's own, which has `env!("CARGO_BIN_EXE_…")` for its own. Cargo is asked
/// each time, so that a stale program is never tested.
///
/// # Panics
///
/// If it does not build.
#[must_use]
pub fn project_binary(package: &str, name: &str) -> PathBuf {
    // A test's program is target/<profile>/deps/<test>-<hash>.
    let test = env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(Path::parent).expect("a test in target/<profile>/deps");
    let release = profile.file_name().is_some_and(|profile| profile == "release");
    let mut cargo = std::process::Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", name]);
    if release {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(
        output.status.success(),
        "`{name}` does not build:\n{}",
        str::from_utf8(&output.stderr).unwrap_or("(not UTF-8)")
    );
    profile.join(name)
}
