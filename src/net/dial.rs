//! From a name and a port to a TCP connection. It refuses private addresses unless they are allowed, and
//! to blame the other side for what is our own network's fault.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::address;
use crate::failure::{Failure, Kind};

/// For the name service.
const RESOLVE: Duration = Duration::from_secs(20);
/// For one address.
const CONNECT: Duration = Duration::from_secs(20);
/// For all addresses together.
const CONNECT_ALL: Duration = Duration::from_secs(30);
/// A name with more addresses than this is not asked for the rest.
const ADDRESSES: usize = 32;

pub(super) async fn dial(host: &str, port: u16, allow_private: bool) -> Result<TcpStream, Failure> {
    let addresses = resolve(host, port).await?;
    let deadline = Instant::now() + CONNECT_ALL;
    let mut worst: Option<Failure> = None;
    let mut refused: Option<Failure> = None;
    for (index, address) in addresses.iter().enumerate() {
        if !allow_private && let Some(what) = address::private(address.ip()) {
            refused.get_or_insert_with(|| private_host(host, *address, what));
            continue;
        }
        // A fair share of what is left, so that a dead first address leaves time for the others.
        let share = deadline.saturating_duration_since(Instant::now())
            / u32::try_from(addresses.len() - index).unwrap_or(1);
        let attempt = timeout_at(Instant::now() + share.min(CONNECT), TcpStream::connect(address)).await;
        let failure = match attempt {
            Ok(Ok(stream)) => {
                // Commands are small and waited for; without this they would wait too.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => connect_failure(host, port, &error),
            Err(_) => unreachable_host(format!("{host}:{port} does not answer"), "check host and port"),
        };
        // One address that answered, even with a refusal, shows that our network is not to blame.
        match &worst {
            Some(before) if before.kind != Kind::OurNetwork => {}
            _ => worst = Some(failure),
        }
    }
    Err(worst.or(refused).unwrap_or_else(|| no_such_name(host)))
}

pub(super) async fn dial_socket(path: &Path) -> Result<UnixStream, Failure> {
    let failure = |words: String, mend: &str| Err(unreachable_host(words, mend));
    let path_shown = path.display();
    match timeout(CONNECT, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::NotFound => failure(
                format!("there is no socket {path_shown}"),
                "check its path, and whether its server runs",
            ),
            io::ErrorKind::ConnectionRefused => {
                failure(format!("nobody listens at {path_shown}"), "start its server")
            }
            io::ErrorKind::PermissionDenied => failure(
                format!("{path_shown} may not be opened by the user {}", nix::unistd::geteuid()),
                "let this user read and write it (mode, group)",
            ),
            _ => failure(format!("{path_shown} cannot be opened: {error}"), "check its server"),
        },
        Err(_) => failure(format!("{path_shown} does not answer"), "check its server"),
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let name = bare(host);
    match timeout(RESOLVE, lookup_host((name, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESSES).collect()),
        Ok(Err(error)) => Err(resolve_failure(host, &error)),
        Err(_) => Err(Failure::new(
            Kind::OurNetwork,
            format!("the name service did not answer for {host} within {} s", RESOLVE.as_secs()),
            "check this machine's name servers",
        )),
    }
}

/// Without the brackets that an IPv6 address may be written in.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn resolve_failure(host: &str, error: &io::Error) -> Failure {
    // std keeps getaddrinfo's answer as text only; glibc's and musl's words for EAI_NONAME and EAI_NODATA,
    // never translated because we do not call setlocale.
    let text = error.to_string();
    let unknown = ["Name or service not known", "No address associated with", "Name does not resolve"];
    if unknown.iter().any(|words| text.contains(words)) || error.kind() == io::ErrorKind::InvalidInput {
        return no_such_name(host);
    }
    Failure::new(
        Kind::OurNetwork,
        format!("{host} cannot be resolved now: {text}"),
        "check this machine's name servers",
    )
}

