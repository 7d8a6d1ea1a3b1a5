//! Files that are right, files that are wrong, and what is said of them.

use std::{fmt, str::FromStr};

use proptest::prelude::*;
use streamerson_core::{broker::memory::Memory, client::Client, wire::WireFormat};
use tokio::sync::watch;

use super::*;
use crate::{
    Gateway, Idempotency,
    server::{router::router, stage::Stage},
};

/// An address of a broker, as far as this crate knows any.
#[derive(Debug, Clone, PartialEq)]
struct Address(String);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.starts_with("redis://").then(|| Self(text.to_owned())).ok_or_else(|| "no such scheme".to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse(text: &str) -> Result<Config<Address>, InvalidConfig> {
    Config::parse("g.toml", text, Overrides::default())
}

const TOP: &str = "listen = \"127.0.0.1:0\"\nbroker = \"redis://a\"\n";
const ROUTE: &str = "[[route]]\nmethod = \"POST\"\npath = \"/a\"\ntopic = \"orders\"\nevent = \"order.new\"\n";

const DOCUMENTED: &str = include_str!("../../../../../docs/gateway.toml");

const HTTP: &str = "[[route]]\nmethod = \"*\"\npath = \"/shop/{*rest}\"\ntopic = \"shop\"\nmode = \"http\"\n";

/// What is said of a file that has these lines after a good top.
#[track_caller]
fn complaints(lines: &str) -> String {
    parse(&format!("{TOP}{lines}")).unwrap_err().to_string()
}

#[test]
fn the_documented_file_is_read_as_it_is_documented() {
    let config = parse(DOCUMENTED).unwrap();
    assert_eq!((config.routes(), config.brokers().len(), config.is_tls()), (6, 2, false));
    let route = &config.routes[0];
    assert_eq!((route.path.as_str(), route.timeout), ("/orders/{id}", Duration::from_secs(2)));
    assert_eq!(config.upstreams[route.upstream].backlog_max, 100_000);
    let idempotency =
        Idempotency::within(Duration::from_secs(60 * 60)).principal("authorization").topic_bytes_max(67_108_864);
    assert_eq!(route.idempotency, Some(idempotency));
    // What needs files of the reader's is there to be uncommented.
    let whole: Vec<_> = DOCUMENTED.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let whole = whole[whole.iter().position(|line| line.is_empty()).unwrap()..].join("\n");
    assert!(parse(&whole).unwrap().is_tls());
    let js: Vec<_> = config.routes.iter().filter(|route| route.topic.wire() == WireFormat::Js).collect();
    assert_eq!(js.iter().map(|route| route.topic.to_string()).collect::<Vec<_>>(), ["shop:carts"]);
}

#[test]
fn a_topic_in_the_originals_format_is_one_on_every_route() {
    let tables = "[topic.orders]\nwire = \"js\"\n[topic.views]\nwire = \"v1\"\n";
    let route = |topic: &str| ROUTE.replace("/a", &format!("/{topic}")).replace("orders", topic);
    let emit = format!("{}mode = \"emit\"\n", route("default:orders"));
    let config = parse(&format!("{TOP}{tables}{ROUTE}{emit}{}fail_fast = true\n", route("views"))).unwrap();
    let wires: Vec<_> = config.routes.iter().map(|route| route.topic.wire()).collect();
    assert_eq!(wires, [WireFormat::Js, WireFormat::Js, WireFormat::V1]);
    // They need no client of their own.
    assert_eq!(config.upstreams.len(), 1);
    assert!(parse(&format!("{TOP}{tables}{ROUTE}fail_fast = false\n")).is_ok());
}

#[test]
fn the_examples_of_the_page_are_right_and_it_names_every_key() {
    let page = include_str!("../../../../../docs/gateway.md");
    for page in [page, include_str!("../../../../../examples/moved/README.md")] {
        let examples: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!examples.is_empty());
        for example in examples {
            parse(example).unwrap();
        }
    }
    for key in DOCUMENTED
        .lines()
        .map(|line| line.trim_start_matches("# "))
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
    {
        assert!(page.contains(&format!("| `{key}` |")), "{key}");
    }
}

