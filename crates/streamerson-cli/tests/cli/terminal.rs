//! What only happens at a terminal: colours, questions, what is drawn in one place. Python lends the terminal.

use std::process::Command;

use serde_json::json;
use streamerson_test::{Process, Value, eventually};

use crate::support::{Scene, json_of};

/// Runs its arguments on a terminal of 100 columns and 20 rows, and exits as they do.
const ON_TERMINAL: &str = r"
import fcntl, os, pty, select, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 20, 100, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
inputs = [terminal, 0]
while terminal in inputs:
    for ready in select.select(inputs, [], [])[0]:
        try:
            data = os.read(ready, 65536)
        except OSError:
            data = b''
        if not data:
            inputs.remove(ready)
        elif ready == terminal:
            os.write(1, data)
        else:
            os.write(terminal, data)
sys.exit(os.WEXITSTATUS(os.waitpid(pid, 0)[1]))
";

impl Scene {
    /// Starts the program on a terminal; what it draws comes as its standard output, and what is typed goes to its input.
    fn on_terminal(&self, arguments: &str, environment: &[(&str, &str)]) -> Process {
        let mut command = Command::new("python3");
        command.args(["-c", ON_TERMINAL, env!("CARGO_BIN_EXE_streamerson")]).args(arguments.split(' '));
        command.env("STREAMERSON_BROKER", self.server.url()).env_remove("NO_COLOR").env_remove("RUST_LOG");
        command.envs(environment.iter().copied());
        Process::spawn(command)
    }

    async fn with_dead_letters(count: usize) -> Self {
        let scene = Self::new().await;
        for number in 1..=count {
            let id = format!("5-{number}");
            scene.server.command(["XADD", "{default:orders}:dead", &id, "m", "seen m - -"]).await;
        }
        scene
    }

    async fn dead_letters(&self) -> Value {
        self.server.command(["XLEN", "{default:orders}:dead"]).await
    }
}

#[tokio::test]
async fn colours_are_for_terminals_that_want_them() {
    let scene = Scene::with_dead_letters(1).await;
    let coloured = scene.on_terminal("topics", &[]).wait().await;
    assert!(coloured.stdout.contains("\x1b[1mdefault:orders\x1b[0m"), "{:?}", coloured.stdout);
    let plain = scene.on_terminal("topics", &[("NO_COLOR", "1")]).wait().await;
    assert!(plain.stdout.contains("default:orders") && !plain.stdout.contains('\x1b'), "{:?}", plain.stdout);
    let json = scene.on_terminal("topics --json", &[]).wait().await;
    assert!(json.stdout.starts_with("{\"topic\":\"default:orders\""), "{:?}", json.stdout);
}

/// A payload is printed as it came, except that characters which steer the terminal are escaped.
#[tokio::test]
async fn a_reply_does_not_steer_the_terminal() {
    let scene = Scene::new().await;
    let echo = scene.start("echo orders");
    echo.stderr_line("echoing").await;
    let evil = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b";
    let json = serde_json::to_string(evil).expect("JSON");
    let shown = scene.on_terminal(&format!("request orders get {json}"), &[]).wait().await;
    assert!(shown.stdout.contains("\\u{9b}2J\\u{202e}b"), "{:?}", shown.stdout);
    let piped = scene.run(&format!("request orders get {json}")).await;
    assert_eq!(piped.stdout.trim_end_matches('\n'), json, "byte for byte");
    echo.terminate().await;
}

/// The colours of a line are those of the program: text from elsewhere cannot conceal itself or end a colour.
#[tokio::test]
async fn foreign_text_brings_no_colours() {
    const EVIL: &str = "foreign\u{1b}[8m\u{1b}[0m\u{1b}[31m\u{1b}[1m\u{1b}[2m";
    let scene = Scene::new().await;
    let headers = json!({ "x": EVIL, EVIL: "y" }).to_string();
    let letter = json!({"reason": "failed", "error": EVIL, "group": "g", "member": "m", "attempts": 1, "at": 1,
        "entry": "1-1"});
    for stream in ["in", "dead"] {
        let key = format!("{{default:orders}}:{stream}");
        for (id, meta) in [("1-1", "seen a - -"), ("1-2", EVIL)] {
            let fields = ["m", meta, "h", &headers, "p", EVIL, "d", &letter.to_string()];
            scene.server.command([&["XADD", &key, id][..], &fields].concat()).await;
        }
    }
    for group in [EVIL, "g"] {
        scene.server.command(["XGROUP", "CREATE", "{default:orders}:in", group, "0"]).await;
        scene.server.command(["XREADGROUP", "GROUP", group, EVIL, "STREAMS", "{default:orders}:in", ">"]).await;
    }
    for arguments in [
        "tail orders --from start --count 2",
        "tail orders --stream dead --from start --count 2",
        "groups orders",
        "pending orders g",
        "dead list orders",
        "dead list orders --by-error",
        "dead show orders 1-1 1-2",
        "dead replay orders --all --yes",
        "doctor",
    ] {
        let shown = scene.on_terminal(arguments, &[]).wait().await.stdout;
        assert!(!shown.contains("foreign\u{1b}") && !shown.contains("\u{1b}[8m"), "{arguments}: {shown:?}");
    }
    let path = scene.server.directory().join("g.toml");
    let broker = "redis+unix:///foreign%1B%5B8m%1B%5B0m";
    let text = format!(
        "listen = \"127.0.0.1:0\"\nbroker = \"{broker}\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\ntopic = \"orders\"\nevent = \"a\"\n"
    );
    std::fs::write(&path, text).expect("written");
    let mut process = scene.on_terminal(&format!("gateway --config {}", path.display()), &[]);
    process.stdout_line("listening on").await;
    process.write_stdin("\x03").await;
    let shown = process.wait().await.stdout;
    assert!(shown.contains("\u{1b}[2m") && shown.contains("foreign"), "coloured: {shown:?}");
    assert!(!shown.contains("foreign\u{1b}") && !shown.contains("\u{1b}[8m"), "{shown:?}");
}

