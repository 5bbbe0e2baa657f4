//! The first word of a server, and what stands in its place. It refuses to take a server of another kind for one that is
//! busy, unless it says that it is.

use super::refusal::{quote, refusal};
use super::response::{Response, Status};
use super::session::{Session, says};
use super::transport::NoGreeting;
use crate::account::Security;
use crate::failure::{Failure, Kind};
use crate::imap::layout::Software;
use crate::message::Parcel;
use crate::net::no_word;

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// `true`: logged in already (PREAUTH).
    pub(super) async fn greeting(&mut self, security: Security) -> Result<bool, Failure> {
        self.transport().expect_greeting();
        let first = self.response().await.map_err(|failure| self.turned_away(failure, security))?;
        let Response::Status { status, said } = first else { return Err(self.no_greeting("")) };
        self.capabilities = said.capabilities.unwrap_or_default();
        if says(said.text.as_bytes(), "courier-imap") {
            self.software = Software::Courier;
        }
        match status {
            Status::Ok => Ok(false),
            Status::PreAuth => Ok(true),
            _ => {
                let step = format!("{}:{} turns us away", self.host, self.port);
                Err(refusal(&step, &said.text, Kind::Unavailable, ""))
            }
        }
    }

    /// A connection that ends before the greeting: servers that count connections do so without a word.
    fn turned_away(&self, failure: Failure, security: Security) -> Failure {
        match failure.kind {
            Kind::Disconnected => Failure::new(
                Kind::Throttled,
                format!("{}:{} closed the connection before it greeted", self.host, self.port),
                "it is tried again; if it stays, there may be too many connections from here",
            ),
            Kind::Stalled => no_word(&self.host, self.port, security == Security::Tls),
            _ => failure,
        }
    }

    /// It greets in other words; some that want fewer connections greet as a mail server of another kind does (RFC 5321).
    pub(super) fn no_greeting(&self, line: &str) -> Failure {
        let place = format!("{}:{}", self.host, self.port);
        let refused = refusal(&format!("{place} turns us away"), line, Kind::Protocol, "");
        match refused.kind {
            Kind::Throttled | Kind::InUse | Kind::Unavailable => return refused,
            _ if line.starts_with("421") => return Failure { kind: Kind::Unavailable, ..refused },
            _ => {}
        }
        let said = if line.trim().is_empty() { String::new() } else { format!(": {}", quote(line)) };
        let words = format!("{place} {}{said}", NoGreeting(String::new()));
        Failure::new(Kind::Protocol, words, "check host, port and protocol")
    }
}