/// The page says of each key what its default is; the file that leaves all of them out must have these.
#[test]
fn a_file_that_says_little_gets_the_defaults() {
    let config = parse(&format!("{TOP}{ROUTE}")).unwrap();
    assert_eq!((config.drain, config.admin.is_none(), config.cors_origins.is_none()), (DRAIN, true, true));
    let Limits {
        connections_max,
        requests_max,
        response_bytes_max,
        head_timeout,
        head_bytes_max,
        idle_grace,
        send_timeout,
        send_rate_min,
        tls_handshake_timeout,
        http2,
    } = config.limits;
    let Http2Limits {
        streams_max,
        response_bytes_max: http2_response_bytes_max,
        resets_max,
        errors_max,
        ping_interval,
        ping_timeout,
    } = http2;
    assert_eq!((response_bytes_max, http2_response_bytes_max, send_rate_min), (268_435_456, 16_777_216, 4096));
    assert_eq!((connections_max, requests_max, head_bytes_max), (10_000, 10_000, 32_768));
    assert_eq!([head_timeout, idle_grace, send_timeout, tls_handshake_timeout].map(|it| it.as_secs()), [30, 1, 30, 10]);
    assert_eq!((streams_max, resets_max, errors_max), (200, 20, 1024));
    assert_eq!([ping_interval, ping_timeout].map(|it| it.as_secs()), [30, 20]);
    assert!(config.tls.is_none());
    let route = &config.routes[0];
    assert_eq!((route.timeout, route.body_bytes_max), (Duration::from_secs(5), 262_144));
    assert!(route.forward_headers.is_none() && route.content_types.is_none() && route.idempotency.is_none());
    assert!(matches!(&route.mode, Mode::Request { reply_headers: None, fail_fast: false }));
    assert_eq!(config.upstreams, [Upstream { broker: 0, backlog_max: 1_000_000 }]);
}

#[test]
fn a_service_is_taken_whole_the_topmost_path_included() {
    let also = |lines: &str| {
        let config = parse(&format!("{TOP}{lines}")).unwrap();
        config.routes.into_iter().map(|route| route.also).collect::<Vec<_>>()
    };
    assert_eq!(also(HTTP), [["/shop", "/shop/"]]);
    assert_eq!(also(&HTTP.replace("/shop", "")), [["/"]]);
    assert_eq!(also(&HTTP.replace("/{*rest}", "/now")), [[""; 0]]);
    // What is spelled out is its own route's; other methods of it still go to the service.
    let spelled_out = HTTP.replace("/{*rest}", "");
    assert_eq!(also(&[HTTP, &spelled_out].concat()), [vec!["/shop/"], vec![]]);
    let get = ROUTE.replace("/a", "/shop").replace("POST", "GET");
    assert_eq!(also(&[HTTP, &get].concat()), [vec!["/shop", "/shop/"], vec![]]);
    assert_eq!(also(&[HTTP, &HTTP.replace('*', "GET").replace("{GETrest}", "{*rest}")].concat()).len(), 2);

    let config = parse(&format!("{TOP}{HTTP}forward_headers = [\"*\", \"Cookie\"]\n")).unwrap();
    let route = &config.routes[0];
    assert_eq!((&*route.event, route.methods.as_str()), ("http", "*"));
    assert_eq!(route.forward_headers.as_deref(), Some(&["*".to_owned(), "cookie".to_owned()][..]));
    assert!(matches!(&route.mode, Mode::Http { reply_headers: None, fail_fast: false }));
}

