//! An authority of this run, and clients that trust it.

use std::{fs, io, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// Signs certificates, and is trusted. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        Self(Arc::new(CertifiedIssuer::self_signed(params, key()).expect("an authority")))
    }

    /// Writes a new certificate for 127.0.0.1 to `NAME.pem`, and its key to `NAME.key`.
    pub(crate) fn sign(&self, directory: &Path, name: &str) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).expect("a directory to write to");
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).expect("a directory to write to");
    }

    /// As a client that offers these protocols.
    pub(crate) async fn handshake(&self, stream: TcpStream, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
