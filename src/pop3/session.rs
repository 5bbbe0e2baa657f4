//! A session that is logged in: the headers of its messages, deleting, and the goodbye that makes the deleting real. It refuses to
//! believe an answer that nothing proves to be a message's own, and to reconnect by itself: message numbers live only as long as
//! the session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::belief::{Named, Naming, Seen, Wanted};
use super::capability::Capabilities;
use super::list::{By, Lists};
use super::login;
use super::machine::{Expect, Reply, Status};
use super::refusal::{self, Scrub, Step};
use super::wire::{Wire, is_ok};
use crate::account::Source;
use crate::failure::{Failure, Kind};
use crate::net::{Connector, Quirk, Quirks};
use crate::secret::Secret;

/// Short commands that may wait for their answers, if the server allows it (RFC 2449, 6.6). They and their
/// answers fit into the smallest socket buffers, so that both sides never wait for each other.
const WINDOW: usize = 100;
/// So many messages show how a server names messages.
const PROOFS: usize = 3;

/// One login. Dropping it without [`Session::quit`] deletes nothing (RFC 1939, 6).
#[derive(Debug)]
pub struct Session {
    pub(super) wire: Wire,
    pub(super) capabilities: Capabilities,
    quirks: Arc<Quirks>,
    /// Commands are sent one by one, whatever the server says it can.
    pub(super) one_by_one: bool,
    pub(super) seen: Seen,
}

/// Headers by message number, `None` where the server refused; and what ended the session before all were asked for, with the
/// message that was asked for then.
pub type Headers = (BTreeMap<u32, Option<Vec<u8>>>, Option<(u32, Failure)>);

impl Session {
    /// Connects to `source` and logs in with `secret`. With [`crate::account::Security::StartTls`] a server
    /// without STLS is refused. After a failure nothing is left open.
    pub async fn open(connector: &Connector, source: &Source, secret: &Secret) -> Result<Session, Failure> {
        let (wire, capabilities) = Box::pin(login::open(connector, source, secret)).await?;
        Ok(Session::of(wire, capabilities, Arc::clone(connector.quirks())))
    }

    pub(super) fn of(wire: Wire, capabilities: Capabilities, quirks: Arc<Quirks>) -> Session {
        let has = |quirk| quirks.has(wire.host(), wire.port(), quirk);
        let one_by_one = has(Quirk::Lockstep);
        let sizes = if has(Quirk::NoList) { By::Each } else { By::Whole };
        let lists = Lists { sizes, ..Lists::default() };
        let mut seen = Seen::default();
        seen.lists = lists;
        Session { wire, capabilities, quirks, one_by_one, seen }
    }

    /// What the server says it can.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What an earlier session of the same run has shown counts in this one, too.
    pub fn recall(&mut self, seen: Seen) {
        self.one_by_one |= seen.hasty;
        let lists = self.seen.lists.worse(seen.lists);
        self.seen = seen;
        self.seen.lists = lists;
    }