#[test]
fn a_table_under_a_route_is_about_requests_that_are_repeated() {
    let idempotency = |lines: &str| {
        let config = parse(&format!("{TOP}{ROUTE}{lines}")).unwrap();
        config.routes.into_iter().next().unwrap().idempotency.unwrap()
    };
    assert_eq!(idempotency("[route.idempotency]"), Idempotency::default());
    assert_eq!(idempotency("idempotency = {}"), Idempotency::default());
    let all = "idempotency = { ttl = \"1h\", required = true, principal = \"X-User\", reply_bytes_max = 5 }";
    let expected = Idempotency::within(Duration::from_secs(3600)).required(true).principal("x-user").reply_bytes_max(5);
    assert_eq!(idempotency(all), expected);
    // All routes of the topic have its bound.
    let bounded = idempotency("[route.idempotency]\n[topic.orders]\nidempotency_bytes_max = 100000\n");
    assert_eq!(bounded, Idempotency::default().topic_bytes_max(100_000));
    // It has room for one reply, or every request with a key would be refused.
    let small = "[route.idempotency]\nreply_bytes_max = 4000\n[topic.orders]\nidempotency_bytes_max = 4000\n";
    let small = complaints(&format!("{ROUTE}{small}"));
    let expected = "topic.orders.idempotency_bytes_max: a request to /a with an idempotency key needs room for 4337 ";
    assert!(small.contains(expected) && small.contains("default:orders has 4000 for all of them"), "{small}");
    let small = "[route.idempotency]\n[topic.\"shop:orders\"]\nidempotency_bytes_max = 4000\n";
    let small = complaints(&format!("{}{small}", ROUTE.replace("\"orders\"", "\"shop:orders\"")));
    assert!(small.contains("topic.shop:orders.idempotency_bytes_max: "), "{small}");
    let large = complaints(&format!("{ROUTE}[route.idempotency]\nreply_bytes_max = 268435456\n"));
    assert!(large.contains("route.idempotency.reply_bytes_max: "), "{large}");
    let zero = complaints(&format!("[topic.orders]\nidempotency_bytes_max = 0\n{ROUTE}"));
    assert!(zero.contains("topic.orders.idempotency_bytes_max"), "{zero}");
}

#[test]
fn files_are_looked_for_where_the_configuration_is() {
    let tls = |file: &str, certificate: &str| {
        let text = format!("{TOP}[tls]\ncertificate = \"{certificate}\"\nkey = \"b\"");
        let config = Config::<Address>::parse(file, &text, Overrides::default()).unwrap();
        config.tls.unwrap().certificate
    };
    assert_eq!(tls("g.toml", "a").path.to_str(), Some("a"));
    assert_eq!(tls("/etc/gateway/g.toml", "tls/a").path.to_str(), Some("/etc/gateway/tls/a"));
    assert_eq!(tls("/etc/gateway/g.toml", "/srv/a").path.to_str(), Some("/srv/a"));
    assert_eq!(tls("conf/g.toml", "a").place, "conf/g.toml:4: tls.certificate");
}

#[test]
fn topics_share_what_they_have_in_common() {
    let route = |path: &str, topic: &str| ROUTE.replace("/a", path).replace("orders", topic);
    let tables = "[topic.\"shop:orders\"]\nbroker = \"redis://b\"\n[topic.small]\nbacklog_max = 5\n";
    let routes =
        [route("/1", "x"), route("/2", "shop:orders"), route("/3", "y"), route("/4", "default:small")].concat();
    let config = parse(&format!("{TOP}{tables}{routes}")).unwrap();
    assert_eq!(config.brokers, [Address("redis://a".into()), Address("redis://b".into())]);
    let upstreams: Vec<_> = config.routes.iter().map(|route| route.upstream).collect();
    assert_eq!(upstreams, [0, 1, 0, 2]);
    assert_eq!(config.upstreams[2], Upstream { broker: 0, backlog_max: 5 });
}

#[test]
fn options_override_and_the_variable_fills_in() {
    let with = |top: &str, broker: Option<&str>, fallback: Option<&str>| {
        let overrides = Overrides {
            listen: Some("[::1]:1".parse().unwrap()),
            broker: broker.map(|broker| broker.parse().unwrap()),
            broker_fallback: fallback.map(str::to_owned),
        };
        Config::<Address>::parse("g.toml", &format!("{top}{ROUTE}"), overrides)
    };
    let broker = |config: Result<Config<Address>, InvalidConfig>| config.unwrap().brokers[0].0.clone();
    assert_eq!(with("", Some("redis://b"), None).unwrap().listen.as_str(), "[::1]:1");
    assert_eq!(broker(with(TOP, Some("redis://b"), Some("redis://c"))), "redis://b");
    assert_eq!(broker(with(TOP, None, Some("redis://c"))), "redis://a");
    assert_eq!(broker(with("", None, Some("redis://c"))), "redis://c");
    // What is not needed is not read.
    assert_eq!(broker(with(TOP, None, Some("memory://"))), "redis://a");
    let error = with("", None, Some("memory://")).unwrap_err();
    assert!(error.names_memory() && error.to_string().contains("$STREAMERSON_BROKER"), "{error}");
}

