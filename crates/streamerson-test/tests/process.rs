//! The process helper awaits output, passes signals on, and tells what it saw when it fails.

use std::process::Command;
use streamerson_test::{Process, Signal};

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::spawn(command)
}

#[tokio::test]
async fn awaits_a_line_past_or_future() {
    let mut process = shell("echo first >&2; read word; echo \"got $word\"");
    assert_eq!(process.stderr_line("fir").await, "first");
    assert_eq!(process.stderr_line("first").await, "first");
    process.write_stdin("hello\n").await;
    assert_eq!(process.stdout_line("got").await, "got hello");
    let finished = process.wait().await;
    assert!(finished.status.success());
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("got hello\n", "first\n"));
}

#[tokio::test]
#[should_panic(expected = "something else")]
async fn a_missing_line_panics_with_the_output() {
    shell("echo something else >&2").stderr_line("listening").await;
}

#[tokio::test]
async fn signals_arrive() {
    let process = shell("trap 'echo bye; exit 3' TERM; echo ready; while :; do read line; done");
    process.stdout_line("ready").await;
    process.signal(Signal::Stop);
    process.signal(Signal::Continue);
    let mut process = process;
    process.signal(Signal::Terminate);
    process.close_stdin();
    let finished = process.wait().await;
    assert_eq!(finished.status.code(), Some(3));
    assert_eq!(finished.stdout, "ready\nbye\n");
}

#[tokio::test]
async fn a_kill_is_no_exit() {
    let process = shell("echo ready; read line");
    process.stdout_line("ready").await;
    assert_eq!(process.kill().await.status.code(), None);
}
