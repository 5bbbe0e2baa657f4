//! What an answer means for the message, for the member, and for the server as a whole (RFC 5321, 4.2; RFC
//! 3463). A mailbox that is full is never the message's fault. It refuses to give up what may pass.

use super::meaning::{Meaning, meaning};
use super::reply::Reply;
use crate::failure::{Failure, Kind};

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server answers for it from now on.
    Taken,
    /// Not now: the server's words.
    Later(String),
    /// Never: the server's words.
    Refused(String),
    /// Never, for it is above a limit of the server: in words.
    TooMuch(String),
}

/// A step before the message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Mail,
    Rcpt,
    Data,
}

/// The server says goodbye in the middle.
pub(super) fn leaves(reply: &Reply) -> bool {
    reply.code == 421
}

/// `Ok(None)`: it goes on.
///
/// # Errors
/// What concerns more than this message.
pub(super) fn before(step: Step, reply: &Reply, recipient: &str) -> Result<Option<Verdict>, Failure> {
    let words = reply.words();
    if leaves(reply) {
        return Err(Failure::new(Kind::Unavailable, format!("the LMTP server says: {words}"), ""));
    }
    let good = match step {
        Step::Data => reply.code == 354,
        _ => reply.code / 100 == 2,
    };
    if good {
        return Ok(None);
    }
    match (step, reply.code / 100) {
        (_, 4) => Ok(Some(Verdict::Later(words))),
        // A bare 552 speaks of the size that was announced (RFC 1870, 6.1).
        (Step::Mail | Step::Data, 5) if meaning(reply) == Some(Meaning::Size) => {
            Ok(Some(Verdict::TooMuch(words)))
        }
        (Step::Mail, 5) if meaning(reply).is_some() => Ok(Some(Verdict::Refused(words))),
        (Step::Data, 5) => Ok(Some(Verdict::Refused(words))),
        (Step::Rcpt, 5) if meaning(reply) == Some(Meaning::Full) => Ok(Some(Verdict::Later(words))),
        (Step::Rcpt, 5) => Err(Failure::new(
            Kind::Recipient,
            format!("the LMTP server has no mailbox for {recipient}: {words}"),
            "make the mailbox there, or mend the member's address",
        )),
        (Step::Mail, 5) => Err(Failure::new(
            Kind::Destination,
            format!("the LMTP server takes no mail from us: {words}"),
            "look at its settings",
        )),
        _ => {
            let words = format!("the server broke the protocol: it said {words} to {step:?}");
            Err(Failure::new(Kind::Protocol, words, ""))
        }
    }
}

/// The answer to the message.
///
/// # Errors
/// It is no answer to a message.
pub(super) fn after(reply: &Reply) -> Result<Verdict, Failure> {
    let words = reply.words();
    match reply.code / 100 {
        2 => Ok(Verdict::Taken),
        4 => Ok(Verdict::Later(words)),
        5 if meaning(reply) == Some(Meaning::Full) => Ok(Verdict::Later(words)),
        5 if meaning(reply) == Some(Meaning::Size) => Ok(Verdict::TooMuch(words)),
        5 => Ok(Verdict::Refused(words)),
        _ => {
            let words = format!("the server broke the protocol: it said {words} to a message");
            Err(Failure::new(Kind::Protocol, words, ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::parse(format!("{text}\r\n").as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn whose_fault_it_is() {
        let asked = |step, text: &str| before(step, &reply(text), "a@b").map_err(|failure| failure.kind);
        let later = |text: &str| Ok(Some(Verdict::Later(text.to_owned())));
        let refused = |text: &str| Ok(Some(Verdict::Refused(text.to_owned())));
        assert_eq!(asked(Step::Mail, "250 ok"), Ok(None));
        assert_eq!(asked(Step::Data, "354 go"), Ok(None));
        for (step, text) in [
            (Step::Rcpt, "450 4.2.0 greylisted"),
            (Step::Rcpt, "452 4.2.2 full"),
            (Step::Rcpt, "552 5.2.2 full"),
            (Step::Mail, "452 no space"),
            (Step::Data, "451 wait"),
        ] {
            assert_eq!(asked(step, text), later(text));
        }
        for (step, text) in
            [(Step::Mail, "552 too large"), (Step::Mail, "554 5.6.3 no 8bit"), (Step::Data, "554 no")]
        {
            assert_eq!(asked(step, text), refused(text));
        }
        let large = "554 5.3.4 too large".to_owned();
        assert_eq!(asked(Step::Mail, &large), Ok(Some(Verdict::TooMuch(large.clone()))));
        assert_eq!(asked(Step::Rcpt, "550 5.1.1 nobody"), Err(Kind::Recipient));
        assert_eq!(asked(Step::Mail, "530 5.7.0 log in"), Err(Kind::Destination));
        assert_eq!(asked(Step::Rcpt, "421 4.3.2 bye"), Err(Kind::Unavailable));
        assert_eq!(asked(Step::Data, "250 what?"), Err(Kind::Protocol));
        assert_eq!(asked(Step::Mail, "354 what?"), Err(Kind::Protocol));
    }

    #[test]
    fn what_becomes_of_a_message() {
        assert_eq!(after(&reply("250 2.0.0 saved")), Ok(Verdict::Taken));
        for later in ["451 4.3.0 later", "452 4.2.2 full", "552 5.2.2 full", "552 full", "421 bye"] {
            assert_eq!(after(&reply(later)), Ok(Verdict::Later(later.to_owned())));
        }
        let large = "552 5.3.4 too large".to_owned();
        assert_eq!(after(&reply(&large)), Ok(Verdict::TooMuch(large)));
        for never in ["550 5.7.1 no", "554 no"] {
            assert_eq!(after(&reply(never)), Ok(Verdict::Refused(never.to_owned())));
        }
        assert!(after(&reply("354 again?")).is_err());
    }
}
