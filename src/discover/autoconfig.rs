//! What providers publish for mail programs: Thunderbird's `config-v1.1.xml`, over https alone. The address itself
//! is not sent. It refuses redirects, plain text, and a document above 64 KiB.

use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::Event;
use tokio::time::timeout;

use super::{PLACES, Place, is_host};
use crate::account::{Protocol, Security};
use crate::failure::{Failure, Kind};
use crate::http::{self, Request};
use crate::net::{Connector, io_failure};

/// Of https.
const PORT: u16 = 443;
/// For one document.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const LONGEST: usize = 64 << 10;
/// Nesting of elements.
const DEPTH: usize = 16;

/// The first document that names servers: where it is, and those. Why one is not taken is logged: a domain without
/// any is usual, and one that is there and of no use is for somebody to mend.
pub(super) async fn ask(connector: &Connector, domain: &str) -> Option<(String, Vec<Place>)> {
    for (host, path) in [
        (format!("autoconfig.{domain}"), "/mail/config-v1.1.xml"),
        (domain.to_owned(), "/.well-known/autoconfig/mail/config-v1.1.xml"),
    ] {
        let url = format!("https://{host}{path}");
        let failure = match timeout(PATIENCE, get(connector, &host, path)).await {
            Ok(Ok(body)) => match read(&body, domain).filter(|places| !places.is_empty()) {
                Some(places) => return Some((url, places)),
                None => unusable("it names no server with encryption"),
            },
            Ok(Err(failure)) => failure,
            Err(_) => unusable("it did not come in time"),
        };
        match failure.kind {
            Kind::Unreachable | Kind::OurNetwork => tracing::debug!("{url}: {}", failure.words),
            _ => tracing::info!("{url} is of no use: {}", failure.words),
        }
    }
    None
}

fn unusable(words: impl Into<String>) -> Failure {
    Failure::new(Kind::Protocol, words, "")
}

async fn get(connector: &Connector, host: &str, path: &str) -> Result<String, Failure> {
    let stream = connector.connect(host, PORT).await?;
    let stream = connector.secure(stream, host, None).await?;
    let request = Request::get(host, path).and_then(|request| request.with("accept", b"text/xml"));
    let request = request.ok_or_else(|| unusable("the name of the host cannot be asked"))?;
    let answer = http::exchange(stream, request, LONGEST).await;
    let answer = answer.map_err(|error| io_failure(host, PORT, &error))?;
    let answer = answer.ok_or_else(|| unusable("the answer is none, or too long"))?;
    match answer.status {
        200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        status => Err(unusable(format!("the answer is {status}"))),
    }
}

/// The incoming servers with encryption; `None`: it is no such document.
fn read(text: &str, domain: &str) -> Option<Vec<Place>> {
    let mut reader = Reader::from_str(text);
    let (mut inside, mut places): (Vec<String>, Vec<Place>) = (Vec::new(), Vec::new());
    let mut server: Option<(Protocol, Half)> = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => {
                let name = element.local_name().as_ref().to_owned();
                if name == "incomingServer" {
                    let kind = element.try_get_attribute("type").ok().flatten();
                    server = match kind.as_ref().map(|kind| kind.value.as_ref()) {
                        Some("imap") => Some((Protocol::Imap, Half::default())),
                        Some("pop3") => Some((Protocol::Pop3, Half::default())),
                        _ => None,
                    };
                }
                inside.push(name);
                if inside.len() > DEPTH {
                    return None;
                }
            }
            Event::Text(text) => {
                let text = text.trim().to_owned();
                if let (Some((_, half)), Some(name)) = (&mut server, inside.last()) {
                    match name.as_str() {
                        "hostname" => half.host = Some(text.replace("%EMAILDOMAIN%", domain)),
                        "port" => half.port = text.parse().ok(),
                        "socketType" => half.security = security(&text),
                        _ => {}
                    }
                }
            }
            Event::End(_) => {
                if inside.pop().as_deref() == Some("incomingServer")
                    && let Some((protocol, half)) = server.take()
                    && let Half { host: Some(host), port: Some(port), security: Some(security) } = half
                    && is_host(&host)
                    && places.iter().filter(|place| place.protocol == protocol).count() < PLACES
                {
                    places.push(Place { protocol, host, port, security });
                }
            }
            Event::Eof => return Some(places),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Half {
    host: Option<String>,
    port: Option<u16>,
    security: Option<Security>,
}

/// Plain text is none.
fn security(word: &str) -> Option<Security> {
    match word {
        "SSL" => Some(Security::Tls),
        "STARTTLS" => Some(Security::StartTls),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"<?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>
<clientConfig version="1.1"><emailProvider id="old.example">
  <domain>old.example</domain>
  <incomingServer type="imap">
    <hostname>imap.%EMAILDOMAIN%</hostname><port>993</port><socketType>SSL</socketType>
    <username>%EMAILADDRESS%</username><authentication>password-cleartext</authentication>
  </incomingServer>
  <incomingServer type="imap"><hostname>plain.old.example</hostname><port>143</port>
    <socketType>plain</socketType></incomingServer>
  <incomingServer type="pop3"><hostname>pop.old.example</hostname><port>110</port>
    <socketType>STARTTLS</socketType></incomingServer>
  <incomingServer type="pop3"><hostname>&e;</hostname><port>995</port><socketType>SSL</socketType></incomingServer>
  <incomingServer type="pop3"><hostname>a b</hostname><port>995</port><socketType>SSL</socketType></incomingServer>
  <incomingServer type="exchange"><hostname>x.example</hostname></incomingServer>
  <outgoingServer type="smtp"><hostname>smtp.old.example</hostname><port>465</port></outgoingServer>
</emailProvider></clientConfig>"#;

    #[test]
    fn incoming_servers_with_encryption_are_read() {
        let place =
            |protocol, host: &str, port, security| Place { protocol, host: host.to_owned(), port, security };
        assert_eq!(
            read(DOCUMENT, "old.example").unwrap(),
            [
                place(Protocol::Imap, "imap.old.example", 993, Security::Tls),
                place(Protocol::Pop3, "pop.old.example", 110, Security::StartTls),
            ]
        );
    }

    #[test]
    fn what_is_no_document_names_nothing() {
        for text in ["", "<html><body>Not found</body></html>", "{}", "<a", "<a></b>", &"<a>".repeat(100)] {
            assert!(read(text, "old.example").is_none_or(|places| places.is_empty()), "{text}");
        }
        for end in 0..DOCUMENT.len() {
            if let Some(part) = DOCUMENT.get(..end) {
                let _ = read(part, "old.example");
            }
        }
    }
}
