//! A connection to an LMTP server, ready for envelopes. A message goes in three steps: its envelope is begun,
//! its octets are sent, and it is ended; only the end can make the server take it. It refuses to send a message
//! that the server has said it is too large for, and anything after a failure.

use std::time::Duration;

use super::reply::Reply;
use super::stuff::Stuffer;
use super::verdict::{Step, Verdict, after, before, leaves};
use super::wire::Wire;
use crate::account::Security;
use crate::failure::{Failure, Kind};
use crate::net::{Connector, STALL};
use crate::settings::Listener;

/// The answer to a message may take so long: whoever gives up earlier may have it twice (RFC 5321, 4.5.3.2.6; RFC
/// 1047).
pub const DELIVERY: Duration = Duration::from_secs(600);
/// A goodbye on which nothing depends.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the server can (RFC 5321, 4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    pipelining: bool,
    eight_bit: bool,
    utf8: bool,
    starttls: bool,
    /// SIZE was named, and how large a message may be; 0: it does not say.
    size: Option<u64>,
}

/// Whom a message is for, and what it is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// As [`super::recipient`] writes it.
    pub recipient: String,
    /// Its octets.
    pub octets: u64,
    /// Its header has characters beyond ASCII (RFC 6531, 3.4).
    pub utf8: bool,
}

/// How an envelope was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The message may follow.
    Go,
    /// It may not.
    No(Verdict),
}

/// An open connection.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
    offers: Offers,
    /// This envelope was sent together with the end of the last message.
    ahead: Option<Envelope>,
    /// The last envelope was not used up.
    dirty: bool,
    stuffer: Stuffer,
}

impl Session {
    /// Connects, secures the connection as the address asks for it, and says who we are.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] and its kin, or what the server said.
    pub async fn open(connector: &Connector, at: &Listener) -> Result<Session, Failure> {
        let stream = connector.reach(at).await?;
        let mut wire = Wire::new(stream, at);
        let greeting = wire.reply().await?;
        welcome(&greeting)?;
        let mut offers = hello(&mut wire).await?;
        if let Listener::Host { host, security: Security::StartTls, ca_file, .. } = at {
            if !offers.starttls {
                let words = format!("{at} does not offer STARTTLS");
                return Err(Failure::new(Kind::Unsupported, words, "write security = \"tls\" or \"none\""));
            }
            wire.send(b"STARTTLS\r\n").await?;
            welcome(&wire.reply().await?)?;
            let stream = connector.secure(wire.into_stream()?, host, ca_file.as_deref()).await?;
            wire = Wire::new(stream, at);
            offers = hello(&mut wire).await?;
        }
        Ok(Session { wire, offers, ahead: None, dirty: false, stuffer: Stuffer::default() })
    }

    /// Whether the server has a mailbox for the recipient; nothing is delivered.
    ///
    /// # Errors
    /// It has none, or cannot say so now.
    pub async fn ask(&mut self, recipient: &str) -> Result<(), Failure> {
        let envelope = Envelope { recipient: recipient.to_owned(), octets: 0, utf8: false };
        self.can_address(&envelope)?;
        for (step, line) in [(Step::Mail, self.mail(&envelope)), (Step::Rcpt, rcpt(&envelope))] {
            self.wire.send(line.as_bytes()).await?;
            let reply = self.wire.reply().await?;
            let refused = before(step, &reply, recipient)?;
            if let Some(Verdict::Later(words) | Verdict::Refused(words) | Verdict::TooMuch(words)) = refused {
                let words = format!("the LMTP server takes nothing for {recipient} now: {words}");
                return Err(Failure::new(Kind::Destination, words, "it is tried again"));
            }
        }
        self.wire.send(b"RSET\r\n").await?;
        welcome(&self.wire.reply().await?)
    }

