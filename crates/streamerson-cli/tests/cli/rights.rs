//! The rights that docs/cli.md names for each command: enough, and no more than that.

use std::fs;

use streamerson_test::{Finished, Process, Value};

use crate::support::{Scene, command};

/// The lines of the document: a command, and what its user may do.
fn lines() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    let (_, section) = text.split_once("## Rights\n").unwrap();
    let block = section.split("```\n").nth(1).unwrap();
    let line = |line: &str| {
        let (command, rights) = line.split_once("  ").unwrap();
        (command.to_owned(), rights.split_whitespace().map(str::to_owned).collect())
    };
    block.lines().map(line).collect()
}

impl Scene {
    /// One topic that has something of all.
    async fn fill(&self) {
        self.server.command(["FLUSHALL"]).await;
        let dead = r#"{"reason":"failed","error":"","group":"old","member":"m","attempts":1,"at":1,"entry":"1-1"}"#;
        for words in [
            &["XADD", "{shop:orders}:in", "1-1", "m", "order.new a - -"][..],
            &["XGROUP", "CREATE", "{shop:orders}:in", "orders", "0"],
            &["XGROUP", "CREATE", "{shop:orders}:in", "old", "$"],
            &["XREADGROUP", "GROUP", "orders", "one", "STREAMS", "{shop:orders}:in", ">"],
            &["XADD", "{shop:orders}:dead", "1-1", "m", "order.new a - -", "d", dead],
        ] {
            assert!(!matches!(self.server.command(words).await, Value::Error(_)), "{words:?}");
        }
        assert!(self.run("emit shop:orders order.new --after 2h").await.status.success());
    }

    async fn run_as(&self, line: &str, rights: &[String]) -> Finished {
        self.fill().await;
        let user = ["ACL", "SETUSER", "operator", "reset", "on", ">secret", "+ping", "+time"];
        let user = user.into_iter().chain(rights.iter().map(String::as_str));
        assert_eq!(self.server.command(user).await.text(), "OK", "{rights:?}");
        let url = format!("redis://operator:secret@{}", self.server.address());
        Process::spawn(command(&format!("{line} --broker {url}"))).wait().await
    }
}

#[tokio::test]
async fn are_enough_and_none_is_too_many() {
    let scene = Scene::new().await;
    let lines = lines();
    assert!(lines.len() > 10, "{lines:?}");
    for (line, rights) in lines {
        let finished = scene.run_as(&line, &rights).await;
        if line.starts_with("doctor") {
            // What it finds is not about rights.
            assert!(!finished.stdout.contains("could not be looked at"), "{line}: {}", finished.stdout);
            continue;
        }
        assert!(finished.status.success(), "{line}: {}", finished.stderr);
        assert_ne!(finished.stdout, "", "{line}");
        // Of the two ways to run a script either is enough, as long as the server knows the script; and there is no second
        // page of what is scheduled.
        let is_seldom = |right: &str| right.starts_with("+eval") || right == "+zcount";
        for right in rights.iter().filter(|right| !is_seldom(right)) {
            let less: Vec<_> = rights.iter().filter(|other| *other != right).cloned().collect();
            let finished = scene.run_as(&line, &less).await;
            assert_eq!(finished.status.code(), Some(1), "{line} without {right}");
            assert!(finished.stderr.contains("NOPERM"), "{line} without {right}: {}", finished.stderr);
        }
    }
}

#[tokio::test]
async fn every_command_is_in_the_document() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    let help = Process::spawn(command("--help")).wait().await;
    let (_, list) = help.stdout.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        assert!(text.contains(&format!("`{name}")) || text.contains(&format!("streamerson {name}")), "{name}");
    }
}
