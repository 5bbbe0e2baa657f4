//! SRV records of mail services (RFC 6186, RFC 8314 section 5.1; RFC 2782 for their order). It refuses a target
//! that is no name for a host.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::time::timeout;

use super::{PLACES, Place, is_host};
use crate::account::{Protocol, Security};
use crate::failure::{Failure, Kind};

/// For all records together.
const PATIENCE: Duration = Duration::from_secs(15);

/// The services of a domain, those with TLS from the first octet before the others.
///
/// # Errors
/// The name service cannot be asked.
pub(super) async fn services(name_servers: &[SocketAddr], domain: &str) -> Result<Vec<Place>, Failure> {
    let resolver = resolver(name_servers)?;
    let kinds = [
        ("_imaps", Protocol::Imap, Security::Tls),
        ("_imap", Protocol::Imap, Security::StartTls),
        ("_pop3s", Protocol::Pop3, Security::Tls),
        ("_pop3", Protocol::Pop3, Security::StartTls),
    ];
    let lookups = kinds.map(|(service, protocol, security)| {
        let resolver = resolver.clone();
        // With its final dot the name is asked for as it is, without search domains.
        let name = format!("{service}._tcp.{domain}.");
        async move {
            let found = resolver.srv_lookup(name).await.ok()?;
            let mut records: Vec<_> = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some((srv.priority, srv.weight, srv.port, srv.target.to_ascii())),
                    _ => None,
                })
                .collect();
            records.sort_by_key(|(priority, weight, ..)| (*priority, std::cmp::Reverse(*weight)));
            records.truncate(PLACES);
            let places = records.into_iter().filter_map(|(_, _, port, target)| {
                let host = target.trim_end_matches('.').to_owned();
                is_host(&host).then_some(Place { protocol, host, port, security })
            });
            Some(places.collect::<Vec<_>>())
        }
    });
    let all = timeout(PATIENCE, futures_util::future::join_all(lookups)).await.map_err(|_| away())?;
    Ok(all.into_iter().flatten().flatten().collect())
}

fn resolver(name_servers: &[SocketAddr]) -> Result<TokioResolver, Failure> {
    let wrong = |error: hickory_resolver::net::NetError| {
        Failure::new(Kind::OurNetwork, format!("no name service: {error}"), "look at /etc/resolv.conf")
    };
    let builder = if name_servers.is_empty() {
        TokioResolver::builder_tokio().map_err(wrong)?
    } else {
        let servers = name_servers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            let at = |mut connection: ConnectionConfig| {
                connection.port = address.port();
                connection
            };
            server.connections = server.connections.into_iter().map(at).collect();
            server
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    builder.build().map_err(wrong)
}

fn away() -> Failure {
    Failure::new(Kind::OurNetwork, "the name service does not answer", "check this machine's name servers")
}
