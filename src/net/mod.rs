//! The way out: a name is resolved, its address judged, connected to, and wrapped in TLS; what comes back
//! is a [`Stream`] that gives up by itself when the other side falls silent. It refuses addresses of our
//! own network unless they are allowed, certificates that do not verify (there is no switch for it), and
//! to know a protocol.

mod address;
mod dial;
mod pin;
mod quirks;
mod silence;
mod stream;
mod tls;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use quirks::{Quirk, Quirks};
pub use stream::{STALL, Stream};

use crate::account::{Fingerprint, Security, Source};
use crate::failure::{Failure, Kind};
use crate::settings::Listener;

/// Opens connections. Cheap to clone; holds the system's certificate authorities, loaded once, and those
/// of each `ca_file` that was used. A changed file is read by the next `Connector`.
#[derive(Debug, Clone)]
pub struct Connector {
    allow_private_hosts: bool,
    tls: Arc<tls::Configs>,
    quirks: Arc<Quirks>,
    silence: Duration,
    /// For the server of one account: what its entry has in place of authorities.
    own: Own,
}

/// Whose certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    /// Of a server that has no entry.
    No,
    /// Of one that has an entry, and perhaps a pin in it.
    Entry(Option<Fingerprint>),
}

impl Connector {
    /// Loads the system's certificate authorities (honouring `SSL_CERT_FILE` and `SSL_CERT_DIR`). A machine
    /// without any is not an error before a certificate has to be verified by them.
    pub fn new(allow_private_hosts: bool) -> Result<Connector, Failure> {
        let tls = Arc::new(tls::Configs::from_system()?);
        Ok(Connector { allow_private_hosts, tls, quirks: Arc::default(), silence: STALL, own: Own::No })
    }

    /// The same for servers that the administrator has named, which may be anywhere.
    #[must_use]
    pub fn anywhere(&self) -> Connector {
        Connector { allow_private_hosts: true, ..self.clone() }
    }

    /// The same for the server of one account: as its entry says, silence is borne before the greeting, and one
    /// certificate counts.
    #[must_use]
    pub fn toward(&self, source: &Source) -> Connector {
        let own = Own::Entry(source.fingerprint);
        Connector { silence: source.patience.greeting, own, ..self.clone() }
    }

    /// The same with what was learned of servers before: a reload forgets none of it.
    #[must_use]
    pub fn with_quirks(mut self, quirks: &Arc<Quirks>) -> Connector {
        self.quirks = Arc::clone(quirks);
        self
    }

    /// What servers were found to fail at.
    pub fn quirks(&self) -> &Arc<Quirks> {
        &self.quirks
    }

    /// A plain TCP connection without Nagle's delay. Resolving may take 20 s; every address is tried in
    /// turn, 20 s each at most and 30 s in all. The address that is connected to is the one that was
    /// judged: nothing is resolved twice.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Stream, Failure> {
        let mut stream = dial::dial(host, port, self.allow_private_hosts).await.map(Stream::plain)?;
        stream.set_stall(self.silence);
        stream.is_of(self.quirks.slowest(host, port));
        Ok(stream)
    }

    /// A connection to a socket of this machine, 20 s at most.
    pub async fn connect_socket(&self, path: &Path) -> Result<Stream, Failure> {
        dial::dial_socket(path).await.map(Stream::local)
    }

    /// TLS 1.2 or later over `stream`, 30 s at most. The certificate must be valid now, for `host`, and
    /// signed by the system's authorities or one in `ca_file` (PEM, 1 MiB at most), or be itself in that; or it is the
    /// one that the server's entry has pinned.
    pub async fn secure(
        &self,
        stream: Stream,
        host: &str,
        ca_file: Option<&Path>,
    ) -> Result<Stream, Failure> {
        self.tls.handshake(stream, host, ca_file, self.own).await
    }

    /// A connection to a server of the house, over TLS if it begins with that.
    pub async fn reach(&self, at: &Listener) -> Result<Stream, Failure> {
        match at {
            Listener::Socket(path) => self.connect_socket(path).await,
            Listener::Host { host, port, security, ca_file } => {
                let stream = self.connect(host, *port).await?;
                match security {
                    Security::Tls => self.secure(stream, host, ca_file.as_deref()).await,
                    Security::StartTls | Security::None => Ok(stream),
                }
            }
        }
    }
}

/// What an error on an open connection means.
pub fn io_failure(host: &str, port: u16, error: &io::Error) -> Failure {
    if let Some(error) = tls::inside(error) {
        return tls::failure(host, error, false, Own::No);
    }
    if dial::our_own(error) {
        return dial::our_network(host, port, error);
    }
    broken_off(&format!("{host}:{port}"), error)
}

/// The same for a server of the house.
pub fn failure_at(at: &Listener, error: &io::Error) -> Failure {
    match at {
        Listener::Socket(path) => broken_off(&path.display().to_string(), error),
        Listener::Host { host, port, .. } => io_failure(host, *port, error),
    }
}

/// A server that says nothing where it should have greeted; `tls`: over TLS.
pub fn no_word(host: &str, port: u16, tls: bool) -> Failure {
    let words = format!("{host}:{port} says nothing, not even a greeting");
    let mend = match tls {
        true => "check host, port and protocol",
        false => "check host, port and protocol; at a port that begins with TLS, set security = \"tls\"",
    };
    Failure::new(Kind::Stalled, words, mend)
}

fn broken_off(place: &str, error: &io::Error) -> Failure {
    use io::ErrorKind as E;
    match error.kind() {
        E::TimedOut => {
            Failure::new(Kind::Stalled, format!("{place} fell silent in the middle of the work"), "")
        }
        E::UnexpectedEof | E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::NotConnected => {
            Failure::new(Kind::Disconnected, format!("{place} closed the connection"), "")
        }
        _ => Failure::new(Kind::Disconnected, format!("the connection to {place} broke: {error}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_on_an_open_connection() {
        let cases = [
            (io::ErrorKind::TimedOut, Kind::Stalled),
            (io::ErrorKind::UnexpectedEof, Kind::Disconnected),
            (io::ErrorKind::ConnectionReset, Kind::Disconnected),
            (io::ErrorKind::BrokenPipe, Kind::Disconnected),
            (io::ErrorKind::NetworkUnreachable, Kind::OurNetwork),
            (io::ErrorKind::Other, Kind::Disconnected),
        ];
        for (error, kind) in cases {
            assert_eq!(io_failure("pop.example", 995, &error.into()).kind, kind, "{error:?}");
        }
    }
}