    /// Begins a message.
    ///
    /// # Errors
    /// What concerns more than this message, the connection for example.
    pub async fn begin(&mut self, envelope: &Envelope) -> Result<Begun, Failure> {
        if let Some(words) = self.too_large(envelope) {
            return Ok(Begun::No(Verdict::TooMuch(words)));
        }
        self.can_address(envelope)?;
        self.stuffer = Stuffer::default();
        let sent = self.ahead.take();
        if sent.as_ref().is_some_and(|ahead| ahead != envelope) {
            let words = "the envelope of another message was sent";
            return Err(self.wire.give_up(Failure::new(Kind::Protocol, words, "it is tried again")));
        }
        if sent.is_none() && std::mem::take(&mut self.dirty) {
            self.wire.send(b"RSET\r\n").await?;
            welcome(&self.wire.reply().await?)?;
        }
        if sent.is_none() && self.offers.pipelining {
            self.wire.send(self.lines(envelope).as_bytes()).await?;
        }
        let steps = [(Step::Mail, self.mail(envelope)), (Step::Rcpt, rcpt(envelope)), (Step::Data, data())];
        let mut verdict = None;
        for (step, line) in steps {
            if !self.offers.pipelining {
                self.wire.send(line.as_bytes()).await?;
            }
            let reply = self.wire.reply().await?;
            if verdict.is_some() && step == Step::Data && reply.code == 354 {
                // It waits for a message to nobody (RFC 2033, 4.2, forbids that): what it answers is not known.
                let words = "the server asked for a message to nobody";
                self.wire.give_up(Failure::new(Kind::Disconnected, words, ""));
                break;
            }
            if verdict.is_none() {
                verdict = match before(step, &reply, &envelope.recipient) {
                    Ok(verdict) => verdict,
                    Err(failure) => return Err(self.wire.give_up(failure)),
                };
            }
            if verdict.is_some() && !self.offers.pipelining {
                break;
            }
        }
        match verdict {
            None => Ok(Begun::Go),
            Some(verdict) => {
                self.dirty = true;
                Ok(Begun::No(verdict))
            }
        }
    }

    /// The next octets of the message, at most 32 KiB.
    ///
    /// # Errors
    /// The connection's.
    pub async fn body(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let mut out = Vec::with_capacity(octets.len() + octets.len() / 16);
        self.stuffer.push(octets, &mut out);
        self.wire.send(&out).await
    }

    /// Ends the message and waits for what becomes of it. The envelope of the `next` one goes along, if the
    /// server allows that: then the next one that is begun must be that one. Silence is borne for so long as `patience` says.
    ///
    /// # Errors
    /// The connection's: the server may have taken the message, or not.
    pub async fn end(&mut self, next: Option<&Envelope>, patience: Duration) -> Result<Verdict, Failure> {
        let mut out = Vec::new();
        std::mem::take(&mut self.stuffer).finish(&mut out);
        let next = next.filter(|next| self.offers.pipelining && self.may_go_along(next));
        if let Some(next) = next {
            out.extend_from_slice(self.lines(next).as_bytes());
        }
        self.ahead = next.cloned();
        self.wire.send(&out).await?;
        self.wire.set_stall(patience);
        let reply = self.wire.reply_within(patience).await?;
        self.wire.set_stall(STALL);
        let verdict = after(&reply).map_err(|failure| self.wire.give_up(failure))?;
        if leaves(&reply) {
            self.wire.give_up(Failure::new(Kind::Disconnected, "the server said goodbye", ""));
        }
        Ok(verdict)
    }

    /// Whether nothing more can be sent over this connection.
    pub fn is_over(&self) -> bool {
        self.wire.is_broken()
    }

