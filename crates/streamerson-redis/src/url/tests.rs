use super::*;

fn url(text: &str) -> RedisUrl {
    text.parse().unwrap()
}

fn mistake(text: &str) -> UrlErrorKind {
    text.parse::<RedisUrl>().unwrap_err().kind
}

fn tcp(host: &str, port: u16, tls: bool) -> Endpoint {
    Endpoint::Tcp { host: host.into(), port, tls }
}

#[test]
fn defaults_are_filled_in() {
    let plain = url("redis://localhost");
    assert_eq!((plain.endpoint(), plain.database()), (&tcp("localhost", 6379, false), 0));
    assert_eq!(plain.login(), None);
    assert_eq!(plain, url("redis://localhost:6379/"));
    assert_eq!(plain.to_string(), "redis://localhost:6379/0");
}

#[test]
fn every_part_is_read() {
    let full = url("redis://ann:p%40ss%2Fword@redis.example:7000/3?role=gateway");
    assert_eq!((full.endpoint(), full.database()), (&tcp("redis.example", 7000, false), 3));
    assert_eq!(full.login(), Some((Some("ann"), "p@ss/word")));
    assert_eq!(full.role(), Some("gateway"));
    assert_eq!(url("redis://:secret@host").login(), Some((None, "secret")));
    assert_eq!(url("redis://ann@host").login(), Some((Some("ann"), "")));
    assert_eq!(url("redis://ann:@host").login(), Some((Some("ann"), "")));
    assert_eq!(url("redis://:a@b/c@host/1").login(), Some((None, "a@b/c")));
}

#[test]
fn ipv6_hosts_stand_in_brackets() {
    let v6 = url("redis://[::1]:7000/2");
    assert_eq!((v6.endpoint(), v6.database()), (&tcp("::1", 7000, false), 2));
    assert_eq!(v6.to_string(), "redis://[::1]:7000/2");
    assert_eq!(url("redis://[fe80::1]").endpoint(), &tcp("fe80::1", 6379, false));
    assert_eq!(mistake("redis://[::1"), UrlErrorKind::BadHost);
    assert_eq!(mistake("redis://[::1]7000"), UrlErrorKind::BadHost);
}

#[cfg(unix)]
#[test]
fn a_socket_is_a_path_with_parameters() {
    let bare = url("redis+unix:///run/redis.sock");
    assert_eq!(bare.endpoint(), &Endpoint::Unix { path: "/run/redis.sock".into() });
    assert_eq!((bare.login(), bare.database()), (None, 0));
    let full = url("redis+unix:///run/my%20redis.sock?db=3&user=ann&pass=p%26ss&role=worker");
    assert_eq!(full.endpoint(), &Endpoint::Unix { path: "/run/my redis.sock".into() });
    assert_eq!((full.login(), full.database()), (Some((Some("ann"), "p&ss")), 3));
    assert_eq!(full.role(), Some("worker"));
    assert_eq!(full.to_string(), "redis+unix:///run/my redis.sock?db=3&user=ann&pass=***");

    for relative in ["redis+unix://run/redis.sock", "redis+unix://", "redis+unix:///", "redis+unix://u:p@/run/x"] {
        assert_eq!(mistake(relative), UrlErrorKind::NoPath, "{relative}");
    }
    assert_eq!(mistake("redis+unix:///s?db=one"), UrlErrorKind::BadDatabase);
    assert_eq!(mistake("redis+unix:///s?db=1&db=2"), UrlErrorKind::RepeatedParameter("db".into()));
    assert!(matches!(mistake("redis+unix:///s?password=p"), UrlErrorKind::UnknownParameter { .. }));
}

