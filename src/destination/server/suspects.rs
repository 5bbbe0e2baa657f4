//! One message that does not get through, found among those that do: many at once, then one after the other, then the
//! suspects alone and some seconds apart. It refuses to blame a message as long as the server may be to blame: others
//! that are stored around it are the proof.
//!
//! A connection that breaks over a group of messages costs a second one without groups, and that a third one where
//! each message is answered before the next is sent. So a culprit costs two connections until it is known, and one
//! for each look after that.

use std::time::Duration;

use super::carrier::{Carrier, lost, on_disk};
use super::sending::{Sending, Suspect, may_pass};
use crate::destination::landing::Receipt;
use crate::failure::{Failure, Kind};
use crate::imap::Manner;
use crate::message::MessageRef;
use crate::net::Quirk;

/// Connections in a row that bring nothing.
const TRIES: u32 = 5;
/// Before the first of them; each waits twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// Before each look at the suspects; the last one before all that follow.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];
/// A server that asks for a longer pause is left alone, if it takes nothing.
const LONGEST: Duration = Duration::from_secs(8);
/// A message that did not get through so often is left out.
const LOOKS: u32 = 4;
/// The same for a connection that breaks: each look waits for what may come late.
const BREAKS: u32 = 3;
/// The same, where the words are not known to pass, and where a whole batch did not get through.
const FEWER_LOOKS: u32 = 2;
/// A silence costs a minute: it counts for so many.
const SILENCE: u32 = 3;
/// After so many suspects in a row that do not get through, the others are not looked at.
const IN_A_ROW: usize = 5;
/// Of one that an earlier landing did not get through.
const NEVER_ASKED: &str = "it did not get through before";
/// So many may be to blame where others got through before them; more than that, and the server is.
const FEW: usize = 3;

impl Carrier {
    /// Everything of the batch is there, or refused, when this returns. An answer that is lost with its connection
    /// costs another connection, and a look at what has come.
    ///
    /// # Errors
    /// What concerns more than some messages.
    pub(super) async fn deliver(&mut self, sending: &mut Sending) -> Result<(), Failure> {
        // What did not get through before a restart does not break the batch once more.
        let strikes = self.open.as_ref().ok_or_else(lost)?.strikes.clone();
        let mut struck = Vec::new();
        for waiting in std::mem::take(&mut sending.waiting) {
            match strikes.of(waiting.placement.message) {
                0 => sending.waiting.push(waiting),
                _ => struck.push(waiting),
            }
        }
        let failure = Failure::new(Kind::Unavailable, NEVER_ASKED, "");
        let suspect = |waiting| Suspect::new(&self.server, waiting, failure.clone());
        let struck: Vec<Suspect> = struck.into_iter().map(suspect).collect();
        self.send_all(sending).await?;
        sending.suspects.extend(struck);
        loop {
            self.look_until_known(sending).await?;
            let landed = sending.landed;
            // From the other end: it is another row then.
            sending.waiting.reverse();
            self.send_all(sending).await?;
            // Some that are refused one after the other do not speak for all behind them; a second row does.
            if sending.landed == landed {
                break;
            }
        }
        self.learn(sending);
        self.judge(sending).await
    }

    /// Looks at the suspects, some seconds apart, until each is there, or known.
    async fn look_until_known(&mut self, sending: &mut Sending) -> Result<(), Failure> {
        let mut round = 0;
        while sending.suspects.iter().any(|suspect| !self.is_looked_at(suspect)) {
            let pause = PAUSES.get(round).or(PAUSES.last()).copied().unwrap_or_default();
            // Over connections that broke there was time enough.
            let waited = sending.suspects.iter().all(|suspect| suspect.failure.broke());
            tokio::time::sleep(if self.weary || waited { PAUSE } else { pause }).await;
            let landed = sending.landed;
            self.look(sending).await?;
            round += 1;
            if sending.landed > landed {
                self.send_all(sending).await?;
            } else if sending.suspects.iter().take(IN_A_ROW).all(|suspect| self.is_looked_at(suspect)) {
                // None of those that come first gets through: neither would the others.
                break;
            }
            let asked = sending.suspects.iter().filter_map(|suspect| suspect.failure.wait).max();
            if sending.landed == 0 && asked.is_some_and(|wait| wait > LONGEST) {
                // Who asks for a longer pause is not bothered before.
                break;
            }
        }
        Ok(())
    }

