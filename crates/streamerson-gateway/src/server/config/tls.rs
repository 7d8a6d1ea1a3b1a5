//! `[tls]`: the files of the certificate that the listener shows.

use std::path::{Path, PathBuf};

use super::{
    mistake::Mistakes,
    table::{Parsed, Table, text},
};

/// The files of a certificate.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfig {
    /// The certificate of the server, and after it those that lead to an authority.
    pub(crate) certificate: PemFile,
    pub(crate) key: PemFile,
}

/// A file and where it is named, so that what is wrong with it can be said of both.
#[derive(Debug, Clone)]
pub(crate) struct PemFile {
    pub(crate) path: PathBuf,
    /// The configuration's file, line and key.
    pub(crate) place: String,
}

/// `[tls]`. Relative paths start where the configuration is, wherever the program was started.
pub(super) fn read(mut table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<TlsConfig> {
    let mut file = |key, how| {
        let named = table.required(mistakes, key, how, |value| some_path(text(value)?))?;
        let place = mistakes.place(&named.span, &table.name_of(key));
        Some(PemFile { path: mistakes.directory().join(named.value), place })
    };
    let certificate = file("certificate", "\"/etc/streamerson/tls/fullchain.pem\"");
    let key = file("key", "\"/etc/streamerson/tls/privkey.pem\"");
    table.finish(mistakes);
    Some(TlsConfig { certificate: certificate?, key: key? })
}

fn some_path(path: &str) -> Parsed<&Path> {
    if path.is_empty() { Err("it must be the path of a file in PEM".to_owned()) } else { Ok(Path::new(path)) }
}