    /// What this session has shown, for the next one.
    pub fn seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }

    /// From now on silence is borne for less time, see [`crate::net::Stream::hurry`]: for messages over which sessions
    /// broke before.
    pub fn hurry(&mut self) {
        self.wire.hurry();
    }

    /// From now on each command waits for the answer to the one before.
    pub fn go_one_by_one(&mut self) {
        self.one_by_one = true;
    }

    /// Whether the session ended when of several commands at once only the first had been answered.
    pub fn answered_one_of_many(&self) -> bool {
        self.wire.answered_one_of_many()
    }

    /// Whether commands may be sent ahead of the answers.
    pub(super) fn is_pipelined(&self) -> bool {
        self.capabilities.pipelining && !self.one_by_one && self.naming() != Naming::Nothing
    }

    /// How answers are named at this server.
    pub(super) fn naming(&self) -> Naming {
        match (self.has(Quirk::NoUidlOfOne), self.has(Quirk::NoListOfOne)) {
            (false, _) => Naming::Uidl,
            (true, false) => Naming::List,
            (true, true) => Naming::Nothing,
        }
    }

    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.has(self.wire.host(), self.wire.port(), quirk)
    }

    pub(super) fn quirk(&self, quirk: Quirk) {
        self.quirks.learn(self.wire.host(), self.wire.port(), quirk);
    }

    /// The end of the session says something of the server. Returns whether of several commands only the first was answered; only
    /// a server that is silent then is remembered for it: others may have hung up over the second.
    pub(super) fn learn(&mut self, failure: &Failure) -> bool {
        let one_of_many = self.wire.answered_one_of_many();
        if one_of_many && failure.kind == Kind::Stalled {
            self.quirk(Quirk::Lockstep);
        }
        one_of_many
    }

    /// Before answers are named for the first time at a server: does it answer for one message at all? `messages` are some of the
    /// listing. A name that is not the listed one counts against the server only if it gives several of them otherwise.
    ///
    /// # Errors
    /// The answer is one to another question; the next session asks otherwise.
    pub(super) async fn prove_naming(&mut self, messages: &[&Wanted]) -> Result<(), Failure> {
        let asked = messages.get(..PROOFS).unwrap_or(messages);
        loop {
            let (mut otherwise, mut refused) = (0, 0);
            let mut fails = None;
            for message in asked {
                let naming = self.naming().of(message);
                let (proven, quirk) = match naming {
                    Naming::Nothing => return Ok(()),
                    Naming::Uidl => (Quirk::UidlOfOne, Quirk::NoUidlOfOne),
                    Naming::List => (Quirk::ListOfOne, Quirk::NoListOfOne),
                };
                if self.has(proven) {
                    return Ok(());
                }
                let reply = self.wire.command(&naming.command(message), Expect::Line).await?;
                match naming.judge(message, &reply) {
                    Named::Own => {
                        self.quirk(proven);
                        return Ok(());
                    }
                    Named::Otherwise => otherwise += 1,
                    Named::Not if reply.status == Status::Err => refused += 1,
                    Named::Not => {
                        self.fails_at(quirk);
                        return Err(self.wire.protocol("it answers a question about one message otherwise"));
                    }
                }
                fails = Some(quirk);
            }
            // One message alone may be listed wrongly.
            let Some(quirk) = fails.filter(|_| refused > 0 || otherwise > 1) else { return Ok(()) };
            self.fails_at(quirk);
        }
    }

    fn fails_at(&self, quirk: Quirk) {
        self.quirk(quirk);
        if quirk == Quirk::NoListOfOne {
            // Without LIST for one message, nothing names a message that has no UIDL.
            self.quirk(Quirk::NoUidlOfOne);
        }
    }

    /// Whether what came last was this message's, as the server itself says; `false`: it has the message's number and another name.
    ///
    /// # Errors
    /// The answers are out of step, and the session is over.
    pub(super) async fn named(&mut self, message: &Wanted) -> Result<bool, Failure> {
        let mut reply = self.name_of(message).await?;
        if is_ok(&reply) && self.naming().judge(message, &reply) == Named::Not {
            // An answer too many stands before it; or one is missing, and then this is not it, either.
            reply = self.wire.status_instead().await?;
        }
        match self.naming().judge(message, &reply) {
            Named::Own => Ok(true),
            Named::Otherwise => Ok(false),
            Named::Not => Err(self.wire.protocol("its answers are out of step")),
        }
    }

    /// The same behind a refusal, where the name may be refused, too: nothing is believed of the message then.
    pub(super) async fn named_or_refused(&mut self, message: &Wanted) -> Result<(), Failure> {
        let reply = self.name_of(message).await?;
        if reply.status == Status::Err || self.naming().judge(message, &reply) != Named::Not {
            return Ok(());
        }
        Err(self.wire.protocol("its answers are out of step"))
    }

    async fn name_of(&mut self, message: &Wanted) -> Result<Reply, Failure> {
        match self.is_pipelined() {
            true => self.wire.status().await,
            false => {
                if self.naming() != Naming::Nothing {
                    self.wire.pass_over();
                }
                self.wire.command(&self.naming().command(message), Expect::Line).await
            }
        }
    }

    /// The header of each message, by TOP (RFC 1939, 7), up to `max_octets` of it; what is longer is cut
    /// there. `None` where the server refused, or gave it under another name.
    pub async fn top(&mut self, messages: &[Wanted], max_octets: usize) -> Headers {
        let mut headers = BTreeMap::new();
        let mut over = messages.first().map_or(0, |message| message.number);
        match self.headers(messages, max_octets, &mut headers, &mut over).await {
            Ok(()) => (headers, None),
            Err(failure) => {
                self.learn(&failure);
                (headers, Some((over, failure)))
            }
        }
    }

    async fn headers(
        &mut self,
        messages: &[Wanted],
        max_octets: usize,
        headers: &mut BTreeMap<u32, Option<Vec<u8>>>,
        over: &mut u32,
    ) -> Result<(), Failure> {
        self.prove_naming(&messages.iter().collect::<Vec<_>>()).await?;
        let naming = self.naming();
        let numbers: Vec<u32> = messages.iter().map(|message| message.number).collect();
        let names: BTreeMap<u32, String> =
            messages.iter().map(|message| (message.number, naming.command(message))).collect();
        let mut window = Window::new(&numbers, self.short_window());
        for message in messages {
            *over = message.number;
            self.ask(&mut window, ("TOP", " 0"), Expect::Lines, Some(&names)).await?;
            let reply = self.wire.status().await?;
            if !is_ok(&reply) {
                self.named_or_refused(message).await?;
                headers.insert(message.number, None);
                continue;
            }
            if naming.judge(message, &reply) == Named::Own && !reply.text.is_empty() {
                return Err(self.wire.protocol("it does not answer TOP"));
            }
            let mut header = Vec::new();
            while let Some(data) = self.wire.data().await? {
                let room = max_octets.saturating_sub(header.len());
                header.extend_from_slice(data.get(..room).unwrap_or(&data));
            }
            let own = self.named(message).await? && !header.starts_with(b"+OK") && !header.is_empty();
            headers.insert(message.number, own.then_some(header));
        }
        Ok(())
    }

    /// Marks messages as deleted; [`Session::quit`] deletes them. For each, the server's words if it
    /// refused. Before the first one the server has to name it as it was listed. After a failure none is deleted.
    pub async fn delete(
        &mut self,
        messages: &[Wanted],
    ) -> Result<BTreeMap<u32, Result<(), String>>, Failure> {
        let mut done = BTreeMap::new();
        if messages.is_empty() {
            return Ok(done);
        }
        self.wire.check_idle()?;
        self.prove_naming(&messages.iter().collect::<Vec<_>>()).await?;
        let mut otherwise = BTreeSet::new();
        for message in messages.iter().take(PROOFS) {
            let reply = self.wire.command(&self.naming().command(message), Expect::Line).await?;
            match self.naming().judge(message, &reply) {
                Named::Own => break,
                Named::Otherwise => drop(otherwise.insert(message.number)),
                Named::Not => {
                    return Err(self.wire.protocol("it names a message otherwise than it listed it"));
                }
            }
        }
        if otherwise.len() >= PROOFS.min(messages.len()) {
            return Err(self.wire.protocol("it names messages otherwise than it listed them"));
        }
        let named = |message: &&Wanted| !otherwise.contains(&message.number);
        let numbers: Vec<u32> = messages.iter().filter(named).map(|message| message.number).collect();
        let mut window = Window::new(&numbers, self.short_window());
        for number in &numbers {
            self.ask(&mut window, ("DELE", ""), Expect::Line, None).await?;
            let reply = self.wire.status().await?;
            let outcome = if is_ok(&reply) { Ok(()) } else { Err(Scrub::default().quote(&reply)) };
            done.insert(*number, outcome);
        }
        Ok(done)
    }

    /// Ends the session. `Ok` is the server's word that everything marked is deleted; after an error any
    /// part of it may be, and the next listing tells.
    pub async fn quit(mut self) -> Result<(), Failure> {
        self.wire.check_idle()?;
        let reply = self.wire.command("QUIT", Expect::Line).await?;
        if !is_ok(&reply) {
            return Err(self.refused("QUIT", &reply));
        }
        self.wire.close().await;
        Ok(())
    }

    /// Keeps the commands flowing: before each answer is read. Each is followed by what names it, unless that is asked for later.
    pub(super) async fn ask(
        &mut self,
        window: &mut Window<'_>,
        (word, tail): (&str, &str),
        expect: Expect,
        names: Option<&BTreeMap<u32, String>>,
    ) -> Result<(), Failure> {
        let fresh = window.untouched();
        if fresh {
            self.wire.check_idle()?;
        }
        let more = window.refill();
        if !more.is_empty() {
            self.wire.check_quiet()?;
            let (mut lines, mut count) = (String::new(), 0);
            for number in more {
                self.wire.expect(expect);
                lines.push_str(&format!("{word} {number}{tail}\r\n"));
                count += 1;
                let name = names.filter(|_| self.is_pipelined()).and_then(|names| names.get(number));
                if let Some(name) = name {
                    self.wire.expect(Expect::Line);
                    lines.push_str(name);
                    lines.push_str("\r\n");
                    count += 1;
                }
            }
            self.wire.send_burst(lines.as_bytes(), if fresh { count } else { 0 }).await?;
        }
        window.answered();
        Ok(())
    }

    pub(super) fn short_window(&self) -> usize {
        if self.is_pipelined() { WINDOW } else { 1 }
    }

    pub(super) fn refused(&mut self, what: &'static str, reply: &Reply) -> Failure {
        let failure = self.refusal(what, reply);
        self.wire.give_up(failure)
    }

    /// What a refusal means.
    pub(super) fn refusal(&self, what: &'static str, reply: &Reply) -> Failure {
        let quote = Scrub::default().quote(reply);
        let delay = self.capabilities.login_delay;
        refusal::failure(Step::Work(what), reply, &quote, self.wire.host(), "", delay)
    }
}