#[tokio::test]
async fn what_cannot_be_undone_is_asked_about() {
    let scene = Scene::with_dead_letters(2).await;
    for (answer, code, left) in [("n\n", 1, 2), ("\n", 1, 2), ("y\n", 0, 0)] {
        let mut process = scene.on_terminal("dead drop orders --all", &[]);
        // The question is no whole line, so what is typed comes whether or not it was asked.
        process.write_stdin(answer).await;
        let finished = process.wait().await;
        assert!(
            finished.stdout.contains("drop 2 dead letters of default:orders for good? [y/N]"),
            "{}",
            finished.stdout
        );
        assert_eq!((finished.status.code(), scene.dead_letters().await), (Some(code), Value::Int(left)), "{answer:?}");
    }
    // Nothing is there to be asked about, and who says yes is not asked.
    let scene = Scene::with_dead_letters(1).await;
    let finished = scene.on_terminal("dead drop orders --all --yes", &[]).wait().await;
    assert!(!finished.stdout.contains("[y/N]") && finished.status.success(), "{}", finished.stdout);
    let finished = scene.on_terminal("dead drop orders --all", &[]).wait().await;
    assert!(finished.stdout.contains("dropped 0 dead letters"), "{}", finished.stdout);
}

#[tokio::test]
async fn a_watch_is_drawn_in_one_place_and_gives_the_terminal_back() {
    let scene = Scene::with_dead_letters(1).await;
    for number in 10..40 {
        scene.server.command(["XADD", &format!("{{default:t{number}}}:in"), "*", "m", "seen m - -"]).await;
    }
    let mut process = scene.on_terminal("topics --watch --every 100ms", &[]);
    process.stdout_line("31 topics, every 100ms").await;
    // 20 rows are for the title, a line below it, 17 lines, and how many there is no room for.
    eventually("a second drawing", async || (process.stdout().matches("31 topics").count() > 1).then_some(())).await;
    process.write_stdin("\x03").await;
    let finished = process.wait().await;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stdout);
    let drawn = &finished.stdout;
    assert!(drawn.contains("… 15 more, for which there is no room"), "{drawn}");
    let (live, after) = drawn.split_once("\x1b[?1049l").expect("the terminal is given back");
    assert!(live.starts_with("\x1b[?1049h") && live.ends_with("\x1b[?7h\x1b[?25h"), "{live:?}");
    assert_eq!(after.matches("default:t").count(), 30, "{after}");
}

#[tokio::test]
async fn a_replay_shows_how_far_it_is() {
    let scene = Scene::with_dead_letters(0).await;
    scene.server.command("XGROUP CREATE {default:orders}:in shipping 0 MKSTREAM".split(' ')).await;
    let letter = json!({"reason": "failed", "error": "", "group": "shipping", "member": "m", "attempts": 1, "at": 1,
        "entry": "1-1"});
    for number in 1..=30 {
        let id = format!("5-{number}");
        let fields = ["m", "seen m - -", "d", &letter.to_string()];
        scene.server.command([&["XADD", "{default:orders}:dead", &id][..], &fields].concat()).await;
    }
    let finished = scene.on_terminal("dead replay orders --all --rate 20/s", &[]).wait().await;
    assert!(finished.status.success(), "{}", finished.stdout);
    assert!(finished.stdout.contains("\r\x1b[Kreplaying 1 of 30"), "{:?}", finished.stdout);
    assert!(finished.stdout.trim_end().ends_with("replayed 30 dead letters of default:orders"), "{}", finished.stdout);
    assert_eq!(json_of(&scene.run("dead list orders").await).len(), 0);
}
