//! `streamerson demo`.

use std::process::Command;

use streamerson_test::{Finished, Process, RedisServer, Signal};

use crate::support::{assert_fails, command, run, stdout_of};

/// A demo on a port of its own, and its address.
async fn start(arguments: &str) -> (Process, String) {
    let demo = Process::spawn(command(&format!("demo --listen 127.0.0.1:0 {arguments}")));
    let line = demo.stderr_line("listening on http://").await;
    let url = line.strip_prefix("listening on ").expect("nothing before it");
    let url = url.to_owned();
    demo.stdout_line("Ctrl-C ends it.").await;
    (demo, url)
}

/// Runs a line as a user pastes it into a shell.
fn shell(line: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    Process::spawn(command)
}

/// Runs every line that was printed, in order, and compares.
async fn check_tour(demo: &Process, url: &str) {
    let printed = demo.stdout();
    let mut lines = printed.lines();
    let mut tried = 0;
    while let Some(line) = lines.by_ref().find_map(|line| line.strip_prefix("  $ ")) {
        let answer = lines.next().and_then(|line| line.strip_prefix("  ")).expect("an answer");
        assert!(line.starts_with("curl ") && line.contains(url), "{line}");
        let finished = shell(line).wait().await;
        assert_eq!(stdout_of(&finished), format!("{answer}\n"), "{line}\n{}", demo.stderr());
        tried += 1;
    }
    assert_eq!(tried, 5, "{printed}");
}

#[tokio::test]
async fn every_line_answers_as_it_is_printed() {
    let (demo, url) = start("").await;
    check_tour(&demo, &url).await;
    let Finished { status, stderr, .. } = demo.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("greet worker=") && !stderr.contains("WARN"), "{stderr}");
}

#[tokio::test]
async fn it_runs_over_redis_as_well() {
    let server = RedisServer::spawn().await;
    let (demo, url) = start(&format!("--broker {}", server.url())).await;
    check_tour(&demo, &url).await;
    demo.signal(Signal::Interrupt);
    assert_eq!(demo.wait().await.status.code(), Some(0));
    assert_eq!(server.command(["EXISTS", "{demo:greetings}:in"]).await.int(), 1);
}

#[tokio::test]
async fn the_variable_does_not_lead_it_elsewhere() {
    let mut command = command("demo --listen 127.0.0.1:0");
    command.env("STREAMERSON_BROKER", "redis://127.0.0.1:1");
    let demo = Process::spawn(command);
    demo.stderr_line("listening on http://").await;
    assert_eq!(demo.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (demo, url) = start("").await;
    let waiting = shell(&format!("curl -s '{url}/views?at_least=9'"));
    demo.stderr_line("views.count").await;
    demo.signal(Signal::Terminate);
    demo.stderr_line("a second signal stops at once").await;
    demo.signal(Signal::Terminate);
    let finished = demo.wait().await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("error: stopped at once"), "{}", finished.stderr);
    waiting.wait().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_status_1() {
    let (demo, url) = start("").await;
    let taken = url.strip_prefix("http://").unwrap();
    let finished = run(&format!("demo --listen {taken}")).await;
    assert_fails(&finished, 1, &[&format!("cannot listen on {taken}"), "caused by: ", "picks a free port"]);
    demo.terminate().await;
}
