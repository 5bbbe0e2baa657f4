//! What is left out with a server because it fails at it and nobody needs it: CAPABILITY, ID, NAMESPACE, and AUTHENTICATE
//! PLAIN where LOGIN goes. It refuses to blame a command for a connection that fails without it, too.

use std::collections::BTreeSet;

use super::session::{Done, Session};
use crate::account::Source;
use crate::failure::{Failure, Kind};
use crate::message::Parcel;
use crate::net::{Quirk, Quirks};

/// What may be left out.
const OPTIONAL: [Quirk; 4] = [Quirk::NoCapability, Quirk::NoId, Quirk::NoNamespace, Quirk::NoPlain];

/// What is left out, and what is being tried.
#[derive(Debug, Default)]
pub(super) struct Ways {
    without: BTreeSet<Quirk>,
    /// Found out by this login.
    new: BTreeSet<Quirk>,
    asked: Option<Quirk>,
    /// The connection ended over CAPABILITY, once.
    once: bool,
}

impl Ways {
    /// With what is known of the server.
    pub(super) fn of(quirks: &Quirks, source: &Source) -> Ways {
        let known = OPTIONAL.into_iter().filter(|quirk| quirks.has(&source.host, source.port, *quirk));
        Ways { without: known.collect(), ..Ways::default() }
    }

    /// Whether something is left out.
    pub(super) fn lacks(&self, quirk: Quirk) -> bool {
        self.without.contains(&quirk)
    }

    /// It is asked for now; `false`: it is left out.
    pub(super) fn begin(&mut self, quirk: Quirk) -> bool {
        let goes = !self.lacks(quirk);
        self.asked = goes.then_some(quirk);
        goes
    }

    /// The server answered.
    pub(super) fn end(&mut self) {
        self.asked = None;
    }

    /// What is asked for now is refused.
    pub(super) fn fails(&mut self) {
        self.new.extend(self.asked);
    }

    /// After a failure: whether another connection may do without what was asked for.
    pub(super) fn another(&mut self, failure: &Failure) -> bool {
        let Some(quirk) = self.asked.take() else { return false };
        // Words of limits over something that nobody needs may be about that; a login is another matter.
        let words = quirk != Quirk::NoPlain
            && failure.wait.is_none()
            && matches!(failure.kind, Kind::Throttled | Kind::InUse | Kind::Unsupported | Kind::Credentials);
        let broke = failure.broke() || failure.kind == Kind::Unavailable || words;
        if broke && quirk == Quirk::NoCapability && failure.kind != Kind::Stalled && !self.once {
            // Once may be chance, and much would be done without.
            self.once = true;
            return true;
        }
        self.new.extend(broke.then_some(quirk));
        broke && self.without.insert(quirk)
    }

    /// The login was good: what was left out for it is remembered.
    pub(super) fn learn(self, quirks: &Quirks, source: &Source) {
        self.new.into_iter().for_each(|quirk| quirks.learn(&source.host, source.port, quirk));
    }
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// LSUB, unless the server fails at it; whether it lists anything.
    pub(super) async fn lists_subscriptions(&mut self) -> Result<bool, Failure> {
        if self.quirks.has(&self.host, self.port, Quirk::NoLsub) {
            return Ok(false);
        }
        let usual = self.soon();
        let listed = self.run("LSUB \"\" \"*\"").await;
        self.transport().stream().set_stall(usual);
        if listed.as_ref().is_err_and(|failure| failure.broke()) {
            // Once may be chance.
            let again = self.quirks.has(&self.host, self.port, Quirk::LsubBroke);
            self.quirks.learn(&self.host, self.port, if again { Quirk::NoLsub } else { Quirk::LsubBroke });
            self.optional_broke = true;
        }
        Ok(listed?.ok)
    }

    /// LIST with special uses (RFC 6154, 3), where that is announced and does not fail; `None`: the plain way.
    pub(super) async fn list_with_uses(&mut self) -> Result<Option<Done>, Failure> {
        let announced = self.can("LIST-EXTENDED") && self.can("SPECIAL-USE");
        if !announced || self.quirks.has(&self.host, self.port, Quirk::NoListReturn) {
            return Ok(None);
        }
        let usual = self.soon();
        let listed = self.run("LIST \"\" \"*\" RETURN (SPECIAL-USE)").await;
        self.transport().stream().set_stall(usual);
        if listed.as_ref().map_or_else(|failure| failure.broke(), |done| done.said.bad) {
            self.quirks.learn(&self.host, self.port, Quirk::NoListReturn);
            self.optional_broke = listed.is_err();
        }
        let done = listed?;
        // Or the list that comes is none.
        let lists = self.transport().waits_aside(b"* LIST ");
        Ok(Some(done).filter(|done| done.ok && lists))
    }

    /// Whether the connection broke over something about the folders that nobody needs: another one may do without.
    pub fn broke_over_extras(&self) -> bool {
        self.optional_broke
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_left_out_and_once() {
        let broke = Failure::new(Kind::Disconnected, "it closed", "");
        let mut ways = Ways::default();
        assert!(!ways.another(&broke), "nothing optional was asked for");
        assert!(ways.begin(Quirk::NoId));
        ways.end();
        assert!(!ways.another(&broke), "it was answered");
        assert!(ways.begin(Quirk::NoNamespace) && ways.another(&broke));
        assert!(!ways.begin(Quirk::NoNamespace) && !ways.another(&broke));
        assert!(ways.begin(Quirk::NoCapability) && ways.another(&broke), "it may have been chance");
        assert!(ways.begin(Quirk::NoCapability) && ways.another(&broke));
        assert!(!ways.begin(Quirk::NoCapability));
        assert!(ways.begin(Quirk::NoPlain));
        assert!(!ways.another(&Failure::new(Kind::Credentials, "no", "")));
    }
}