/// Which commands were sent and answered.
pub(super) struct Window<'a> {
    unsent: &'a [u32],
    unanswered: &'a [u32],
    width: usize,
    begun: bool,
}

impl<'a> Window<'a> {
    pub(super) fn new(numbers: &'a [u32], width: usize) -> Window<'a> {
        Window { unsent: numbers, unanswered: numbers, width, begun: false }
    }

    fn untouched(&self) -> bool {
        !self.begun
    }

    /// What to send now: nothing while more than half of the window is on its way, else what fills it.
    fn refill(&mut self) -> &'a [u32] {
        self.begun = true;
        let waiting = self.unanswered.len() - self.unsent.len();
        if waiting > self.width / 2 {
            return &[];
        }
        let room = (self.width - waiting).min(self.unsent.len());
        let (now, later) = self.unsent.split_at_checked(room).unwrap_or((&[], self.unsent));
        self.unsent = later;
        now
    }

    fn answered(&mut self) -> Option<u32> {
        let (&number, rest) = self.unanswered.split_first()?;
        self.unanswered = rest;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_refilled_when_half_of_it_is_answered() {
        let numbers: Vec<u32> = (1..=10).collect();
        let mut window = Window::new(&numbers, 4);
        let mut sent = Vec::new();
        let mut batches = Vec::new();
        loop {
            let now = window.refill();
            sent.extend_from_slice(now);
            batches.push(now.len());
            let Some(number) = window.answered() else { break };
            assert!(sent.contains(&number));
            assert!(sent.len() - (number as usize - 1) <= 4);
        }
        assert_eq!(sent, numbers);
        assert_eq!(batches, [4, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0]);
        let mut alone = Window::new(&numbers, 1);
        assert_eq!((alone.refill(), alone.answered(), alone.refill()), (&[1][..], Some(1), &[2][..]));
    }
}
