//! A certificate authority of this run, and what it has signed.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// PEM files: an authority, a server's certificate for `localhost`, 127.0.0.1 and `redis.test`, and a client's.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) ca_key: PathBuf,
    pub(crate) server: Signed,
    pub(crate) client: Signed,
}

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Made once for each test program.
pub(crate) fn certificates() -> &'static Certificates {
    static CERTIFICATES: OnceLock<Certificates> = OnceLock::new();
    CERTIFICATES.get_or_init(|| make("ours"))
}

/// An authority that nobody trusts, and what it has signed.
pub(crate) fn stranger() -> &'static Certificates {
    static CERTIFICATES: OnceLock<Certificates> = OnceLock::new();
    CERTIFICATES.get_or_init(|| make("stranger"))
}

fn make(name: &str) -> Certificates {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}-{}", process::id()));
    fs::create_dir_all(&directory).expect("a directory for certificates");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
    let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    Certificates {
        ca: write(&directory, "ca.pem", &authority.pem()),
        ca_key: write(&directory, "ca.key", &authority.key().serialize_pem()),
        server: signed(&directory, "server", &["localhost", "127.0.0.1", "redis.test"], &authority),
        client: signed(&directory, "client", &["worker.test"], &authority),
    }
}

fn signed(directory: &Path, name: &str, hosts: &[&str], authority: &CertifiedIssuer<'static, KeyPair>) -> Signed {
    let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("host names");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = key();
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    Signed {
        certificate: write(directory, &format!("{name}.pem"), &certificate.pem()),
        key: write(directory, &format!("{name}.key"), &key.serialize_pem()),
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("a PEM file");
    path
}
