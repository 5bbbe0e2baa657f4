//! What is known of messages that a connection did not survive: asked for alone, after all others, and given up when the
//! connection breaks each time. It outlives connections and the daemon. It refuses to blame a message for one broken
//! connection.

use std::collections::BTreeMap;

use crate::failure::{Failure, Kind};
use crate::message::UidSet;

/// A message is given up when so many connections broke while it alone was asked for.
pub(super) const STRIKES: u8 = 3;

/// Connections in a row that may bring nothing: several messages may each be asked for in vain.
const IN_VAIN: u8 = 12;
/// Connections of a folder that are given up because their answers cannot be read.
const UNREADABLE: u8 = 2;
/// Connections of a folder that may break over sizes, or over flags, before nobody asks for them any more.
const BREAKS: u8 = 4;
/// Where more messages than these have strikes, it is the account.
const FEW: usize = 3;
/// Words of a server are kept as far as a record has room; characters.
const WORDS: usize = 200;

/// What is held against one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strikes {
    /// Connections that broke while it alone was asked for.
    pub count: u8,
    /// What was said last.
    pub words: String,
}

impl Strikes {
    /// Why it is given up.
    pub(super) fn given_up(&self) -> String {
        let what = format!("the connection broke {} times when it was asked for", self.count);
        if self.words.is_empty() { what } else { format!("{what}: {}", self.words) }
    }
}

/// The care that one folder needs. Kept from connection to connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Care {
    /// Halvings of the number of messages that one command asks for.
    pub(super) halvings: u32,
    /// Messages to be asked for alone, and what is held against them.
    pub(super) alone: BTreeMap<u32, Strikes>,
    /// Connections in a row that broke and brought nothing.
    vain: u8,
    /// Messages came, in spite of connections that broke.
    gives: bool,
    /// Connections that were given up because their answers could not be read.
    unreadable: u8,
    /// Messages whose size is not asked for: a connection broke, or a command failed over it.
    no_size: UidSet,
    /// Messages whose size is not known in this listing.
    unsized_: UidSet,
    /// Connections that broke over sizes.
    size_breaks: u8,
    /// Messages whose flags are not asked for, and why.
    no_flags: BTreeMap<u32, String>,
    /// Connections that broke over flags.
    flag_breaks: u8,
    /// The server fell silent in this folder: what is looked at once more has less time.
    silent: bool,
    /// It did so when the folder was opened or listed.
    silent_at_first: bool,
}

impl Care {
    /// The connection broke while these were asked for by the oldest command that was not answered to its end.
    /// A server answers in the order of asking, so it is probably the first of them.
    pub(super) fn broke(&mut self, first: Option<u32>, asked_alone: bool, words: &str) {
        let Some(uid) = first else { return };
        let strikes = self.alone.entry(uid).or_default();
        strikes.words = words.chars().take(WORDS).collect();
        if asked_alone {
            strikes.count = strikes.count.saturating_add(1);
        } else {
            // It may have been another one: fewer are asked for at once from now on.
            self.halvings += 1;
        }
    }

    /// Whether messages came in spite of connections that broke, and few have strikes: then words that may be about the
    /// account are about the one that was asked for.
    pub(super) fn gives(&self) -> bool {
        self.gives && self.alone.values().filter(|strikes| strikes.count > 0).count() <= FEW
    }

    /// Messages of the folder are here.
    pub fn has_given(&mut self) {
        self.gives = true;
    }

    /// What is said of a message; nothing new is held against it.
    pub(super) fn says(&mut self, uid: u32, words: String) {
        self.alone.entry(uid).or_default().words = words;
    }

    /// It is asked for alone from now on.
    pub(super) fn suspects(&mut self, uid: u32) {
        self.alone.entry(uid).or_default();
    }

    /// What was said of a message last.
    pub(super) fn words(&self, uid: u32) -> Option<String> {
        self.alone.get(&uid).map(Strikes::given_up)
    }

    /// Answers cannot be read, again: whether another connection may help.
    pub(super) fn wants_another_connection(&mut self) -> bool {
        let wants = self.unreadable < UNREADABLE;
        self.unreadable = self.unreadable.saturating_add(1);
        wants
    }

    /// After a connection that brought so many messages: another one may bring more.
    ///
    /// # Errors
    /// The failure, if it is of another kind, or came too often.
    pub fn again(&mut self, brought: usize, failure: Failure) -> Result<(), Failure> {
        self.silent |= failure.kind == Kind::Stalled;
        self.gives |= brought > 0;
        self.vain = if brought > 0 { 0 } else { self.vain.saturating_add(1) };
        if failure.broke() && self.vain < IN_VAIN { Ok(()) } else { Err(failure) }
    }

    /// A listing begins: nobody knows a size yet.
    pub(super) fn lists(&mut self) {
        self.unsized_ = UidSet::new();
    }

    /// The connection broke over the sizes of a listing, at this message.
    pub(super) fn broke_over_sizes(&mut self, first: Option<u32>, words: &str) {
        self.size_breaks = self.size_breaks.saturating_add(1);
        if let Some(uid) = first {
            self.no_size.insert(uid);
            // Its file cannot be read, by all that is known: the first thing that is held against it.
            self.broke(Some(uid), true, words);
        }
    }

