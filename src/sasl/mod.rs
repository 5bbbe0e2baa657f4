//! How a password is proved to a mail server by SASL (RFC 4422): PLAIN, LOGIN, CRAM-MD5 and SCRAM-SHA-256, as questions and
//! answers that are not yet in base64. It refuses to know which protocol carries them, and to call a SCRAM login done
//! before the server has proved that it knows the password, too.

mod scram;

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use crate::account::Auth;
use crate::secret::Secret;
use scram::Scram;

/// A mechanism for passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616
    Plain,
    /// draft-murchison-sasl-login
    Login,
    /// RFC 2195
    CramMd5,
    /// RFC 5802 and RFC 7677
    Scram,
}

impl Mechanism {
    /// As servers list it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::Scram => "SCRAM-SHA-256",
        }
    }

    /// The one that a definition asks for.
    pub fn asked(auth: Auth) -> Option<Mechanism> {
        match auth {
            Auth::Plain => Some(Mechanism::Plain),
            Auth::Login => Some(Mechanism::Login),
            Auth::CramMd5 => Some(Mechanism::CramMd5),
            Auth::Scram => Some(Mechanism::Scram),
            Auth::Auto | Auth::Password | Auth::Apop => None,
        }
    }

    /// Whether the client speaks first.
    pub fn is_client_first(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Scram)
    }

    /// Whether somebody can log in for another.
    pub fn names_another(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Scram)
    }
}

/// What is sent; its memory is zeroed when it is dropped.
pub type Octets = Zeroizing<Vec<u8>>;

/// One login on its way.
#[derive(Debug)]
pub struct Exchange<'s> {
    mechanism: Mechanism,
    user: &'s str,
    whom: Option<&'s str>,
    secret: &'s Secret,
    scram: Option<Scram>,
    answers: usize,
}

impl<'s> Exchange<'s> {
    /// `whom`: whose mailbox it is, if the login is another one's.
    ///
    /// # Errors
    /// The system gives no random octets, or a name or password has a NUL in it.
    pub fn new(
        mechanism: Mechanism,
        user: &'s str,
        whom: Option<&'s str>,
        secret: &'s Secret,
    ) -> Result<Exchange<'s>, &'static str> {
        if user.contains('\0') || secret.expose().contains(&0) {
            return Err("the username or password holds NUL");
        }
        let scram = match mechanism {
            Mechanism::Scram => Some(Scram::new(user, whom)?),
            _ => None,
        };
        Ok(Exchange { mechanism, user, whom, secret, scram, answers: 0 })
    }

    /// The answer to what the server sent; to nothing, if the client speaks first.
    ///
    /// # Errors
    /// The server broke the mechanism's rules, or does not know the password.
    pub fn answer(&mut self, question: &[u8]) -> Result<Octets, &'static str> {
        self.answers += 1;
        let password = self.secret.expose();
        match (self.mechanism, self.answers) {
            (Mechanism::Plain, 1) => {
                let whom = self.whom.unwrap_or_default();
                Ok(joined(&[whom.as_bytes(), b"\0", self.user.as_bytes(), b"\0", password]))
            }
            (Mechanism::Login, 1) => Ok(joined(&[self.user.as_bytes()])),
            (Mechanism::Login, 2) => Ok(joined(&[password])),
            (Mechanism::CramMd5, 1) => {
                let digest = hmac_md5(password, question);
                let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                Ok(joined(&[self.user.as_bytes(), b" ", digits.as_bytes()]))
            }
            (Mechanism::Scram, _) => match &mut self.scram {
                Some(scram) => scram.answer(question, password),
                None => Err("it asked for more than was agreed"),
            },
            _ => Err("it asked for more than was agreed"),
        }
    }

    /// Whether an OK of the server can be believed.
    pub fn is_proved(&self) -> bool {
        self.scram.as_ref().is_none_or(Scram::is_proved)
    }
}

/// In one piece of known size, so that it never moves and leaves a copy behind.
fn joined(parts: &[&[u8]]) -> Octets {
    let mut out = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// RFC 2104
fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    const BLOCK: usize = 64;
    let hashed = Zeroizing::new(Md5::digest(key).to_vec());
    let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
    let padded = |pad: u8| {
        let mut block = Zeroizing::new(vec![pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        block
    };
    let inner = Md5::new().chain_update(padded(0x36).as_slice()).chain_update(text).finalize();
    Md5::new().chain_update(padded(0x5c).as_slice()).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_proved_as_documented() {
        let secret = Secret::new(b"tanstaaftanstaaf".to_vec());
        let mut cram = Exchange::new(Mechanism::CramMd5, "tim", None, &secret).unwrap();
        // The example of RFC 2195, 2.
        let said = cram.answer(b"<1896.697170952@postoffice.reston.mci.net>").unwrap();
        assert_eq!(said.as_slice(), b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert!(cram.answer(b"more").is_err());

        let mut plain = Exchange::new(Mechanism::Plain, "tim", Some("al"), &secret).unwrap();
        assert_eq!(plain.answer(b"").unwrap().as_slice(), b"al\0tim\0tanstaaftanstaaf");
        let mut login = Exchange::new(Mechanism::Login, "tim", None, &secret).unwrap();
        assert_eq!(login.answer(b"Username:").unwrap().as_slice(), b"tim");
        assert_eq!(login.answer(b"Password:").unwrap().as_slice(), b"tanstaaftanstaaf");
        assert!(login.answer(b"Again:").is_err());

        // RFC 2202, 2: a key longer than a block.
        let digest = hmac_md5(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First");
        let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(digits, "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }
}
