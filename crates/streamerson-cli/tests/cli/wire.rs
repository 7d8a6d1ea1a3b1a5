//! `--wire js`: topics in the format of the TypeScript package.

use crate::support::{Scene, assert_fails, json_of, run, stdout_of};

const IN: &str = "default::orders::CONSUMER_INCOMING";
const OUT: &str = "default::orders::PRODUCER_OUTGOING";

impl Scene {
    /// The names and values of a stream's entries, in order.
    async fn raw(&self, stream: &str) -> Vec<Vec<String>> {
        let entries = self.server.command(["XRANGE", stream, "-", "+"]).await;
        let fields =
            |entry: &streamerson_test::Value| entry.items()[1].items().iter().map(|it| it.text().into()).collect();
        entries.items().iter().map(fields).collect()
    }
}

#[tokio::test]
async fn requests_and_replies_are_in_the_streams_of_the_original_and_no_other() {
    let scene = Scene::new().await;
    let echo = scene.start("echo orders --wire js");
    let finished = scene.run(r#"request orders order.get {"id":7} --wire js -H source:web-1"#).await;
    assert_eq!(stdout_of(&finished), "{\"id\":7}\n");
    let emitted = json_of(&scene.run("emit orders order.seen [1] --wire js").await);
    let [request, event] = &scene.raw(IN).await[..] else { panic!("two entries") };
    assert_eq!(
        (&*request[1], &*request[2], &request[4..]),
        ("order.get", OUT, &own(["json", "web-1", "UnoccupiedField", "{\"id\":7}"])[..])
    );
    assert_eq!(event[0], emitted[0]["id"]);
    assert_eq!(event[1..], own(["order.seen", "", "nil", "json", "", "UnoccupiedField", "[1]"]));
    // Ids are what the original makes, too.
    assert_eq!(event[0].split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    let expected = [&request[0], "resp", "", "nil", "json", "web-1", "UnoccupiedField", "{\"id\":7}"];
    assert_eq!(scene.raw(OUT).await, [own(expected)]);
    assert_eq!(echo.terminate().await.status.code(), Some(0));
    let keys = scene.server.command(["KEYS", "*"]).await;
    let mut keys: Vec<_> = keys.items().iter().map(|key| key.text().to_owned()).collect();
    // A reader's own, which goes by itself.
    keys.retain(|key| !key.contains("}:wake:"));
    keys.sort();
    assert_eq!(keys, [IN, OUT]);
}

fn own<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

#[tokio::test]
async fn every_command_with_a_topic_takes_it() {
    let scene = Scene::new().await;
    scene.run("emit orders order.seen [1] --wire js").await;
    scene.server.command(["XGROUP", "CREATE", IN, "shipping", "0"]).await;
    scene.server.command(["XREADGROUP", "GROUP", "shipping", "one", "STREAMS", IN, ">"]).await;
    let dead = "{default::orders::CONSUMER_INCOMING}:dead";
    let letter = ["1", "a", "", "nil", "json", "", "UnoccupiedField", "[2]", "d", "{}"];
    scene.server.command(["XADD", dead, "5-1"].iter().chain(&letter)).await;
    scene.server.command(["XADD", OUT, "*", "1", "xcast", "", "nil", "json", "", "UnoccupiedField", "[3]"]).await;
    for (arguments, member, value) in [
        ("groups orders --wire js", "group", "shipping"),
        ("pending orders shipping --wire js", "event", "order.seen"),
        ("dead list orders --wire js", "entry", "5-1"),
        ("dead show orders 5-1 --wire js", "entry", "5-1"),
        ("tail orders --wire js --from start --count 1", "event", "order.seen"),
        ("tail orders --wire js --from start --count 1 --stream out", "event", "xcast"),
        ("tail orders --wire js --from start --count 1 --stream dead", "entry", "5-1"),
        ("groups drop orders shipping --force --wire js", "group", "shipping"),
    ] {
        let rows = json_of(&scene.run(arguments).await);
        assert_eq!(rows[0][member], value, "{arguments}: {rows:?}");
    }
    // The topic of the same name in our format is another.
    assert_fails(&scene.run("groups orders").await, 1, &["there is no stream {default:orders}:in"]);
    assert_fails(
        &scene.run("pending orders none --wire js").await,
        1,
        &["`streamerson groups default:orders --wire js`"],
    );
    for arguments in ["emit orders seen --wire JS", "groups orders --wire 2", "demo --wire js", "topics --wire js"] {
        assert_fails(&run(arguments).await, 2, &["--wire"]);
    }
}

/// Without a group nobody knows of the original's workers, so nobody is told that there is none.
#[tokio::test]
async fn whether_anybody_is_there_is_not_said() {
    let scene = Scene::new().await;
    let finished = scene.run("request orders order.get --wire js --timeout 200ms").await;
    assert_fails(&finished, 1, &["no reply to order.get from default:orders", "no reply within 200ms"]);
}
