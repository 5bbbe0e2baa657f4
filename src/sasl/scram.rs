//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side, without channel binding. It refuses fewer than 4096 rounds, which
//! give the password away to whoever listens, more than ten million, which only keep us busy, and a server that does not
//! prove that it knows the password. Names and passwords go as they are written: nothing is normalized.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::Octets;

/// Rounds that are too few (RFC 7677, 4), and too many.
const FEWEST: u32 = 4096;
const MOST: u32 = 10_000_000;
/// A server's question may have so many octets.
const LONGEST: usize = 4096;

/// How far it is.
#[derive(Debug)]
enum Step {
    First,
    Challenged,
    /// The signature that the server has to show.
    Answered(Vec<u8>),
    Proved,
    Over,
}

/// One login.
#[derive(Debug)]
pub(super) struct Scram {
    /// The header and what the client says first, without the header.
    header: String,
    bare: String,
    nonce: String,
    step: Step,
}

impl Scram {
    pub(super) fn new(user: &str, whom: Option<&str>) -> Result<Scram, &'static str> {
        let mut octets = [0; 18];
        SystemRandom::new().fill(&mut octets).map_err(|_| "this machine gives no random octets")?;
        Ok(Scram::with(user, whom, &BASE64.encode(octets)))
    }

    fn with(user: &str, whom: Option<&str>, nonce: &str) -> Scram {
        let name = |name: &str| name.replace('=', "=3D").replace(',', "=2C");
        let header = whom.map_or_else(|| "n,,".to_owned(), |whom| format!("n,a={},", name(whom)));
        let bare = format!("n={},r={nonce}", name(user));
        Scram { header, bare, nonce: nonce.to_owned(), step: Step::First }
    }

    pub(super) fn answer(&mut self, question: &[u8], password: &[u8]) -> Result<Octets, &'static str> {
        if question.len() > LONGEST {
            return Err("it sent a question without end");
        }
        let question = std::str::from_utf8(question).map_err(|_| "it sent no text")?;
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::First => {
                self.step = Step::Challenged;
                Ok(Zeroizing::new(format!("{}{}", self.header, self.bare).into_bytes()))
            }
            Step::Challenged => {
                let (answer, signature) = self.prove(question, password)?;
                self.step = Step::Answered(signature);
                Ok(answer)
            }
            Step::Answered(signature) => {
                let shown = question.split(',').next().and_then(|part| part.strip_prefix("v="));
                let shown = shown.and_then(|shown| BASE64.decode(shown).ok());
                if shown.as_deref() != Some(signature.as_slice()) {
                    return Err("it does not prove that it knows the password");
                }
                self.step = Step::Proved;
                Ok(Zeroizing::new(Vec::new()))
            }
            Step::Proved | Step::Over => Err("it asked for more than was agreed"),
        }
    }

    pub(super) fn is_proved(&self) -> bool {
        matches!(self.step, Step::Proved)
    }

    /// The client's last message, and the signature that the server must answer with.
    fn prove(&self, question: &str, password: &[u8]) -> Result<(Octets, Vec<u8>), &'static str> {
        const NONE: &str = "its question is none of SCRAM";
        let mut parts = question.split(',');
        // An extension that must be understood comes first, as m=.
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(NONE)?;
        let salt = parts.next().and_then(|part| part.strip_prefix("s=")).ok_or(NONE)?;
        let rounds = parts.next().and_then(|part| part.strip_prefix("i=")).ok_or(NONE)?;
        let salt = BASE64.decode(salt).map_err(|_| NONE)?;
        let rounds: u32 = rounds.parse().map_err(|_| NONE)?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("it answers another login than ours");
        }
        if !(FEWEST..=MOST).contains(&rounds) {
            return Err("it asks for so few or so many rounds of SCRAM that nobody should answer");
        }
        let rounds = NonZeroU32::new(rounds).ok_or(NONE)?;
        let mut salted = Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, salted.as_mut_slice());
        let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_slice());
        let client = Zeroizing::new(hmac::sign(&key, b"Client Key").as_ref().to_vec());
        let server = hmac::sign(&key, b"Server Key");
        let stored = digest::digest(&digest::SHA256, &client);
        let last = format!("c={},r={nonce}", BASE64.encode(&self.header));
        let whole = format!("{},{question},{last}", self.bare);
        let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, stored.as_ref()), whole.as_bytes());
        let proof: Vec<u8> = client.iter().zip(signed.as_ref()).map(|(one, other)| one ^ other).collect();
        let shown = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, server.as_ref()), whole.as_bytes());
        let answer = Zeroizing::new(format!("{last},p={}", BASE64.encode(proof)).into_bytes());
        Ok((answer, shown.as_ref().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn challenged() -> Scram {
        let mut scram = Scram::with("user", None, NONCE);
        assert_eq!(scram.answer(b"", b"pencil").unwrap().as_slice(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        scram
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let mut scram = challenged();
        let answer = scram.answer(FIRST.as_bytes(), b"pencil").unwrap();
        assert_eq!(
            std::str::from_utf8(&answer).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(!scram.is_proved());
        assert!(scram.answer(LAST.as_bytes(), b"pencil").unwrap().is_empty());
        assert!(scram.is_proved());
        assert!(scram.answer(b"", b"pencil").is_err());
    }

    #[test]
    fn a_server_that_does_not_know_the_password() {
        for last in ["v=", "v=AAAA", "e=invalid-proof", "", &LAST.replace("6rr", "7rr")] {
            let mut scram = challenged();
            scram.answer(FIRST.as_bytes(), b"pencil").unwrap();
            assert!(scram.answer(last.as_bytes(), b"pencil").is_err(), "{last}");
            assert!(!scram.is_proved());
        }
    }

    #[test]
    fn questions_that_nobody_should_answer() {
        for question in [
            "".to_owned(),
            "m=must,".to_owned() + FIRST,
            FIRST.replace("r=rOpr", "r=other"),
            format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            FIRST.replace("i=4096", "i=4095"),
            FIRST.replace("i=4096", "i=10000001"),
            FIRST.replace("i=4096", "i=99999999999"),
            FIRST.replace("s=W22", "s=*"),
            "x".repeat(5000),
        ] {
            assert!(challenged().answer(question.as_bytes(), b"pencil").is_err(), "{question}");
        }
    }

    #[test]
    fn names_are_written_so_that_commas_do_not_end_them() {
        let mut scram = Scram::with("a,b=c", Some("d,e"), "n");
        assert_eq!(scram.answer(b"", b"x").unwrap().as_slice(), b"n,a=d=2Ce,n=a=2Cb=3Dc,r=n");
    }
}
