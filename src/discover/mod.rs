//! From an address to its servers: the provider that is known for its domain, its SRV records, what its provider
//! has published for mail programs, and then the usual names. Each server that is found was connected to, its
//! certificate verified and its greeting read. It refuses plain text, to send the address anywhere, and to log in.

mod autoconfig;
mod dns;
mod knock;

use std::net::SocketAddr;

use futures_util::future::join_all;

use crate::account::{Protocol, Security};
use crate::config::Provider;
use crate::failure::Failure;
use crate::net::Connector;

/// Places that one source of them may name, by protocol.
const PLACES: usize = 8;

/// A server that may be the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it speaks.
    pub protocol: Protocol,
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected; never [`Security::None`].
    pub security: Security,
}

/// A server that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Where it is.
    pub place: Place,
    /// Who named it, in words.
    pub origin: String,
    /// The server template, if one is known for the domain.
    pub template: Option<String>,
    /// Why it is not the one.
    pub failure: Option<Failure>,
}

/// Where servers are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'s> {
    /// The way out.
    pub connector: &'s Connector,
    /// Name servers for SRV records; none: this machine's.
    pub name_servers: &'s [SocketAddr],
    /// What the provider is known by, if it is.
    pub provider: Option<&'s Provider>,
    /// The part of the address after the `@`, in ASCII.
    pub domain: &'s str,
}

impl Search<'_> {
    /// Looks for servers of the wanted protocols; `told` gets each that was looked at. A source of names is asked
    /// only for protocols that those before it did not answer.
    pub async fn run(&self, wanted: &[Protocol], mut told: impl AsyncFnMut(Looked)) {
        let mut wanted = wanted.to_vec();
        for source in [Source::Template, Source::Srv, Source::Autoconfig, Source::Usual] {
            if wanted.is_empty() {
                return;
            }
            let (origin, mut places) = self.named(source).await;
            places.retain(|place| wanted.contains(&place.protocol));
            let knocks = places.iter().map(|place| knock::knock(self.connector, place));
            let results = join_all(knocks).await;
            let template = self.provider.filter(|_| source == Source::Template).map(|p| p.template.clone());
            for (place, result) in places.into_iter().zip(results) {
                let failure = result.err();
                let first = failure.is_none() && wanted.contains(&place.protocol);
                if first {
                    wanted.retain(|protocol| *protocol != place.protocol);
                } else if failure.is_none() {
                    // Another one of the same source comes first.
                    continue;
                }
                told(Looked { place, origin: origin.clone(), template: template.clone(), failure }).await;
            }
        }
    }

    /// The servers that a source names, the preferred ones first.
    async fn named(&self, source: Source) -> (String, Vec<Place>) {
        let domain = self.domain;
        match source {
            Source::Template => {
                let title = self.provider.map(|provider| provider.title.clone()).unwrap_or_default();
                (format!("the profile of {title}"), self.provider.map(of_provider).unwrap_or_default())
            }
            Source::Srv => (
                format!("the SRV records of {domain}"),
                dns::services(self.name_servers, domain).await.unwrap_or_else(|failure| {
                    tracing::debug!("no SRV records of {domain}: {failure}");
                    Vec::new()
                }),
            ),
            Source::Autoconfig => {
                let (url, places) = autoconfig::ask(self.connector, domain).await.unwrap_or_default();
                (url, places)
            }
            Source::Usual => ("a usual name".to_owned(), usual(domain)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Template,
    /// RFC 6186, RFC 8314 section 5.1.
    Srv,
    Autoconfig,
    Usual,
}

fn of_provider(provider: &Provider) -> Vec<Place> {
    let place = |protocol, at: &Option<(String, u16, Security)>| {
        let (host, port, security) = at.clone()?;
        Some(Place { protocol, host, port, security })
    };
    [place(Protocol::Imap, &provider.imap), place(Protocol::Pop3, &provider.pop3)]
        .into_iter()
        .flatten()
        .filter(|place| place.security != Security::None)
        .collect()
}

/// Names that servers often have, TLS from the first octet before STARTTLS (RFC 8314).
fn usual(domain: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for (protocol, names, implicit, upgraded) in [
        (Protocol::Imap, ["imap.", "mail.", ""], 993, 143),
        (Protocol::Pop3, ["pop.", "pop3.", "mail."], 995, 110),
    ] {
        for (port, security) in [(implicit, Security::Tls), (upgraded, Security::StartTls)] {
            for name in names {
                places.push(Place { protocol, host: format!("{name}{domain}"), port, security });
            }
        }
    }
    places
}

/// A name of letters, digits and dots, as hosts have it.
fn is_host(name: &str) -> bool {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b".-_".contains(&octet);
    (1..=253).contains(&name.len()) && name.bytes().all(good)
}