    /// Sends what waits, as fast as the server lets.
    async fn send_all(&mut self, sending: &mut Sending) -> Result<(), Failure> {
        let mut manner = self.server.manner();
        let (mut tries, mut in_a_row) = (0, 0);
        while !sending.waiting.is_empty() {
            let (landed, suspects) = (sending.landed, sending.suspects.len());
            let (Some(session), Some(open)) = (&mut self.session, &mut self.open) else { return Err(lost()) };
            manner.groups &= session.can("MULTIAPPEND");
            let ended = sending.send(&self.server, session, open, manner).await;
            let failure = match ended {
                Ok(()) => {
                    self.strike(sending, suspects).await?;
                    if !std::mem::take(&mut sending.unsure) {
                        return Ok(());
                    }
                    manner = simpler(manner);
                    continue;
                }
                Err(failure) if failure.kind == Kind::Full => {
                    // One may be too large for what is left, or for its folder: then others fit.
                    in_a_row = if sending.landed > landed { 0 } else { in_a_row };
                    if manner.alone {
                        in_a_row += 1;
                        sending.blame_first(&self.server, &failure);
                    }
                    manner = Manner::PLAIN;
                    if in_a_row >= IN_A_ROW {
                        return Err(failure);
                    }
                    continue;
                }
                Err(failure) if may_pass(&failure) => failure,
                Err(failure) => return Err(failure),
            };
            tries = if sending.landed > landed { 0 } else { tries + 1 };
            self.connect_again(sending, tries, &failure).await?;
            if sending.landed > landed {
                tries = 0;
            }
            if manner.groups {
                self.broken_groups += 1;
            } else {
                sending.blame(&self.server, &failure);
            }
            self.strike(sending, suspects).await?;
            if tries > TRIES {
                return Err(failure);
            }
            manner = simpler(manner);
        }
        Ok(())
    }

    /// Another connection, with the folder open, after one that broke.
    async fn connect_again(
        &mut self,
        sending: &mut Sending,
        tries: u32,
        failure: &Failure,
    ) -> Result<(), Failure> {
        tracing::debug!("the connection to the destination is made anew: {failure}");
        tokio::time::sleep(PAUSE * (1 << tries.min(8))).await;
        let open = self.open.as_ref().ok_or_else(lost)?;
        let mut session = self.server.connect().await?;
        let selected = session.select(&open.name).await?;
        if selected.is_none_or(|now| now.uidvalidity != open.selected.uidvalidity) {
            return Err(lost());
        }
        sending.look_again(&self.server, &mut session, &open.name).await?;
        self.session = Some(session);
        Ok(())
    }

    /// Looks at each suspect alone, in the plainest way.
    async fn look(&mut self, sending: &mut Sending) -> Result<(), Failure> {
        let rest = std::mem::take(&mut sending.waiting);
        let (mut kept, mut in_vain) = (Vec::new(), 0);
        for suspect in std::mem::take(&mut sending.suspects) {
            if in_vain >= IN_A_ROW || self.is_looked_at(&suspect) {
                kept.push(suspect);
                continue;
            }
            let (since, volume) = (suspect.since, suspect.volume);
            sending.waiting = vec![suspect.waiting];
            let (Some(session), Some(open)) = (&mut self.session, &mut self.open) else { return Err(lost()) };
            match sending.send(&self.server, session, open, Manner::PLAIN).await {
                Ok(()) => {}
                Err(failure) if may_pass(&failure) => {
                    self.connect_again(sending, 0, &failure).await?;
                    // It has not come late either.
                    let missing = std::mem::take(&mut sending.waiting).into_iter();
                    let suspect = |waiting| Suspect { waiting, since, volume, failure: failure.clone() };
                    sending.suspects.extend(missing.map(suspect));
                }
                Err(failure) if failure.kind == Kind::Full => sending.blame_first(&self.server, &failure),
                Err(failure) => return Err(failure),
            }
            self.strike(sending, 0).await?;
            in_vain = if sending.suspects.is_empty() { 0 } else { in_vain + 1 };
            let again = std::mem::take(&mut sending.suspects).into_iter();
            kept.extend(again.map(|suspect| Suspect { since, volume, ..suspect }));
        }
        (sending.suspects, sending.waiting) = (kept, rest);
        Ok(())
    }

    /// The suspects from that one on did not get through once more. What landed has no strikes any more.
    async fn strike(&mut self, sending: &Sending, from: usize) -> Result<(), Failure> {
        let new = sending.suspects.iter().skip(from);
        let weight = |failure: &Failure| if failure.kind == Kind::Stalled { SILENCE } else { 1 };
        let new: Vec<(MessageRef, u32)> =
            new.map(|suspect| (suspect.waiting.placement.message, weight(&suspect.failure))).collect();
        let open = self.open.as_mut().ok_or_else(lost)?;
        let there = sending.receipts.iter().filter(|receipt| receipt.refused.is_none());
        let there: Vec<MessageRef> =
            there.map(|receipt| receipt.message).filter(|message| open.strikes.of(*message) > 0).collect();
        if new.is_empty() && there.is_empty() {
            return Ok(());
        }
        let mut strikes = open.strikes.clone();
        open.strikes = on_disk(move || {
            strikes.add(&new)?;
            strikes.settle(there.into_iter())?;
            Ok(strikes)
        })
        .await?;
        Ok(())
    }

