//! `streamerson completions`.

use std::io;

use crate::support::{assert_fails, command, run, stdout_of};

#[tokio::test]
async fn every_shell_learns_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let finished = run(&format!("completions {shell}")).await;
        for word in ["topics", "pending", "broker", "--reason"] {
            // Fish spells options without their dashes.
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(stdout_of(&finished).contains(word), "{word} for {shell}");
        }
    }
    assert_fails(&run("completions sh").await, 2, &["possible values: bash"]);
}

#[tokio::test]
async fn a_closed_output_is_no_failure() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = command("completions bash").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}
