//! What a server says it can (RFC 2449, 6). It refuses to take a missing capability for a missing command:
//! many servers know more than they list.

use std::time::Duration;

/// The answer to CAPA; all `false` and `None` from a server that does not know CAPA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// CAPA was answered with a list.
    pub known: bool,
    /// Commands may be sent ahead of the answers (6.6).
    pub pipelining: bool,
    /// UIDL (6.8).
    pub uidl: bool,
    /// TOP (6.1).
    pub top: bool,
    /// USER and PASS (6.2).
    pub user: bool,
    /// STLS (RFC 2595, 4).
    pub stls: bool,
    /// UTF8 (RFC 6856, 2).
    pub utf8: bool,
    /// Errors come with codes (6.4).
    pub response_codes: bool,
    /// The mechanisms of AUTH, in capitals (6.3).
    pub sasl: Vec<String>,
    /// The least pause between two logins (6.5).
    pub login_delay: Option<Duration>,
    /// Days that mail is kept (6.7); `None` for ever or not said. 0: fetched mail is soon gone.
    pub expire: Option<u32>,
    /// The server's name for itself (6.9), printable, 100 characters at most.
    pub implementation: Option<String>,
    /// A delay or an expiry differs by user (6.5, 6.7): it is worth asking again after the login.
    pub(super) by_user: bool,
}

impl Capabilities {
    /// What matters of it, as the server wrote it.
    pub fn names(&self) -> Vec<String> {
        let known = [
            (self.pipelining, "PIPELINING"),
            (self.uidl, "UIDL"),
            (self.top, "TOP"),
            (self.utf8, "UTF8"),
            (self.response_codes, "RESP-CODES"),
            (self.login_delay.is_some(), "LOGIN-DELAY"),
        ];
        known.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect()
    }

    /// Takes in one line of the list; what it does not know, it passes over.
    pub fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { return };
        match name.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "UIDL" => self.uidl = true,
            "TOP" => self.top = true,
            "USER" => self.user = true,
            "STLS" => self.stls = true,
            "UTF8" => self.utf8 = true,
            "RESP-CODES" => self.response_codes = true,
            "SASL" => self.sasl = words.map(str::to_ascii_uppercase).take(64).collect(),
            "LOGIN-DELAY" => {
                let seconds = words.next().and_then(|word| word.parse::<u32>().ok());
                self.login_delay = seconds.map(|s| Duration::from_secs(s.into()));
                self.by_user |= words.any(|word| word.eq_ignore_ascii_case("USER"));
            }
            "EXPIRE" => {
                self.expire = words.next().and_then(|word| word.parse().ok());
                self.by_user |= words.any(|word| word.eq_ignore_ascii_case("USER"));
            }
            "IMPLEMENTATION" => {
                let name: Vec<&str> = words.collect();
                let name = name.join(" ").chars().filter(|c| !c.is_control()).take(100).collect();
                self.implementation = Some(name);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Capabilities {
        let mut capabilities = Capabilities::default();
        text.lines().for_each(|line| capabilities.line(line.as_bytes()));
        capabilities
    }

    #[test]
    fn what_gmail_lists() {
        let gmail = read(
            "USER\nRESP-CODES\nEXPIRE 0\nLOGIN-DELAY 300\nTOP\nUIDL\nX-GOOGLE-RICO\n\
             SASL plain XOAUTH2 OAUTHBEARER\n",
        );
        assert!(gmail.user && gmail.top && gmail.uidl && gmail.response_codes && !gmail.pipelining);
        assert_eq!(gmail.login_delay, Some(Duration::from_secs(300)));
        assert_eq!(gmail.expire, Some(0));
        assert_eq!(gmail.sasl, ["PLAIN", "XOAUTH2", "OAUTHBEARER"]);
        assert!(!gmail.by_user);
    }

    #[test]
    fn oddities_are_passed_over() {
        let odd = read("\n  \nLOGIN-DELAY soon\nEXPIRE NEVER\nSASL\nLOGIN-DELAY 60 USER\npipelining");
        assert!(odd.pipelining && odd.by_user && odd.sasl.is_empty());
        assert_eq!((odd.login_delay, odd.expire), (Some(Duration::from_secs(60)), None));
    }
}
