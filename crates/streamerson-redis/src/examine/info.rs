//! `INFO`, read.

use std::collections::BTreeMap;

/// What a server says of itself: names and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerInfo(BTreeMap<String, String>);

impl ServerInfo {
    pub(super) fn read(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect())
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a name, where it is a number that is not negative.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// What it is, with its version: `Redis 7.0.15`, `Valkey 9.1.2`. Valkey gives 7.2.4 for its version of Redis for ever,
    /// so what a server can do is never told by that.
    #[must_use]
    pub fn server(&self) -> Option<String> {
        let own = [("valkey_version", "Valkey"), ("dragonfly_version", "Dragonfly"), ("kvrocks_version", "Kvrocks")];
        let (version, name) = own
            .into_iter()
            .find_map(|(key, name)| Some((self.get(key)?, name)))
            .or_else(|| Some((self.get("redis_version")?, "Redis")))?;
        Some(format!("{name} {}", version.trim_start_matches("df-v")))
    }

    /// The replicas of a primary.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaInfo> {
        (0..).map_while(|number| self.get(&format!("slave{number}"))).map(ReplicaInfo::read).collect()
    }
}

/// A replica, as its primary sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaInfo {
    /// Host and port.
    pub address: String,
    /// `online`, or what it does to become so.
    pub state: String,
    /// How much of the stream of writes it has, in bytes.
    pub offset: Option<u64>,
    /// Seconds since it last said so.
    pub lag: Option<u64>,
}

impl ReplicaInfo {
    fn read(text: &str) -> Self {
        let get = |name: &str| {
            let pair = text.split(',').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
            pair.map(|(_, value)| value)
        };
        let text = |name| get(name).unwrap_or_default().to_owned();
        Self {
            address: format!("{}:{}", text("ip"), text("port")),
            state: text("state"),
            offset: get("offset").and_then(|offset| offset.parse().ok()),
            lag: get("lag").and_then(|lag| lag.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_its_own_name() {
        let server = |text| ServerInfo::read(text).server();
        assert_eq!(server("# Server\r\nredis_version:7.0.15\r\n").unwrap(), "Redis 7.0.15");
        assert_eq!(
            server("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n").unwrap(),
            "Valkey 9.1.2"
        );
        assert_eq!(server("redis_version:7.4.0\ndragonfly_version:df-v1.27.1\n").unwrap(), "Dragonfly 1.27.1");
        assert_eq!(server(""), None);
    }

    #[test]
    fn replicas_are_numbered() {
        let info = ServerInfo::read(
            "role:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=90,lag=1\r\n\
             slave1:ip=10.0.0.3,port=6380,state=wait_bgsave,offset=0,lag=0\r\nmaster_repl_offset:100\r\n",
        );
        let [one, other] = &info.replicas()[..] else { panic!("{info:?}") };
        assert_eq!(
            (one.address.as_str(), one.state.as_str(), one.offset, one.lag),
            ("10.0.0.2:6379", "online", Some(90), Some(1))
        );
        assert_eq!((other.address.as_str(), other.state.as_str()), ("10.0.0.3:6380", "wait_bgsave"));
        assert_eq!(info.number("master_repl_offset"), Some(100));
    }
}
