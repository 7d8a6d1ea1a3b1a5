//! The example as its README runs it.

use std::process::Command;

use streamerson_test::{Process, RedisServer};

fn hello(arguments: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
    command.args(arguments.split_whitespace());
    Process::spawn(command)
}

/// The address of a process that listens on a port of its own.
async fn url(process: &Process) -> String {
    let line = process.stderr_line("listening on http://").await;
    line.split_once("listening on ").expect("an address").1.to_owned()
}

/// The status and the body of the answer to a greeting.
async fn greet(url: &str, body: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", " %{http_code}", "-H", "content-type: application/json", "-d", body]);
    curl.arg(format!("{url}/greet"));
    Process::spawn(curl).wait().await.stdout
}

#[tokio::test]
async fn all_in_one_process() {
    let both = hello("--listen 127.0.0.1:0");
    let url = url(&both).await;
    assert_eq!(greet(&url, r#"{"name":"Ada"}"#).await, r#"{"text":"Hello, Ada!"} 200"#);
    assert!(greet(&url, "{}").await.ends_with(" 422"));
    assert!(both.terminate().await.status.success());
}

#[tokio::test]
async fn each_part_in_a_process_of_its_own() {
    let server = RedisServer::spawn().await;
    let broker = server.url();
    let gateway = hello(&format!("gateway --broker {broker} --listen 127.0.0.1:0"));
    let workers = [hello(&format!("worker --broker {broker}")), hello(&format!("worker --broker {broker}"))];
    let url = url(&gateway).await;
    assert_eq!(greet(&url, r#"{"name":"Ada"}"#).await, r#"{"text":"Hello, Ada!"} 200"#);
    let [first, second] = workers;
    assert!(first.terminate().await.status.success());
    assert_eq!(greet(&url, r#"{"name":"Bo"}"#).await, r#"{"text":"Hello, Bo!"} 200"#);
    assert!(gateway.terminate().await.status.success());
    assert!(second.terminate().await.status.success());
}

#[tokio::test]
async fn parts_alone_need_a_broker_that_both_reach() {
    let finished = hello("worker").wait().await;
    assert!(!finished.status.success() && finished.stderr.contains("--broker"), "{}", finished.stderr);
}