    fn strikes(&self, suspect: &Suspect) -> u32 {
        self.open.as_ref().map_or(0, |open| open.strikes.of(suspect.waiting.placement.message))
    }

    /// Whether it has been looked at so often that it is known.
    fn is_looked_at(&self, suspect: &Suspect) -> bool {
        // What is known from before is asked for once more.
        let looks = match suspect.failure.kind {
            Kind::Message | Kind::Full => FEWER_LOOKS,
            _ if self.weary => FEWER_LOOKS,
            _ if suspect.failure.broke() => BREAKS,
            _ => LOOKS,
        };
        self.strikes(suspect) >= looks && suspect.failure.words != NEVER_ASKED
    }

    /// What the server announces and cannot do is not tried again at that host.
    fn learn(&mut self, sending: &Sending) {
        let Some(session) = &self.session else { return };
        let ahead = session.can("LITERAL+") || session.can("LITERAL-");
        let (stored, refused) = sending.groups;
        let clean = sending.suspects.is_empty() && stored == 0 && sending.landed > 1;
        if stored > 0 {
            self.broken_groups = 0;
        } else if clean && (refused > 0 || self.broken_groups > 1) {
            self.server.learn(Quirk::NoMultiAppend);
        }
        if ahead && sending.landed > 1 && sending.ahead == 0 && self.server.manner().ahead {
            self.server.learn(Quirk::NoLiteralPlus);
        }
    }

    /// Leaves the suspects out, if it is they who are to blame.
    async fn judge(&mut self, sending: &mut Sending) -> Result<(), Failure> {
        let suspects = std::mem::take(&mut sending.suspects);
        let unsent = std::mem::take(&mut sending.waiting);
        let Some(first) = suspects.first().map(|suspect| suspect.failure.clone()) else {
            self.weary = false;
            return if unsent.is_empty() { Ok(()) } else { Err(lost()) };
        };
        let few = suspects.len() + unsent.len() <= FEW;
        let (stored, volume) = (self.server.stored(), self.server.volume());
        let is_proven = |suspect: &Suspect| match suspect.failure.kind {
            // What came after it would have left room for it.
            Kind::Full => volume >= suspect.volume.saturating_add(suspect.waiting.body.octets),
            _ => stored > suspect.since || (few && sending.landed > 0),
        };
        let proven = suspects.iter().all(is_proven);
        let full = suspects.iter().find(|suspect| suspect.failure.kind == Kind::Full && !is_proven(suspect));
        let empty = stored == 0 && self.open.as_ref().is_none_or(|open| open.selected.exists == 0);
        if let Some(full) = full.filter(|_| empty || !few) {
            // No message is to blame where the mailbox takes nothing more.
            let failure = full.failure.clone();
            (sending.suspects, sending.waiting) = (suspects, unsent);
            return Err(failure);
        }
        if !proven && !few {
            let kind = if first.broke() { first.kind } else { Kind::Refuses };
            let failure = Failure { kind, ..first.clone() };
            // Whether it is this folder shows when others were stored, or come after it.
            if sending.landed == 0 && stored == 0 && !self.server.has_resigned() {
                return Err(failure);
            }
            self.put_off = Some(failure);
        }
        self.weary = sending.landed == 0;
        for suspect in suspects {
            let strikes = self.strikes(&suspect);
            // What was asked for once, behind others, is asked for again by the next run.
            let proven = is_proven(&suspect) && strikes >= FEWER_LOOKS;
            let Suspect { waiting, failure, .. } = suspect;
            let words = match failure.broke() {
                true => format!("the connection broke {strikes} times over it: {}", failure.words),
                false => failure.words,
            };
            let landed = Receipt::landed(waiting.placement.message, waiting.body.octets);
            sending.receipts.push(Receipt { refused: Some(words), later: !proven, ..landed });
        }
        for waiting in unsent {
            let words = format!("it was not tried after those before it: {}", first.words);
            let landed = Receipt::landed(waiting.placement.message, waiting.body.octets);
            sending.receipts.push(Receipt { refused: Some(words), later: true, ..landed });
        }
        Ok(())
    }
}

/// The next way to send what did not get through.
fn simpler(manner: Manner) -> Manner {
    if manner.groups { Manner { groups: false, ..manner } } else { Manner::PLAIN }
}