    /// Nobody asks for sizes in this folder any more.
    pub(super) fn gives_sizes_up(&mut self) {
        self.size_breaks = BREAKS;
    }

    /// A command that asked for the size of this message failed.
    pub(super) fn has_no_size(&mut self, uid: u32) {
        self.no_size.insert(uid);
    }

    /// Messages whose size is not asked for.
    pub(super) fn without_sizes(&self) -> &UidSet {
        &self.no_size
    }

    /// Whether nobody asks for sizes in this folder any more.
    pub(super) fn asks_no_sizes(&self) -> bool {
        self.size_breaks >= BREAKS
    }

    /// Whether a connection broke over sizes, or messages have none: they are asked for one by one then.
    pub(super) fn has_trouble_with_sizes(&self) -> bool {
        self.size_breaks > 0 || !self.no_size.is_empty()
    }

    /// Whether a connection broke over flags.
    pub(super) fn has_trouble_with_flags(&self) -> bool {
        self.flag_breaks > 0
    }

    /// The listing tells no size of it.
    pub(super) fn unsized_is(&mut self, uid: u32) {
        self.unsized_.insert(uid);
    }

    /// Whether the size of a message is not known.
    pub(super) fn unsized_of(&self, uid: u32) -> bool {
        self.unsized_.contains(uid)
    }

    /// The connection broke over flags, at this message.
    pub fn broke_over_flags(&mut self, first: Option<u32>, words: &str) {
        self.flag_breaks = self.flag_breaks.saturating_add(1);
        if let Some(uid) = first {
            self.no_flags.insert(uid, words.chars().take(WORDS).collect());
        }
    }

    /// Messages whose flags are not asked for, and why; `None`: nobody asks for flags in this folder any more.
    pub fn without_flags(&self) -> Option<&BTreeMap<u32, String>> {
        (self.flag_breaks < BREAKS).then_some(&self.no_flags)
    }

    /// Whether anything is held against a message or the folder.
    pub fn is_needed(&self) -> bool {
        let own = Care { unsized_: self.unsized_.clone(), gives: self.gives, ..Care::default() };
        *self != own
    }

    /// Whether anything is held against a message or the folder that was not held before.
    pub fn differs_from(&self, before: &Care) -> bool {
        let own = |care: &Care| Care {
            unsized_: UidSet::new(),
            vain: 0,
            silent: false,
            silent_at_first: false,
            gives: false,
            ..care.clone()
        };
        own(self) != own(before)
    }

    /// Whether the server fell silent in this folder before.
    pub fn was_silent(&self) -> bool {
        self.silent
    }

    /// The connection broke before anything was asked of a message.
    pub fn broke_at_first(&mut self, failure: &Failure) {
        self.silent_at_first |= failure.kind == Kind::Stalled;
    }

    /// Whether the server fell silent when the folder was opened or listed.
    pub fn was_silent_at_first(&self) -> bool {
        self.silent_at_first
    }

    /// Connections in a row that broke and brought nothing.
    pub fn in_vain(&self) -> u8 {
        self.vain
    }

    /// What outlives the daemon: what is held against which message.
    pub fn kept(&self) -> &BTreeMap<u32, Strikes> {
        &self.alone
    }

    /// With what an earlier daemon kept.
    pub fn of(kept: BTreeMap<u32, Strikes>) -> Care {
        Care { alone: kept, ..Care::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_break_is_no_proof() {
        let mut care = Care::default();
        care.broke(Some(7), false, "it closed");
        assert_eq!((care.halvings, care.alone.get(&7).map(|s| s.count)), (1, Some(0)));
        care.broke(Some(7), true, "it closed");
        care.broke(None, true, "");
        assert_eq!(care.alone.get(&7).map(|s| s.count), Some(1));
        assert_eq!(care.words(7).unwrap(), "the connection broke 1 times when it was asked for: it closed");
        assert!(care.is_needed() && !Care::default().is_needed());
        assert_eq!(Care::of(care.kept().clone()).alone, care.alone);
    }

    #[test]
    fn sizes_are_given_up_after_some_breaks() {
        let mut care = Care::default();
        for uid in 1..BREAKS {
            care.broke_over_sizes(Some(uid.into()), "BYE");
            assert!(!care.asks_no_sizes());
        }
        care.broke_over_sizes(None, "BYE");
        assert!(care.asks_no_sizes());
        assert_eq!(care.without_sizes().len(), u64::from(BREAKS) - 1);
        assert_eq!(care.alone.len(), usize::from(BREAKS) - 1);
    }

    #[test]
    fn connections_that_bring_nothing_end() {
        let failed = |kind| Failure::new(kind, "x", "");
        let mut care = Care::default();
        assert!((1..IN_VAIN).all(|_| care.again(0, failed(Kind::Disconnected)).is_ok()));
        assert!(care.again(1, failed(Kind::Protocol)).is_ok());
        assert!((1..IN_VAIN).all(|_| care.again(0, failed(Kind::Stalled)).is_ok()));
        assert!(care.again(0, failed(Kind::Disconnected)).is_err());
        assert!(Care::default().again(5, failed(Kind::Unreachable)).is_err());
    }
}
