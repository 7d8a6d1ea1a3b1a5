//! TLS over TCP, by rustls: who is trusted, who this process is, and what a failure means.
//!
//! Certificates are always verified, against the server's name too. Files are read for each connection, so renewed
//! ones are used from the next connection on, without a restart.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use streamerson_core::text::redacted;
use tokio::{net::TcpStream, task::spawn_blocking};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::{connection::ConnectError, url::TlsSettings};

/// What to do about a server that asks for a client certificate.
const GIVE_CERTIFICATE: &str = "give one with `?cert=/path/to/cert.pem&key=/path/to/key.pem`";

/// All that a handshake needs, made before there is a connection: a mistake in a file shows whether or not the server
/// is there.
pub(crate) struct Handshake {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl Handshake {
    /// Reads the files. `host` is the name that the server must prove, unless the settings have another.
    pub(crate) async fn prepare(host: &str, settings: &TlsSettings) -> Result<Self, ConnectError> {
        let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let server_name = ServerName::try_from(name.clone())
            .map_err(|_| ConnectError::Config(format!("`{name}` is not a name that a certificate can have")))?;
        let settings = settings.clone();
        let config = spawn_blocking(move || client_config(&settings)).await;
        let config = config.map_err(|_| ConnectError::Unreachable("the runtime is shutting down".to_owned()))??;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server_name })
    }

    /// Encrypts a connection.
    pub(crate) async fn perform(self, stream: TcpStream) -> Result<TlsStream<TcpStream>, ConnectError> {
        self.connector.connect(self.server_name, stream).await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                ConnectError::Unreachable("the server ended the TLS handshake; is this its port for TLS?".to_owned())
            }
            _ => match explain(&error) {
                Some(cause) => ConnectError::Config(cause),
                None => ConnectError::Unreachable(error.to_string()),
            },
        })
    }
}

/// What a TLS error means and what to do about it. `None` if it is another error.
pub(crate) fn explain(error: &io::Error) -> Option<String> {
    use AlertDescription as Alert;

    Some(match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no authority that is trusted here has signed the server's certificate; \
             name its own with `?ca=/path/to/ca.pem`"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(
            cause @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
        ) => {
            format!("the server has a certificate for another name: {cause}; connect by that, or `?server_name=` it")
        }
        // Without a variant of its own.
        rustls::Error::InvalidCertificate(CertificateError::Other(cause))
            if format!("{cause:?}").contains("CaUsedAsEndEntity") =>
        {
            "the server's certificate is an authority's own, as `openssl req -x509` makes it; let the authority sign \
             one for the server, or make it with `-addext basicConstraints=critical,CA:FALSE`"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(cause) => format!("the server's certificate is not accepted: {cause}"),
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port; it may speak redis://".to_owned()
        }
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            format!("the server asks for a client certificate; {GIVE_CERTIFICATE}")
        }
        // How TLS 1.2 says the same, besides other things.
        rustls::Error::AlertReceived(Alert::HandshakeFailure) => {
            format!("the server refused the TLS handshake; if it asks for a client certificate, {GIVE_CERTIFICATE}")
        }
        rustls::Error::AlertReceived(
            alert @ (Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::DecryptError),
        ) => format!("the server does not accept the client certificate ({alert:?})"),
        other => format!("TLS failed: {other}"),
    })
}

fn client_config(settings: &TlsSettings) -> Result<ClientConfig, ConnectError> {
    let roots = match &settings.ca {
        Some(path) => own_roots(path)?,
        None => system_roots()?,
    };
    // The provider by name: which one is the process's default is the program's choice, and none of ours.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Config(error.to_string()))?
        .with_root_certificates(roots);
    let Some(certificate) = &settings.certificate else { return Ok(config.with_no_client_auth()) };
    let key = settings.key.as_ref().unwrap_or(certificate);
    config
        .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| unusable(certificate, &error))
}

fn own_roots(path: &Path) -> Result<Arc<RootCertStore>, ConnectError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(Arc::new(roots))
}

/// The authorities that the system trusts, read once: there may be hundreds. `SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// others.
fn system_roots() -> Result<Arc<RootCertStore>, ConnectError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have certificates that rustls does not take; the others are good all the same.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let cause = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(ConnectError::Config(format!(
            "this system has no certificate authorities{cause}; install `ca-certificates`, or name the server's own \
             with `?ca=/path/to/ca.pem`"
        )));
    }
    Ok(ROOTS.get_or_init(|| Arc::new(roots)).clone())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(unusable(path, &"it holds no certificate in PEM")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, cause: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::Config(format!("cannot use {}: {cause}", redacted(&path.display().to_string())))
}
