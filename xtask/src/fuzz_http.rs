//! HTTP fuzzing: schemathesis asks a gateway with a route of every kind whatever an OpenAPI document allows, and what it
//! does not. No 5xx may come back but those that are documented, and everything must have the documented form.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{Failure, cargo, redis};

/// What `pip` installs. The exact version, as its checks grow.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// How long a program may take until it serves.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that ends with the task.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Runs it; further arguments go to `schemathesis run`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let redis = redis::find_or_install()?;
    let schemathesis = schemathesis()?;
    cargo::run(["build", "--package", "streamerson-cli"], &[])?;
    let port = free_port()?;
    let _redis = server(Command::new(redis).args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]))?;
    let broker = format!("redis://127.0.0.1:{port}");
    await_port(port)?;
    let streamerson = || {
        let mut command = Command::new(target().join("debug/streamerson"));
        command.env("STREAMERSON_BROKER", &broker).env_remove("RUST_LOG");
        command
    };
    let _workers = [
        server(streamerson().args(["echo", "orders"]))?,
        server(streamerson().args(["echo", "slow", "--delay", "400ms"]))?,
    ];
    let mut gateway = streamerson();
    gateway.arg("gateway").arg("--config").arg(files().join("gateway.toml")).stderr(Stdio::piped());
    let mut gateway = server(&mut gateway)?;
    let address = listening(&mut gateway)?;
    let mut fuzz = Command::new(schemathesis);
    fuzz.current_dir(target()).arg("--config-file").arg(files().join("schemathesis.toml"));
    fuzz.arg("run").arg(files().join("openapi.yaml")).args(["--url", &address]).args(arguments);
    eprintln!("$ {fuzz:?}");
    let status = fuzz.status().map_err(|error| format!("cannot run schemathesis: {error}"))?;
    if let Ok(Some(ended)) = gateway.0.try_wait() {
        return Err(format!("the gateway ended ({ended})"));
    }
    if status.success() { Ok(()) } else { Err("the gateway answers what its document does not say".to_owned()) }
}

fn files() -> PathBuf {
    cargo::root().join("xtask/fuzz-http")
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| cargo::root().join("target"), PathBuf::from)
}

/// Installs schemathesis under `target/`, once for each version.
fn schemathesis() -> Result<PathBuf, Failure> {
    let directory = target().join(SCHEMATHESIS.replace("==", "-"));
    let program = directory.join("bin/schemathesis");
    let installed = directory.join("installed");
    if !installed.exists() {
        eprintln!("installing {SCHEMATHESIS} to {}", directory.display());
        must(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        let pip = directory.join("bin/pip");
        must(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", SCHEMATHESIS]))?;
        fs::write(&installed, "").map_err(|error| format!("cannot write to {}: {error}", directory.display()))?;
    }
    Ok(program)
}

fn must(command: &mut Command) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed ({status}); Python 3.10 or later with venv and pip is needed")),
        Err(error) => Err(format!("cannot run {command:?}: {error}")),
    }
}

fn server(command: &mut Command) -> Result<Running, Failure> {
    let started = command.stdout(Stdio::null()).spawn();
    started.map(Running).map_err(|error| format!("cannot start {command:?}: {error}"))
}

fn free_port() -> Result<u16, Failure> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map(|address| address.port()).map_err(|error| format!("there is no free port: {error}"))
}

fn await_port(port: u16) -> Result<(), Failure> {
    for _ in 0..PATIENCE.as_millis() / 50 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(format!("Redis does not answer on port {port}"))
}

/// Where the gateway listens, once it does. What else it says is passed on.
fn listening(gateway: &mut Running) -> Result<String, Failure> {
    let stderr = gateway.0.stderr.take().ok_or("the gateway has no standard error")?;
    let (found, address) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("gateway: {line}");
            if let Some(address) = line.strip_prefix("listening on ") {
                _ = found.send(address.to_owned());
            }
        }
    });
    address.recv_timeout(PATIENCE).map_err(|_| "the gateway does not listen".to_owned())
}
