//! Help, exit statuses, and the ways to say which broker.

use streamerson_test::Process;

use crate::support::{Scene, assert_fails, command, json_of, run, stdout_of};

const COMMANDS: [&str; 11] =
    ["completions", "dead", "demo", "gateway", "emit", "request", "tail", "echo", "topics", "groups", "pending"];
/// Those that need a broker that others can reach.
const REMOTE: [&str; 8] = [
    "emit orders seen",
    "request orders get",
    "tail orders",
    "echo orders",
    "topics",
    "groups orders",
    "pending orders shipping",
    "dead list orders",
];

#[tokio::test]
async fn help_teaches_by_examples() {
    let help = run("--help").await;
    for name in COMMANDS {
        assert!(stdout_of(&help).contains(&format!("  {name} ")), "{name}");
        let help = run(&format!("{name} --help")).await;
        let text = stdout_of(&help);
        assert!(text.contains("Examples:") && text.contains(&format!("streamerson {name}")), "{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{text}");
    }
    assert!(stdout_of(&run("--version").await).starts_with("streamerson "));
}

#[tokio::test]
async fn commands_of_commands_teach_too() {
    for name in ["groups drop", "dead list", "dead show"] {
        let help = run(&format!("{name} --help")).await;
        let text = stdout_of(&help);
        assert!(text.contains("Examples:") && text.contains("As JSON"), "{text}");
        assert!(text.lines().map(|line| line.chars().count()).max() <= Some(100), "{text}");
    }
}

#[tokio::test]
async fn misuse_is_status_2_and_says_the_rule() {
    assert_fails(&run("").await, 2, &["Usage: streamerson"]);
    for (arguments, said) in [
        ("nonsense", "unrecognized subcommand"),
        ("emit", "<TOPIC>"),
        ("emit a/b seen", "a name is 1 to 64 characters"),
        ("tail a#03", "number of a shard"),
        ("emit orders a/b", "an event type is 1 to 128 characters"),
        ("request orders reply", "reserved"),
        ("request orders get --timeout 5", "a whole number and a unit"),
        ("request orders get --timeout 0s", "more than nothing"),
        ("emit orders seen -H nonsense", "NAME: VALUE"),
        ("tail orders --from yesterday", "how long ago"),
        ("tail orders --count 0", "--count"),
        ("tail orders --stream sideways", "possible values: in, out, dead"),
        ("tail orders --json --human", "cannot be used with"),
        ("echo orders --concurrency 0", "--concurrency"),
        ("echo orders --group a/b", "a name is"),
        ("echo orders --lease 0s", "more than nothing"),
        ("groups", "<TOPIC>"),
        ("groups drop orders", "<GROUP>"),
        ("pending orders", "<GROUP>"),
        ("dead list orders --reason bad", "possible values: malformed, no-handler"),
        ("dead show orders", "<ID>"),
        ("demo --log-format xml", "possible values: text, json"),
    ] {
        assert_fails(&run(arguments).await, 2, &["error:", said]);
    }
}

#[tokio::test]
async fn memory_is_refused_where_nobody_else_could_reach_it() {
    for remote in REMOTE {
        let finished = run(&format!("{remote} --broker memory://")).await;
        assert_fails(&finished, 2, &["lives in one process", "--broker", "hint:", "streamerson demo"]);
    }
    let mut by_variable = command("emit orders seen");
    by_variable.env("STREAMERSON_BROKER", "memory://");
    assert_fails(&Process::spawn(by_variable).wait().await, 2, &["$STREAMERSON_BROKER"]);
}

#[tokio::test]
async fn a_broker_that_is_away_is_status_1_and_a_hint() {
    for remote in REMOTE {
        let finished = run(&format!("{remote} --broker redis://127.0.0.1:1")).await;
        assert_fails(&finished, 1, &["error: ", "\n  caused by: ", "127.0.0.1:1", "\nhint: ", "redis-server", "demo"]);
    }
}

#[tokio::test]
async fn a_broker_that_cannot_be_is_status_2() {
    for url in ["nonsense", "http://127.0.0.1", "redis://"] {
        assert_fails(&run(&format!("tail orders --broker {url}")).await, 2, &["error: ", "  caused by: "]);
    }
}

#[tokio::test]
async fn the_option_wins_over_the_variable_and_stands_anywhere() {
    let scene = Scene::new().await;
    let url = scene.server.url();
    for arguments in [format!("emit orders seen --broker {url}"), format!("--broker {url} --json emit orders seen")] {
        let mut elsewhere = command(&arguments);
        elsewhere.env("STREAMERSON_BROKER", "redis://127.0.0.1:1");
        assert_eq!(json_of(&Process::spawn(elsewhere).wait().await).len(), 1);
    }
}