#[cfg(feature = "tls")]
#[test]
fn tls_has_files_and_a_name() {
    let plain = url("rediss://ann:secret@host/1");
    assert_eq!((plain.endpoint(), &plain.tls), (&tcp("host", 6379, true), &TlsSettings::default()));
    assert_eq!(plain.to_string(), "rediss://ann:***@host:6379/1");
    let full = url("rediss://host:6380?ca=/etc/ca.pem&cert=/etc/me.pem&key=/etc/me.key&server_name=redis.example");
    assert_eq!(full.tls.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(full.tls.certificate.as_deref(), Some(Path::new("/etc/me.pem")));
    assert_eq!(full.tls.key.as_deref(), Some(Path::new("/etc/me.key")));
    assert_eq!(full.tls.server_name.as_deref(), Some("redis.example"));

    assert_eq!(mistake("rediss://host#insecure"), UrlErrorKind::Insecure);
    assert_eq!(mistake("rediss://host?key=/k.pem"), UrlErrorKind::KeyWithoutCertificate);
    // Not quietly without TLS.
    assert!(matches!(mistake("redis://host?ca=/etc/ca.pem"), UrlErrorKind::UnknownParameter { .. }));
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_so() {
    assert_eq!(mistake("rediss://host"), UrlErrorKind::NoTls);
}

#[test]
fn each_mistake_is_named() {
    assert_eq!(mistake("localhost:6379"), UrlErrorKind::NoScheme);
    assert_eq!(mistake("http://host"), UrlErrorKind::UnknownScheme("http".into()));
    assert_eq!(mistake("redis-cluster://host"), UrlErrorKind::UnsupportedScheme("redis-cluster".into()));
    assert_eq!(mistake("redis://"), UrlErrorKind::NoHost);
    assert_eq!(mistake("redis://:secret@:6379"), UrlErrorKind::NoHost);
    assert_eq!(mistake("redis://host:0"), UrlErrorKind::BadPort);
    assert_eq!(mistake("redis://host:65536"), UrlErrorKind::BadPort);
    assert_eq!(mistake("redis://host/one"), UrlErrorKind::BadDatabase);
    assert_eq!(mistake("redis://u:%ff@host"), UrlErrorKind::BadEncoding);
    assert_eq!(mistake("redis://host#top"), UrlErrorKind::Fragment);
    assert_eq!(mistake("redis://host?password=x"), UrlErrorKind::UnknownParameter { known: "role".into() });
}

#[test]
fn no_rendering_shows_a_password() {
    let shown = url("redis://ann:hunter2@host:1/2");
    assert_eq!(shown.to_string(), "redis://ann:***@host:1/2");
    assert_eq!(format!("{shown:?}"), "RedisUrl(redis://ann:***@host:1/2)");
    for text in [
        "redis://ann:hunter2@host:x",
        "redis://:hunter2@host/x",
        "rediss://ann:hunter2@host:x",
        "ann:hunter2@host",
        "redis://hunter2@:1",
        "redis://host?password=hunter2",
        "redis://ann:hun?ter2@hunter2@host:x",
        "redis://host?pass=x@hunter2",
        "redis://ann:hunter2?@host",
        "redis+unix:///socket?pass=x&hunter2",
        "redis+unix:///socket?pass=x@hunter2#",
        "redis+unix://ann:hunter2@/socket",
    ] {
        let error = text.parse::<RedisUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

/// People write a password where the user belongs, or leave out the host behind it.
#[test]
fn a_password_in_the_place_of_a_user_does_not_show() {
    for (text, shown) in [
        ("redis://5ecret@host", "redis://***@host:6379/0"),
        ("redis://5e%63ret@host", "redis://***@host:6379/0"),
        ("redis://:5ecret@host", "redis://:***@host:6379/0"),
        ("redis://ann:5ecret@host", "redis://ann:***@host:6379/0"),
        // An empty password follows the user: the user may still be the password.
        ("redis://5ecret:@host", "redis://***@host:6379/0"),
        ("redis://:@host", "redis://:***@host:6379/0"),
        // Two addresses: the user is all before the first colon behind the scheme.
        ("redis://5ecret@h1,redis://5ecret@h2", "redis://***:***@h2:6379/0"),
        ("redis://a:5ecret@h1,redis://b:5ecret@h2", "redis://a:***@h2:6379/0"),
        // A parameter that no `?` begins is a part of the host.
        ("redis://host&pass=5ecret", "redis://host&pass=***:6379/0"),
    ] {
        assert_eq!(
            (url(text).to_string(), format!("{:?}", url(text))),
            (shown.to_owned(), format!("RedisUrl({shown})"))
        );
    }
    #[cfg(unix)]
    {
        assert_eq!(url("redis+unix:///s?user=5ecret").to_string(), "redis+unix:///s?db=0&user=***");
        assert_eq!(url("redis+unix:///s?user=5ecret&pass=").to_string(), "redis+unix:///s?db=0&user=***");
        assert_eq!(url("redis+unix:///s?pass=5ecret").to_string(), "redis+unix:///s?db=0&pass=***");
        assert_eq!(url("redis+unix:///s&pass=5ecret").to_string(), "redis+unix:///s&pass=***?db=0");
    }
    for wrong in [
        "redis://ann:5ecret",
        "redis://:5ecret",
        "redis://5ecret@",
        "redis://ann:5ecret/0",
        "redis://ann:12/5ecret",
        "redis://ann:5ecret:@host:x",
        "redis://5ecret:@host:x",
        "redis://[::1]:5ecret",
        "redis://[::1]5ecret",
        "redis://[ann:5ecret",
        "redis+unix:///s?db=5ecret",
        "redis+unix:///s?user=5ecret&x=1",
        "x://ann:5ecret@host",
        "ann:5ecret@host",
        "ann:5ecret@redis://host",
        "ann:5ecret",
        "5ecret",
        "redis+unix:/x?pass=5ecret",
        "5ecret@host",
        "ann@host:5ecret",
        "redis://ann@host:5ecret",
        "/run/r.sock?user=a&pass=5ecret",
        "redis://a:5ecret@h1,redis://b:5ecret",
        "redis://5ecret@h1,redis://5ecret@h2:x",
        "redis://host/0&token=5ecret",
    ] {
        let error = wrong.parse::<RedisUrl>().unwrap_err();
        assert!(!error.to_string().contains("5ecret"), "{wrong}: {error}");
        assert!(!format!("{error:?}").contains("5ecret"), "{wrong}: {error:?}");
    }
}