fn connect_failure(host: &str, port: u16, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            unreachable_host(format!("nobody listens at {host}:{port}"), "check host and port")
        }
        io::ErrorKind::TimedOut => {
            unreachable_host(format!("{host}:{port} does not answer"), "check host and port")
        }
        _ if our_own(error) => our_network(host, port, error),
        _ => unreachable_host(format!("{host}:{port} cannot be reached: {error}"), "check host and port"),
    }
}

/// Whether an error speaks of our own network or machine rather than of the other side.
pub(super) fn our_own(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    use nix::libc::{EMFILE, ENFILE, ENOBUFS};
    // No descriptors, no buffers: these have no kind of their own.
    let ours = |code| matches!(code, EMFILE | ENFILE | ENOBUFS);
    error.raw_os_error().is_some_and(ours)
        || matches!(
            error.kind(),
            E::NetworkUnreachable
                | E::HostUnreachable
                | E::NetworkDown
                | E::AddrNotAvailable
                | E::AddrInUse
                | E::PermissionDenied
                | E::OutOfMemory
        )
}

pub(super) fn our_network(host: &str, port: u16, error: &io::Error) -> Failure {
    Failure::new(
        Kind::OurNetwork,
        format!("there is no way from here to {host}:{port}: {error}"),
        match error.raw_os_error() {
            Some(nix::libc::EMFILE | nix::libc::ENFILE) => "raise LimitNOFILE= of the unit",
            _ => "check this machine's network",
        },
    )
}

fn unreachable_host(words: String, mend: &str) -> Failure {
    Failure::new(Kind::Unreachable, words, mend)
}

fn no_such_name(host: &str) -> Failure {
    unreachable_host(format!("there is no host named {host}"), "check host")
}

fn private_host(host: &str, address: SocketAddr, what: &str) -> Failure {
    Failure::new(
        Kind::PrivateHost,
        format!("{host} resolves to {}, a {what} address", address.ip()),
        "set allow_private_hosts = true in [daemon] if that is meant",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn gai(text: &str) -> io::Error {
        io::Error::other(format!("failed to lookup address information: {text}"))
    }

    #[test]
    fn a_wrong_name_is_told_from_a_name_service_that_is_away() {
        let kind = |text| resolve_failure("pop.example", &gai(text)).kind;
        assert_eq!(kind("Name or service not known"), Kind::Unreachable);
        assert_eq!(kind("No address associated with hostname"), Kind::Unreachable);
        assert_eq!(kind("Temporary failure in name resolution"), Kind::OurNetwork);
        assert_eq!(kind("System error"), Kind::OurNetwork);
    }

    #[test]
    fn connecting_fails_for_our_reasons_or_for_theirs() {
        let kind = |error: io::ErrorKind| connect_failure("pop.example", 110, &error.into()).kind;
        assert_eq!(kind(io::ErrorKind::ConnectionRefused), Kind::Unreachable);
        assert_eq!(kind(io::ErrorKind::TimedOut), Kind::Unreachable);
        assert_eq!(kind(io::ErrorKind::NetworkUnreachable), Kind::OurNetwork);
        assert_eq!(kind(io::ErrorKind::HostUnreachable), Kind::OurNetwork);
        assert_eq!(kind(io::ErrorKind::NetworkDown), Kind::OurNetwork);
        let out_of = connect_failure("pop.example", 110, &io::Error::from_raw_os_error(nix::libc::EMFILE));
        assert_eq!(out_of.kind, Kind::OurNetwork);
        assert!(out_of.mend.contains("LimitNOFILE"), "{out_of}");
    }

    #[tokio::test]
    async fn private_addresses_are_refused_until_they_are_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::ffff:127.0.0.1", "[::ffff:10.0.0.1]", "localhost", "127.1"] {
            let failure = dial(host, port, false).await.unwrap_err();
            assert_eq!(failure.kind, Kind::PrivateHost, "{failure}");
            assert!(failure.mend.contains("allow_private_hosts"));
        }
        assert!(dial("127.0.0.1", port, true).await.unwrap().nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_closed_port_says_so() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let failure = dial("127.0.0.1", port, true).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Unreachable);
        assert_eq!(failure.words, format!("nobody listens at 127.0.0.1:{port}"));
    }
}
