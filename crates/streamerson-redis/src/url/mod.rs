//! Where the server is and how to log in, read from a URL.

mod parse;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use streamerson_core::text::redacted;

/// The port that a URL without one means.
pub const PORT_DEFAULT: u16 = 6379;

/// The address of a Redis server, its credentials and its database.
///
/// | URL | server |
/// |---|---|
/// | `redis://[user[:password]@]host[:port][/db]` | over TCP |
/// | `rediss://[user[:password]@]host[:port][/db][?ca=…&cert=…&key=…&server_name=…]` | over TLS, with the feature `tls` |
/// | `redis+unix:///path/to/socket[?db=…&user=…&pass=…]` | over a Unix socket |
///
/// The port defaults to 6379, the database to 0, and an IPv6 host stands in brackets. User, password, path and the
/// values of parameters are percent-decoded. `ca`, `cert` and `key` are PEM files; see
/// [`ca_file`](crate::RedisConfig::ca_file) and its neighbours. Each form takes `role` as well, which is
/// [`RedisConfig::role`](crate::RedisConfig::role). A parameter that is unknown is an error.
///
/// Neither `Display` nor `Debug` shows the password, nor a user that has none or holds an `@`, as that may be a password in
/// the wrong place. So a `RedisUrl` can go into logs and errors as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    endpoint: Endpoint,
    database: u32,
    user: Option<String>,
    password: Option<String>,
    role: Option<String>,
    pub(crate) tls: TlsSettings,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// On a TCP port.
    Tcp {
        /// The host name or address, without the brackets of an IPv6 address.
        host: String,
        /// The port.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// On a Unix socket.
    Unix {
        /// The socket's path.
        path: PathBuf,
    },
}

/// How the server proves who it is, and this process who it is. Nothing here means: by the system's authorities, and
/// not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// The authorities to trust instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The client's certificate chain.
    pub(crate) certificate: Option<PathBuf>,
    /// Its key, which may be in the file of the certificate.
    pub(crate) key: Option<PathBuf>,
    /// The name that the server's certificate must have, if it is not the host's.
    pub(crate) server_name: Option<String>,
}

impl RedisUrl {
    /// Where the server listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The number of the database that is selected after login.
    pub fn database(&self) -> u32 {
        self.database
    }

    /// The user to log in as, if the URL names one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What the process that connects is, if the URL says so.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// What the login command is given: nothing when the URL has neither user nor password. A user without a password
    /// logs in with an empty one, which is what a `nopass` user expects.
    pub(crate) fn login(&self) -> Option<(Option<&str>, &str)> {
        match (&self.user, &self.password) {
            (None, None) => None,
            (user, password) => Some((user.as_deref(), password.as_deref().unwrap_or_default())),
        }
    }

    fn fmt_tcp(&self, f: &mut fmt::Formatter<'_>, scheme: &str, host: &str, port: u16) -> fmt::Result {
        write!(f, "{scheme}://")?;
        if self.user.is_some() || self.password.is_some() {
            match (&self.user, self.password.as_deref()) {
                // People write a password alone where the user belongs.
                (_, None) | (Some(_), Some("")) => f.write_str("***@")?,
                (user, Some(_)) => write!(f, "{}:***@", shown_user(user.as_deref().unwrap_or_default()))?,
            }
        }
        match host.contains(':') {
            true => write!(f, "[{host}]")?,
            false => f.write_str(&redacted(host))?,
        }
        write!(f, ":{port}/{}", self.database)
    }

    fn fmt_unix(&self, f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
        write!(f, "redis+unix://{}?db={}", redacted(&path.display().to_string()), self.database)?;
        match (&self.user, self.password.as_deref()) {
            (None, None) => Ok(()),
            (None, Some(_)) => f.write_str("&pass=***"),
            (Some(_), None | Some("")) => f.write_str("&user=***"),
            (Some(user), Some(_)) => write!(f, "&user={}&pass=***", shown_user(user)),
        }
    }
}

/// A user, unless it holds an `@`: of two addresses in one URL, the first and its password are a part of the user.
fn shown_user(user: &str) -> &str {
    if user.contains('@') { "***" } else { user }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Tcp { host, port, tls: false } => self.fmt_tcp(f, "redis", host, *port),
            Endpoint::Tcp { host, port, tls: true } => self.fmt_tcp(f, "rediss", host, *port),
            Endpoint::Unix { path } => self.fmt_unix(f, path),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl FromStr for RedisUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        parse::parse(text).map_err(|kind| UrlError { url: parse::redact(text).into_owned(), kind })
    }
}

/// A broker URL that cannot be used. It shows the URL without its password, and nothing of a text that has no scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not a usable broker URL: {kind}")]
pub struct UrlError {
    url: String,
    kind: UrlErrorKind,
}

impl UrlError {
    /// The URL, without its password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is wrong.
    pub fn kind(&self) -> &UrlErrorKind {
        &self.kind
    }
}

/// What is wrong with a broker URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlErrorKind {
    /// There is no `://`.
    #[error("it has no scheme; write redis://host:port")]
    NoScheme,
    /// The scheme is none of ours.
    #[error("the scheme `{0}` is unknown; redis, rediss and redis+unix are known")]
    UnknownScheme(String),
    /// The scheme is one that this build has no transport or topology for.
    #[error("the scheme `{0}` is not supported yet; redis, rediss and redis+unix are")]
    UnsupportedScheme(String),
    /// The scheme is `rediss`, and this build has no TLS.
    #[error("this build has no TLS; build streamerson with the feature `redis-tls`, or streamerson-redis with `tls`")]
    NoTls,
    /// Nothing stands where the host belongs.
    #[error("it has no host")]
    NoHost,
    /// An IPv6 address without its closing bracket, or with something other than a port after it.
    #[error("the IPv6 host is not written as [address]")]
    BadHost,
    /// The port is not a number from 1 to 65535. It is not shown, as it may be the password of a URL without a host.
    #[error(
        "the port is not a number from 1 to 65535; a login stands before the host, as in redis://user:password@host"
    )]
    BadPort,
    /// There is no absolute path of a socket.
    #[error("it has no absolute path; write redis+unix:///path/to/socket?user=u&pass=p")]
    NoPath,
    /// The database is not a number. It is not shown, as it may be the end of a password.
    #[error("the database is not a number")]
    BadDatabase,
    /// Something does not percent-decode to UTF-8.
    #[error("the user, the password, the path or a parameter is not UTF-8 once percent-decoded")]
    BadEncoding,
    /// A parameter that this form of URL does not have. It is not shown, as it may be a piece of a password.
    #[error("a parameter is unknown; known here are {known}, and `&`, `?` and `#` in a value are percent-encoded")]
    UnknownParameter {
        /// The parameters that there are.
        known: String,
    },
    /// A parameter is given twice.
    #[error("the parameter `{0}` is given twice")]
    RepeatedParameter(String),
    /// A client key without its certificate.
    #[error("there is a `key` without a `cert`")]
    KeyWithoutCertificate,
    /// The other clients' way to ask for no verification.
    #[error(
        "the server's certificate is always verified; name the authority that signed it with `?ca=/path/to/ca.pem`"
    )]
    Insecure,
    /// A fragment, or what looks like a query within the password.
    #[error("a fragment has no meaning here; percent-encode `?` and `#` in a password and `@` in a parameter")]
    Fragment,
}

#[cfg(test)]
mod tests;
