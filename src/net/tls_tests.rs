//! TLS against a server in the same process, with certificates made for the occasion.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::{Failure, Kind};
use crate::net::Connector;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, directory }
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server that says "hello" to each caller.
    async fn serve(&self, name: &str, expired: bool) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = date_time_ymd(2001, 1, 1);
            params.not_before = date_time_ymd(2000, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        serve(certificate.der().clone(), key).await
    }
}

/// A server that says "hello" to each caller.
async fn serve(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> SocketAddr {
    let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                tls.write_all(b"hello").await.unwrap();
                tls.shutdown().await.ok();
            }
        }
    });
    address
}

async fn greet(address: SocketAddr, ca: Option<&std::path::Path>) -> Result<String, Failure> {
    greet_by(&Connector::new(true).unwrap(), address, ca).await
}

async fn greet_by(
    connector: &Connector,
    address: SocketAddr,
    ca: Option<&std::path::Path>,
) -> Result<String, Failure> {
    let stream = connector.connect("127.0.0.1", address.port()).await?;
    let mut stream = connector.secure(stream, "localhost", ca).await?;
    assert!(stream.is_secure());
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    Ok(text)
}

#[tokio::test]
async fn an_authority_of_ones_own_is_believed_if_it_is_given() {
    let authority = Authority::new();
    let address = authority.serve("localhost", false).await;
    assert_eq!(greet(address, Some(&authority.file())).await.unwrap(), "hello");

    let stranger = Authority::new();
    let failure = greet(address, Some(&stranger.file())).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Tls);
    assert!(failure.mend.contains("ca_file"), "{failure}");
    let failure = greet(address, None).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Tls);
    assert!(failure.mend.contains("ca_file"), "{failure}");
}

#[tokio::test]
async fn a_wrong_name_and_an_old_certificate_are_named() {
    let authority = Authority::new();
    let address = authority.serve("mail.old.example", false).await;
    let failure = greet(address, Some(&authority.file())).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Tls);
    assert_eq!(failure.words, "the certificate shown is not for localhost but for mail.old.example");

    let address = authority.serve("localhost", true).await;
    let failure = greet(address, Some(&authority.file())).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Tls);
    assert!(failure.words.contains("expired"), "{failure}");
}

#[tokio::test]
async fn plain_text_where_tls_was_meant_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"+OK ready\r\n").await.unwrap();
        tcp.read_u8().await.ok();
        std::future::pending::<()>().await;
    });
    let authority = Authority::new();
    let failure = greet(address, Some(&authority.file())).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Tls);
    assert!(failure.words.contains("does not speak TLS"), "{failure}");
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_named() {
    let authority = Authority::new();
    let address = authority.serve("localhost", false).await;
    let empty = authority.directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing here\n").unwrap();
    for path in [empty.as_path(), std::path::Path::new("/nonexistent.pem")] {
        let failure = greet(address, Some(path)).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Tls);
        assert!(failure.words.contains("ca_file"), "{failure}");
    }
}

/// A server with the certificate that `openssl req -x509` makes: an authority that signed itself, for nobody by name.
async fn self_signed(expired: bool) -> (SocketAddr, String, crate::account::Fingerprint) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if expired {
        params.not_after = date_time_ymd(2001, 1, 1);
        params.not_before = date_time_ymd(2000, 1, 1);
    }
    let certificate = params.self_signed(&key).unwrap();
    let shown = crate::net::pin::fingerprint(certificate.der());
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    (serve(certificate.der().clone(), key).await, certificate.pem(), shown)
}

/// As the server entry of an account has it.
async fn pinned(
    address: SocketAddr,
    pin: Option<crate::account::Fingerprint>,
    ca: Option<&std::path::Path>,
) -> Result<String, Failure> {
    let connector = Connector { own: crate::net::Own::Entry(pin), ..Connector::new(true).unwrap() };
    greet_by(&connector, address, ca).await
}

#[tokio::test]
async fn a_certificate_of_ones_own_in_ca_file_is_itself() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.pem");
    for expired in [false, true] {
        let (address, pem, _) = self_signed(expired).await;
        std::fs::write(&file, pem).unwrap();
        assert_eq!(greet(address, Some(&file)).await.unwrap(), "hello");
        // Another one of the same kind is not.
        let (stranger, _, _) = self_signed(expired).await;
        assert_eq!(greet(stranger, Some(&file)).await.unwrap_err().kind, Kind::Tls);
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_taken_and_no_other() {
    for expired in [false, true] {
        let (address, _, shown) = self_signed(expired).await;
        assert_eq!(pinned(address, Some(shown), None).await.unwrap(), "hello");
    }
    // One that every authority vouches for is not the pinned one.
    let authority = Authority::new();
    let address = authority.serve("localhost", false).await;
    let (_, _, other) = self_signed(false).await;
    let failure = pinned(address, Some(other), Some(&authority.file())).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Tls);
    assert!(failure.words.contains("another certificate"), "{failure}");
    assert!(!failure.words.contains(&other.to_string()), "{failure}");
}

#[tokio::test]
async fn a_refused_certificate_is_named_and_can_be_pinned_then() {
    let authority = Authority::new();
    let (own, _, own_shown) = self_signed(false).await;
    for address in [own, authority.serve("mail.old.example", true).await] {
        let failure = pinned(address, None, Some(&authority.file())).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Tls);
        let written = failure.mend.split("fingerprint = \"").nth(1).unwrap().split('"').next().unwrap();
        let pin = crate::account::Fingerprint::read(written).unwrap();
        assert_eq!(pin == own_shown, address == own);
        assert_eq!(pinned(address, Some(pin), None).await.unwrap(), "hello");
    }
}
