//! TLS over an open connection: whose certificates are believed, and why one was not, in words. It refuses
//! to go on with a certificate that does not verify, TLS before 1.2, and a second layer of TLS.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};

use super::pin::{Judge, Refused, Trust};
use super::{Own, Stream, dial};
use crate::account::Fingerprint;
use crate::failure::{Failure, Kind};

/// For the handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// A `ca_file` may have so many octets.
const CA_FILE: u64 = 1 << 20;

/// The system's authorities, and a configuration for each `ca_file` seen so far.
pub(super) struct Configs {
    roots: RootCertStore,
    system: Option<Arc<ClientConfig>>,
    with_file: Mutex<HashMap<PathBuf, Arc<ClientConfig>>>,
    pinned: Mutex<HashMap<Fingerprint, Arc<ClientConfig>>>,
}

impl fmt::Debug for Configs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Configs({} roots)", self.roots.len())
    }
}

impl Configs {
    pub(super) fn from_system() -> Result<Configs, Failure> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a system certificate was not loaded");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        let system = match roots.is_empty() {
            true => None,
            false => Some(by_authorities(roots.clone(), Vec::new())?),
        };
        Ok(Configs { roots, system, with_file: Mutex::default(), pinned: Mutex::default() })
    }

    pub(super) async fn handshake(
        &self,
        stream: Stream,
        host: &str,
        ca_file: Option<&Path>,
        own: Own,
    ) -> Result<Stream, Failure> {
        let config = match (own, ca_file, &self.system) {
            (Own::Entry(Some(pin)), _, _) => self.pinned(pin)?,
            (_, Some(path), _) => self.with_file(path).await?,
            (_, None, Some(system)) => Arc::clone(system),
            (_, None, None) => {
                let words = "this machine has no certificate authorities to verify by";
                return Err(Failure::new(Kind::Tls, words, "install ca-certificates, or set ca_file"));
            }
        };
        let Some(wire) = stream.into_plain() else {
            return Err(Failure::new(Kind::Tls, "this connection has TLS already", ""));
        };
        // A final dot belongs to the name service; certificates are written without.
        let bare = dial::bare(host);
        let name = ServerName::try_from(bare.strip_suffix('.').unwrap_or(bare).to_owned()).map_err(|_| {
            Failure::new(Kind::Tls, format!("no certificate can be for {host}"), "check host")
        })?;
        match timeout(HANDSHAKE, TlsConnector::from(config).connect(name, wire)).await {
            Ok(Ok(tls)) => Ok(Stream::tls(tls)),
            Ok(Err(error)) => Err(handshake_failure(host, &error, ca_file.is_some(), own)),
            Err(_) => Err(stalled(host)),
        }
    }

    fn pinned(&self, pin: Fingerprint) -> Result<Arc<ClientConfig>, Failure> {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = pinned.get(&pin) {
            return Ok(Arc::clone(config));
        }
        let config = config(Trust::Pinned(pin))?;
        pinned.insert(pin, Arc::clone(&config));
        Ok(config)
    }

    async fn with_file(&self, path: &Path) -> Result<Arc<ClientConfig>, Failure> {
        let known = self.with_file.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(config) = known {
            return Ok(config);
        }
        let mut roots = self.roots.clone();
        let certificates = read_pem(path).await?;
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| ca_file_failure(path, &error.to_string()))?;
        }
        let config = by_authorities(roots, certificates)?;
        let mut files = self.with_file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(files.entry(path.to_owned()).or_insert(config)))
    }
}

/// One of `own` counts by itself.
fn by_authorities(
    roots: RootCertStore,
    own: Vec<CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    config(Trust::Authorities(built.map_err(|error| set_up(&error))?, own))
}

fn config(trust: Trust) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let judge = Arc::new(Judge { trust, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| set_up(&error))?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(judge).with_no_client_auth()))
}

fn set_up(error: &dyn fmt::Display) -> Failure {
    Failure::new(Kind::Tls, format!("TLS cannot be set up: {error}"), "")
}

async fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |error: io::Error| ca_file_failure(path, &error.to_string());
    if tokio::fs::metadata(path).await.map_err(failed)?.len() > CA_FILE {
        return Err(ca_file_failure(path, "it has more than 1 MiB"));
    }
    let text = tokio::fs::read(path).await.map_err(failed)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(ca_file_failure(path, "it holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(ca_file_failure(path, &error.to_string())),
    }
}

fn ca_file_failure(path: &Path, why: &str) -> Failure {
    let words = format!("ca_file {} cannot be used: {why}", path.display());
    Failure::new(Kind::Tls, words, "give a readable file with CERTIFICATE blocks in PEM")
}