#[test]
fn mistakes_name_line_key_and_what_to_do() {
    let in_route = |line: &str| complaints(&format!("{ROUTE}{line}\n"));
    for (said, expected) in [
        (complaints("listne = 1"), "g.toml:3: listne: there is no such key; did you mean listen?"),
        (complaints("colour = 1"), "known here are listen, broker, drain"),
        (complaints("drain = 5"), "g.toml:3: drain: it must be a string in quotes, not an integer"),
        (complaints("drain = \"5\""), "g.toml:3: drain: a duration is a whole number and a unit"),
        (complaints("x = "), "g.toml:3: this is not TOML: "),
        (complaints("listen = \"127.0.0.1:1\""), "g.toml:3: this is not TOML: duplicate key"),
        (complaints("admin = 1"), "g.toml:3: admin: it must be a table: [admin]"),
        (complaints("[admin]"), "g.toml:3: admin.listen: it is missing; write listen = \"127.0.0.1:9090\""),
        (
            parse("listen = \"a:1\"\nbroker = \"redis://a\"\n[admin]\nlisten = \"a:1\"").unwrap_err().to_string(),
            "g.toml:4: admin.listen: everybody is to be heard there already",
        ),
        (complaints("[admin]\nlisten = \"9090\""), "g.toml:4: admin.listen: \"9090\" is not an address"),
        (complaints("[admin]\nlisten = \"a:1\"\nport = 1"), "g.toml:5: admin.port: there is no such key"),
        (complaints("[cors]"), "g.toml:3: cors.origins: it is missing"),
        (complaints("[cors]\norigins = \"*\""), "g.toml:4: cors.origins: it must be a list"),
        (complaints("[cors]\norigins = [\n\"https://a\",\n\"*\"]"), "g.toml:6: cors.origins: \"*\" is not an origin"),
        (complaints("[limits]\nconnections_max = 0"), "g.toml:4: limits.connections_max: it must be more than nothing"),
        (complaints("[limits]\nhead_bytes_max = 1"), "it must be from 1024 to 1048576"),
        (complaints("[topic.\"a/b\"]"), "g.toml:3: topic.a/b: \"a/b\" is not a valid name"),
        (complaints("[topic.a]\nbroker = \"ftp://x\""), "g.toml:4: topic.a.broker: no such scheme"),
        (complaints("[topic.a]\nwire = \"JS\""), "g.toml:4: topic.a.wire: it is \"v1\" or \"js\", not \"JS\""),
        (
            complaints(&format!("[topic.orders]\nwire = \"js\"\n{ROUTE}fail_fast = true")),
            "g.toml:10: route.fail_fast: it cannot be told whether anybody reads default:orders",
        ),
        (
            complaints(&format!("[topic.shop]\nwire = \"js\"\n{HTTP}")),
            "g.toml:9: route.mode: whole requests are no messages of the original",
        ),
        (complaints("[topic.a]\nshards = 0"), "g.toml:4: topic.a.shards: a topic is in 1 to 1024 shards, not 0"),
        (complaints("[topic.a]\nshards = 9999999999"), "a topic is in 1 to 1024 shards, not 9999999999"),
        (complaints("[topic.\"a#1\"]\nshards = 2"), "topic.a#1.shards: default:a#1 is one shard of a topic; leave out"),
        (
            complaints(&format!("[topic.orders]\nshards = 2\n{ROUTE}")),
            "g.toml:8: route.topic: default:orders is in 2 shards, and nothing says which one a request belongs to; write \
             shard_by = ",
        ),
        (in_route("shard_by = \"x-customer\""), "g.toml:8: route.shard_by: default:orders is in no shards"),
        (in_route("shard_by = \"a b\""), "\"a b\" names neither a parameter of the path"),
        (
            complaints(&format!("[topic.orders]\nshards = 2\n{ROUTE}shard_by = \"{{id}}\"")),
            "g.toml:10: route.shard_by: the path \"/a\" has no parameter {id}",
        ),
        (complaints("[topic.a]\nbacklog_max = -1"), "g.toml:4: topic.a.backlog_max: it must be a whole number"),
        (complaints("[topic.a]\nbacklog = 1"), "did you mean backlog_max?"),
        (complaints("[topic.a]\n[topic.\"default:a\"]"), "default:a has a table already"),
        (complaints("[topic]\na = 1"), "g.toml:4: topic.a: it must be a table"),
        (complaints("[route]\nmethod = \"GET\""), "g.toml:3: route: it must be an array of tables: [[route]]"),
        (complaints("[[socket]]\npath = \"/chat\""), "socket: WebSockets are not supported yet by this build"),
        (complaints("[tls]\ncert = \"a\""), "g.toml:4: tls.cert: there is no such key; did you mean certificate?"),
        (complaints("[tls]\ncertificate = \"a\""), "g.toml:3: tls.key: it is missing; write key = "),
        (complaints("[tls]\ncertificate = \"\""), "g.toml:4: tls.certificate: it must be the path of a file"),
        (complaints("tls = true"), "g.toml:3: tls: it must be a table: [tls]"),
        (complaints("[limits]\nhttp2_streams_max = 0"), "limits.http2_streams_max: it must be more than nothing"),
        (complaints("[limits]\nhttp2_streams = 1"), "did you mean http2_streams_max?"),
        (complaints("[limits]\nsend_timeout = \"0s\""), "limits.send_timeout: it must be more than nothing"),
        (complaints("[limits]\nsend_rate_min = 0"), "limits.send_rate_min: it must be more than nothing"),
        (complaints("[limits]\nresponse_bytes_max = 0"), "limits.response_bytes_max: it must be more than nothing"),
        (in_route("idempotency = true"), "g.toml:8: route.idempotency: it must be a table: [route.idempotency]"),
        (
            in_route("[route.idempotency]\nkeep = \"1h\""),
            "g.toml:9: route.idempotency.keep: there is no such key; known",
        ),
        (
            in_route("[route.idempotency]\nttl = \"0s\""),
            "g.toml:9: route.idempotency.ttl: it must be more than nothing",
        ),
        (in_route("[route.idempotency]\nprincipal = \"a b\""), "idempotency.principal: \"a b\" is not a header name"),
        (in_route("[route.idempotency]\nrequired = 1"), "route.idempotency.required: it must be true or false"),
        (in_route("timout = \"2s\""), "g.toml:8: route.timout: there is no such key; did you mean timeout?"),
        (in_route("timeout = \"0s\""), "g.toml:8: route.timeout: it must be more than nothing"),
        (in_route("mode = \"http\""), "g.toml:7: route.event: it means nothing in mode \"http\""),
        (in_route("mode = \"tell\""), "\"tell\" is not a mode"),
        (in_route("mode = \"emit\"\nfail_fast = true"), "g.toml:9: route.fail_fast: it means nothing in mode \"emit\""),
        (in_route("mode = \"emit\"\nreply_headers = []"), "route.reply_headers: it means nothing"),
        (in_route("fail_fast = \"yes\""), "it must be true or false, not a string"),
        (in_route("forward_headers = [\"a b\"]"), "route.forward_headers: \"a b\" is not a header name"),
        (in_route("forward_headers = [\"Connection\"]"), "belongs to the connection"),
        (in_route("reply_headers = [1]"), "route.reply_headers: it must be a string in quotes"),
        (in_route("body_bytes_max = \"1k\""), "g.toml:8: route.body_bytes_max: it must be a whole number"),
        (in_route("content_types = [\"json\"]"), "\"json\" is not a media type"),
        (in_route(ROUTE), "g.toml:10: route.path: POST /a is routed on line 5 already"),
        (complaints("[[route]]"), "g.toml:3: route.method: it is missing; write method = \"POST\""),
        (complaints(&ROUTE.replace("POST", "post")), "g.toml:4: route.method: \"post\" is not a method"),
        (
            complaints(&ROUTE.replace("POST", "*")),
            "g.toml:4: route.method: \"*\" is for mode \"http\"; name one method",
        ),
        (complaints(&[HTTP, HTTP].concat()), "g.toml:10: route.path: * /shop/{*rest} is routed on line 5 already"),
        (
            complaints(&[ROUTE.replace("/a", "/{b}"), HTTP.replace("/shop", "/{a}")].concat()),
            "g.toml:10: route.path: it takes \"/{a}\" as well, and \"/{a}\" cannot be routed: it cannot be told apart from \
             /{b}",
        ),
        (complaints(&HTTP.replace("mode = \"http\"", "")), "route.method: \"*\" is for mode \"http\""),
        (complaints(&ROUTE.replace("orders", "a b")), "g.toml:6: route.topic: \"a b\" is not a valid name"),
        (complaints(&ROUTE.replace("order.new", "reply")), "g.toml:7: route.event: "),
        (complaints(&ROUTE.replace("/a", "a")), "g.toml:5: route.path: \"a\" is not a path; it must begin with /"),
        (complaints(&ROUTE.replace("/a", "/:id")), "a parameter is written in braces"),
        (complaints(&ROUTE.replace("/a", "/{}")), "a parameter is a name in braces"),
        (complaints(&ROUTE.replace("/a", "/{id}x")), "one parameter at most"),
        (complaints(&ROUTE.replace("/a", "/{*rest}/x")), "can only be the last segment"),
        (complaints(&ROUTE.replace("/a", "/a?b")), "it cannot hold '?'"),
        (
            complaints(&[ROUTE.replace("/a", "/{x}"), ROUTE.replace("/a", "/{y}")].concat()),
            "g.toml:10: route.path: \"/{y}\" cannot be routed: it cannot be told apart from /{x}",
        ),
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

#[test]
fn routes_of_a_topic_in_shards_say_which_one() {
    let sharded = |count: &str, path: &str, by: &str| {
        let route = ROUTE.replace("/a", path);
        parse(&format!("{TOP}[topic.orders]\nshards = {count}\n{route}shard_by = \"{by}\"\n"))
    };
    for (path, by) in [("/a/{id}", "{id}"), ("/a/{*rest}", "{rest}"), ("/a/{*rest}", "{*rest}"), ("/a", "X-Customer")] {
        let config = sharded("16", path, by).unwrap();
        let (shards, key) = config.routes[0].sharded.as_ref().unwrap();
        assert_eq!((shards.count(), key), (16, &by.parse().unwrap()));
    }
    let error = sharded("0", "/a", "x-customer").unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "one mistake is told once: {error}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let error = complaints("[limits]\nnone = 1\n[topic.a]\nwire = 1\n[[route]]\ntimeout = 1\n");
    let lines: Vec<_> = error.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(
        lines,
        ["limits.none", "topic.a.wire", "route.method", "route.path", "route.topic", "route.event", "route.timeout"]
    );
}

#[test]
fn a_broker_that_cannot_be_is_told_once() {
    let error = parse(&format!("listen = \"a:1\"\nbroker = \"ftp://x\"\n{ROUTE}")).unwrap_err().to_string();
    assert!(error.contains("g.toml:2: broker: ") && error.lines().count() == 1, "{error}");
}

#[test]
fn a_topic_without_a_broker_is_a_mistake_and_memory_is_misuse() {
    let error = parse(&format!("listen = \"a:1\"\n{ROUTE}")).unwrap_err();
    assert!(error.to_string().contains("g.toml:5: route.topic: there is no broker for default:orders"), "{error}");
    assert!(!error.names_memory());
    let error = parse("listen = \"a:1\"\nbroker = \"memory://\"").unwrap_err();
    assert!(error.names_memory() && error.to_string().contains("g.toml:2: broker: memory:// lives in one"), "{error}");
}

proptest! {
    /// axum panics for a path that it does not take; none that passed the checks here is one.
    #[test]
    fn paths_that_pass_can_be_routed(
        paths in prop::collection::vec(("(/?[/a{}*:]{0,8}|(/[ab]|/\\{[ab]\\}){0,2}(/\\{\\*rest\\})?)", 0_usize..4), 1..5),
    ) {
        let route = |(path, kind): &(String, usize)| match kind {
            0 => ROUTE.replace("/a", path),
            1 => ROUTE.replace("/a", path).replace("POST", "GET"),
            2 => HTTP.replace("/shop/{*rest}", path),
            _ => HTTP.replace('*', "GET").replace("/shop/{GETrest}", path),
        };
        let routes: String = paths.iter().map(route).collect();
        if let Ok(config) = parse(&format!("{TOP}{routes}")) {
            let gateways = vec![Gateway::new(Client::new(Memory::new())); config.upstreams.len()];
            _ = router(&config, &gateways, watch::channel(Stage::Serving).1);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "([a-z\\[\\]=\"{}.# \n]|listen|broker|topic|route|path|é){0,60}") {
        _ = parse(&text);
    }
}
