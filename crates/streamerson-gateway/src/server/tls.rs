//! TLS on the listener, by rustls: whom clients meet, and how that changes while the server runs.

use std::{error::Error, fmt, io, path::Path, sync::Arc};

use streamerson_core::text::redacted;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_rustls::rustls::{
    self, CertificateError, InconsistentKeys, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use super::config::{PemFile, TlsConfig};

/// What can be spoken, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

const NOT_PEM: &str = "it is not PEM, or a part of it is missing";

/// How an encrypted key begins in PEM, in the form of PKCS#8 and in that of old OpenSSL.
const ENCRYPTED: [&str; 2] = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];

/// The certificate that a server shows, and the files that it comes from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificate {
    files: TlsConfig,
    shown: watch::Sender<Arc<ServerConfig>>,
}

/// A certificate or a key that cannot be used; `Display` says which file, where it is named, and why not.
#[derive(Debug)]
pub struct InvalidCertificate {
    /// Where the file is named: the configuration's file, line and key.
    place: String,
    path: String,
    why: String,
}

impl Certificate {
    pub(super) async fn load(files: TlsConfig) -> Result<Self, InvalidCertificate> {
        let (shown, _) = watch::channel(read(files.clone()).await?);
        Ok(Self { files, shown })
    }

    /// Reads the files again. Connections from now on get what is in them; those that are open keep what they have.
    ///
    /// # Errors
    ///
    /// What is wrong with a file. The certificate is then shown that was shown before.
    pub async fn reload(&self) -> Result<(), InvalidCertificate> {
        let read = read(self.files.clone()).await?;
        self.shown.send_replace(read);
        Ok(())
    }

    /// What a handshake that begins now is made with.
    pub(super) fn shown(&self) -> Arc<ServerConfig> {
        self.shown.borrow().clone()
    }
}

/// Reads and checks the files.
pub(super) async fn read(files: TlsConfig) -> Result<Arc<ServerConfig>, InvalidCertificate> {
    let key = files.key.clone();
    let read = spawn_blocking(move || server_config(&files)).await;
    read.unwrap_or_else(|_| Err(invalid(&key, "the runtime is shutting down"))).map(Arc::new)
}

fn server_config(files: &TlsConfig) -> Result<ServerConfig, InvalidCertificate> {
    let (chain, key) = (chain(&files.certificate)?, private_key(&files.key)?);
    // The provider by name: which one is the process's default is the program's choice, and none of ours.
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(&files.certificate, &error.to_string()))?;
    let mut config =
        builder.with_no_client_auth().with_single_cert(chain, key).map_err(|error| explain(files, &error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

// What is wrong inside of a file is told in our own words: those of the parser quote it, and it may be a key.
fn chain(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, InvalidCertificate> {
    let text = contents(file)?;
    match CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if chain.is_empty() => {
            Err(invalid(file, "it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"))
        }
        Ok(chain) => Ok(chain),
        Err(_) => Err(invalid(file, NOT_PEM)),
    }
}

fn private_key(file: &PemFile) -> Result<PrivateKeyDer<'static>, InvalidCertificate> {
    let text = contents(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        _ if is_encrypted(&text) => {
            let why = "it is encrypted, and nobody is there to type its password; decrypt it, as by `openssl pkey`";
            invalid(file, why)
        }
        pem::Error::NoItemsFound => invalid(file, "it holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"),
        _ => invalid(file, NOT_PEM),
    })
}

fn is_encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    ENCRYPTED.iter().any(|mark| text.contains(mark))
}

fn contents(file: &PemFile) -> Result<Vec<u8>, InvalidCertificate> {
    std::fs::read(&file.path).map_err(|error| invalid(file, &reason(&error)))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this process may not read it".to_owned(),
        _ => error.to_string(),
    }
}

/// What rustls has against a certificate and a key that can be read.
fn explain(files: &TlsConfig, error: &rustls::Error) -> InvalidCertificate {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let certificate = shown(&files.certificate.path);
            invalid(&files.key, &format!("it is not the key of the first certificate in {certificate}"))
        }
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
            invalid(&files.certificate, "what is in it is no X.509 certificate")
        }
        rustls::Error::InvalidCertificate(cause) => {
            invalid(&files.certificate, &format!("it is not accepted: {cause}"))
        }
        other => invalid(&files.key, &other.to_string()),
    }
}

fn invalid(file: &PemFile, why: &str) -> InvalidCertificate {
    InvalidCertificate { place: file.place.clone(), path: shown(&file.path), why: why.to_owned() }
}

impl fmt::Display for InvalidCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot use {}: {}", self.place, self.path, self.why)
    }
}

impl Error for InvalidCertificate {}

/// A path as errors quote it: an address may stand there by mistake.
fn shown(path: &Path) -> String {
    redacted(&path.display().to_string()).into_owned()
}
