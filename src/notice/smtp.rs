//! Sending by SMTP (RFC 5321), over TLS where the settings say so, with a login where the server wants one. It
//! refuses to send a password where TLS was asked for and cannot be had.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::account::Security;
use crate::failure::{Failure, Kind};
use crate::secret::Secret;
use crate::settings::Smtp;

/// For the connection and for each answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// For all of it.
const LIMIT: Duration = Duration::from_secs(120);
/// A `ca_file` may have so many octets.
const CA_FILE: u64 = 1 << 20;

/// A message on its way: from whom, to whom, and its octets with CRLF line ends.
#[derive(Debug)]
pub struct Outbox<'a> {
    /// The sender.
    pub from: &'a str,
    /// Every recipient.
    pub to: &'a [String],
    /// The message.
    pub octets: &'a [u8],
}

/// Hands a message over; `secret` is the login's password. Returns the recipients for whom it is refused for the
/// moment (4xx: RFC 5321, 4.2.1), while it is taken for others. Whom it is refused for is told in the log.
///
/// # Errors
/// [`Kind::Destination`] with the server's words, if it is taken for none of the recipients.
pub async fn send(
    smtp: &Smtp,
    secret: Option<&Secret>,
    message: &Outbox<'_>,
) -> Result<Vec<String>, Failure> {
    let sent = tokio::time::timeout(LIMIT, hand_over(smtp, secret, message)).await;
    sent.unwrap_or_else(|_| Err(Failure::new(Kind::Stalled, format!("{} takes too long", smtp.host), "")))
}

async fn hand_over(
    smtp: &Smtp,
    secret: Option<&Secret>,
    message: &Outbox<'_>,
) -> Result<Vec<String>, Failure> {
    let address = |written: &String| {
        written
            .parse::<Address>()
            .map_err(|error| refused(format!("{written}: {error}"), "look at [notices]"))
    };
    let to = message.to.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    let from = address(&message.from.to_owned())?;
    let name = message.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .timeout(Some(PATIENCE))
        .hello_name(ClientId::Domain(name.to_owned()))
        .tls(match smtp.security {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(tls(smtp).await?),
            Security::Tls => Tls::Wrapper(tls(smtp).await?),
        });
    if let (Some((login, _)), Some(secret)) = (&smtp.login, secret) {
        let password = String::from_utf8_lossy(secret.expose()).into_owned();
        transport = transport.credentials(Credentials::new(login.clone(), password));
    }
    let transport = transport.build();
    let (mut taken, mut later, mut failed) = (false, Vec::new(), None);
    // One by one: an address that the server refuses takes nothing from the others.
    for recipient in to {
        let envelope = Envelope::new(Some(from.clone()), vec![recipient.clone()])
            .map_err(|error| refused(error.to_string(), "look at [notices]"))?;
        match transport.send_raw(&envelope, message.octets).await {
            Ok(_) => taken = true,
            Err(error) => {
                let words: String = said(&error).chars().filter(|c| !c.is_control()).take(300).collect();
                tracing::warn!("no notice goes to {recipient}: {}:{}: {words}", smtp.host, smtp.port);
                if error.is_transient() {
                    later.push(recipient.to_string());
                }
                let words = format!("{}:{}: {words}", smtp.host, smtp.port);
                failed = Some(refused(words, "look at smtp in [notices]"));
            }
        }
    }
    failed.filter(|_| !taken).map_or(Ok(later), Err)
}

/// The error with its causes, which is where lettre keeps a server's words.
fn said(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = inner.source();
    }
    words
}

async fn tls(smtp: &Smtp) -> Result<TlsParameters, Failure> {
    let wrong = |what: String| refused(what, "look at ca_file of smtp in [notices]");
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(path) = &smtp.ca_file {
        let shown = path.display();
        let size = tokio::fs::metadata(path).await.map(|file| file.len());
        if size.map_err(|e| wrong(format!("{shown} cannot be read: {e}")))? > CA_FILE {
            return Err(wrong(format!("{shown} is too large for certificates")));
        }
        let read = tokio::fs::read(path).await;
        let pem = read.map_err(|e| wrong(format!("{shown} cannot be read: {e}")))?;
        let certificate = Certificate::from_pem(&pem).map_err(|e| wrong(format!("{shown}: {e}")))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| wrong(error.to_string()))
}

fn refused(words: String, mend: &str) -> Failure {
    Failure::new(Kind::Destination, words, mend)
}