fn stalled(host: &str) -> Failure {
    let words = format!("{host} did not finish the TLS handshake within {} s", HANDSHAKE.as_secs());
    Failure::new(Kind::Stalled, words, "check port and security")
}

/// The TLS error inside an I/O error.
pub(super) fn inside(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn handshake_failure(host: &str, error: &io::Error, ca_file: bool, own: Own) -> Failure {
    if let Some(error) = inside(error) {
        return failure(host, error, ca_file, own);
    }
    if error.kind() == io::ErrorKind::TimedOut {
        return stalled(host);
    }
    let words = format!("{host} closed the connection during the TLS handshake: {error}");
    Failure::new(Kind::Disconnected, words, "check port and security")
}

pub(super) fn failure(host: &str, error: &Error, ca_file: bool, own: Own) -> Failure {
    let (words, mend) = match error {
        Error::InvalidCertificate(error) => return refused(host, error, ca_file, own),
        Error::InvalidMessage(_) => {
            (format!("{host} does not speak TLS at this port"), "check port and security")
        }
        Error::AlertReceived(alert) => (format!("{host} refused TLS: {alert:?}"), ""),
        Error::PeerIncompatible(why) => (
            format!("{host} and we have no safe kind of TLS in common: {why:?}"),
            "it needs TLS 1.2 or later",
        ),
        other => (format!("TLS with {host} failed: {other}"), ""),
    };
    Failure::new(Kind::Tls, words, mend)
}

/// A certificate that was refused: which it was, and how it is pinned.
fn refused(host: &str, error: &CertificateError, ca_file: bool, own: Own) -> Failure {
    let Some(Refused { why, shown }) = Refused::of(error) else {
        let (words, mend) = certificate_words(host, error, ca_file);
        return Failure::new(Kind::Tls, words, mend);
    };
    let Some(why) = why else {
        let words = format!("{host} shows another certificate than the pinned one: {shown}");
        let mend =
            "ask its operator whether the certificate was renewed; only then set fingerprint to the new one";
        return Failure::new(Kind::Tls, words, mend);
    };
    let (words, mut mend) = match certificate_words(host, why, ca_file) {
        (words, "") => (words, String::new()),
        (words, mend) => (words, format!("{mend}; ")),
    };
    mend.push_str(&match own {
        Own::Entry(_) => format!(
            "or, if its operator says that {shown} is its fingerprint, write fingerprint = \"{shown}\" in its server entry"
        ),
        Own::No => format!("or, if its operator says that {shown} is its fingerprint, put it into a ca_file"),
    });
    Failure::new(Kind::Tls, words, mend)
}

fn certificate_words(host: &str, error: &CertificateError, ca_file: bool) -> (String, &'static str) {
    use CertificateError as C;
    match error {
        C::Expired | C::ExpiredContext { .. } => (
            format!("the certificate of {host} has expired"),
            "its operator must renew it; check this machine's clock too",
        ),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            (format!("the certificate of {host} is not valid yet"), "check this machine's clock")
        }
        C::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names: Vec<&str> = presented.iter().map(|name| certificate_name(name)).take(8).collect();
            (
                format!("the certificate shown is not for {host} but for {}", names.join(", ")),
                "set host to a name that it is for",
            )
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            (format!("the certificate shown is not for {host}"), "set host to a name that it is for")
        }
        // A bad signature is what another authority of the same name makes of it.
        C::UnknownIssuer | C::BadSignature => {
            let words = format!("the certificate of {host} is signed by nobody who is trusted here");
            if ca_file {
                (words, "ca_file must hold the authority that signed it")
            } else {
                (words, "if that is meant, set ca_file to its authority's certificate")
            }
        }
        C::Revoked => (format!("the certificate of {host} was revoked"), ""),
        // What `openssl req -x509` makes: an authority that signed itself and is shown as a server's.
        C::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
            format!("{host} shows the certificate of an authority as its own"),
            "put that very certificate into ca_file",
        ),
        other => {
            // The crate has no words for the rest, only its own names.
            let name = format!("{other:?}");
            let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            let words = match name.starts_with("UnsupportedSignatureAlgorithm") {
                true => format!(
                    "the certificate of {host} is signed in a way that is not safe, or not with its key"
                ),
                false => format!("the certificate of {host} is not accepted ({name})"),
            };
            (words, "its operator must mend it")
        }
    }
}

/// rustls writes `DnsName("mail.example")`.
fn certificate_name(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