    /// Says goodbye; nothing depends on the answer.
    pub async fn close(mut self) {
        let farewell = async {
            if self.ahead.is_none() && self.wire.send(b"QUIT\r\n").await.is_ok() {
                let _ = self.wire.reply().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.wire.close().await;
    }

    fn may_go_along(&self, envelope: &Envelope) -> bool {
        self.too_large(envelope).is_none() && self.can_address(envelope).is_ok()
    }

    fn too_large(&self, envelope: &Envelope) -> Option<String> {
        let most = self.offers.size.filter(|most| *most > 0 && envelope.octets > *most)?;
        Some(format!("it has {} octets, and the LMTP server takes {most} at most", envelope.octets))
    }

    fn can_address(&self, envelope: &Envelope) -> Result<(), Failure> {
        if envelope.recipient.is_ascii() || self.offers.utf8 {
            return Ok(());
        }
        let words =
            format!("the LMTP server takes no addresses beyond ASCII (SMTPUTF8): {}", envelope.recipient);
        Err(Failure::new(Kind::Recipient, words, "use another destination for this member"))
    }

    /// From nobody: nothing bounces, and no vacation script answers (RFC 5321, 4.5.5; RFC 5230, 4.6).
    fn mail(&self, envelope: &Envelope) -> String {
        let mut line = "MAIL FROM:<>".to_owned();
        if self.offers.size.is_some() && envelope.octets > 0 {
            line.push_str(&format!(" SIZE={}", envelope.octets));
        }
        if self.offers.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        if self.offers.utf8 && (envelope.utf8 || !envelope.recipient.is_ascii()) {
            line.push_str(" SMTPUTF8");
        }
        line + "\r\n"
    }

    fn lines(&self, envelope: &Envelope) -> String {
        self.mail(envelope) + &rcpt(envelope) + &data()
    }
}

fn rcpt(envelope: &Envelope) -> String {
    format!("RCPT TO:<{}>\r\n", envelope.recipient)
}

fn data() -> String {
    "DATA\r\n".to_owned()
}

fn welcome(reply: &Reply) -> Result<(), Failure> {
    match reply.code / 100 {
        2 => Ok(()),
        4 => Err(Failure::new(Kind::Unavailable, format!("the LMTP server says: {}", reply.words()), "")),
        _ => Err(Failure::new(
            Kind::Unsupported,
            format!("the LMTP server refuses us: {}", reply.words()),
            "look at its settings",
        )),
    }
}

async fn hello(wire: &mut Wire) -> Result<Offers, Failure> {
    let name = nix::sys::utsname::uname().ok().and_then(|names| names.nodename().to_str().map(str::to_owned));
    let good = |name: &String| {
        (1..=253).contains(&name.len())
            && name.bytes().all(|c| c.is_ascii_alphanumeric() || b".-".contains(&c))
    };
    let name = name.filter(good).unwrap_or_else(|| "localhost".to_owned());
    wire.send(format!("LHLO {name}\r\n").as_bytes()).await?;
    let reply = wire.reply().await?;
    if matches!(reply.code, 500..=504) {
        let words = format!("the server does not speak LMTP: {}", reply.words());
        return Err(Failure::new(
            Kind::Unsupported,
            words,
            "name the socket or port of an LMTP server, not SMTP's",
        ));
    }
    welcome(&reply)?;
    Ok(offers(&reply.lines))
}

/// The first line is the server's name.
pub(super) fn offers(lines: &[String]) -> Offers {
    let mut offers = Offers::default();
    for line in lines.iter().skip(1) {
        let mut words = line.split_ascii_whitespace();
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "PIPELINING" => offers.pipelining = true,
            "8BITMIME" => offers.eight_bit = true,
            "SMTPUTF8" => offers.utf8 = true,
            "STARTTLS" => offers.starttls = true,
            "SIZE" => offers.size = Some(words.next().and_then(|most| most.parse().ok()).unwrap_or(0)),
            _ => {}
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_offers() {
        let lines =
            ["mail", "pipelining", "SIZE 52428800", "8BITMIME", "X-WHAT EVER", "SIZE x"].map(str::to_owned);
        let size_only = offers(&lines[..3]);
        assert_eq!(size_only, Offers { pipelining: true, size: Some(52_428_800), ..Offers::default() });
        assert_eq!(offers(&lines).size, Some(0));
        assert_eq!(offers(&["PIPELINING".to_owned()]), Offers::default());
    }
}
