//! Who a server proves to be: its certificate is verified by the authorities that are trusted here, or it is the very one
//! that was pinned. What is refused carries its fingerprint along, so that the words can say it. It refuses to let a pin
//! stand for anything but itself: with a pinned fingerprint no authority counts any more.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use crate::account::Fingerprint;

/// By what a certificate is judged.
#[derive(Debug)]
pub(super) enum Trust {
    /// This one and no other.
    Pinned(Fingerprint),
    /// Authorities; or one of these certificates itself, whatever its names, its dates and its kind.
    Authorities(Arc<WebPkiServerVerifier>, Vec<CertificateDer<'static>>),
}

/// The judge of a connection.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) trust: Trust,
    pub(super) provider: Arc<CryptoProvider>,
}

/// Why a certificate was refused, and which it was.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// `None`: it is not the pinned one.
    pub(super) why: Option<CertificateError>,
    pub(super) shown: Fingerprint,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => write!(f, "{why} ({})", self.shown),
            None => write!(f, "not the pinned certificate ({})", self.shown),
        }
    }
}

impl std::error::Error for Refused {}

impl Refused {
    fn error(why: Option<CertificateError>, shown: Fingerprint) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused { why, shown }))))
    }

    /// What a judge's error says.
    pub(super) fn of(error: &CertificateError) -> Option<&Refused> {
        match error {
            CertificateError::Other(OtherError(inner)) => inner.downcast_ref(),
            _ => None,
        }
    }
}

/// SHA-256 of a certificate as it is sent.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut octets = [0; 32];
    octets.iter_mut().zip(digest.as_ref()).for_each(|(octet, of)| *octet = *of);
    Fingerprint(octets)
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = fingerprint(end_entity);
        match &self.trust {
            Trust::Pinned(pin) if *pin == shown => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(_) => Err(Refused::error(None, shown)),
            Trust::Authorities(_, own) if own.iter().any(|one| one == end_entity) => {
                Ok(ServerCertVerified::assertion())
            }
            Trust::Authorities(authorities, _) => authorities
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| match error {
                    Error::InvalidCertificate(why) => Refused::error(Some(why), shown),
                    other => other,
                }),
        }
    }

    // That the server has the certificate's key is proven whatever is pinned.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
