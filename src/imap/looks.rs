//! The second look at messages whose first answer was not believed: in smaller groups, alone, twice until two looks
//! agree, without flags. It refuses to look for ever: each message is asked for alone a few times only.

use std::time::Duration;

use super::belief::{Answer, Asked, LOOKS, Look, why_not};
use super::command::{fetch_bare, fetch_part, halves};
use super::fetch::{Event, Fetch, Fetched, Left};
use super::refusal::{quote, refusal};
use crate::failure::{Failure, Kind};
use crate::message::{Parcel, UidSet};

/// So many messages that make a command doubtful are asked for alone at once; of more, half.
const SUSPECTS: u64 = 8;

/// So often in a row a server may say that it has no time, while it gives other messages; and so long it is left alone,
/// each time longer.
const STRAINED: u8 = 5;
/// A longer pause that it asks for is the account's affair.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const PAUSE: Duration = if cfg!(test) { Duration::from_millis(2) } else { Duration::from_secs(1) };

/// What was seen of a message so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks {
    pub(super) seen: Vec<Look>,
    /// How often it was asked for alone.
    pub(super) alone: u8,
    /// How often that was refused.
    refusals: u8,
}

impl<T: From<Parcel> + Send + 'static> Fetch<'_, T> {
    /// A command that ended in NO or BAD.
    pub(super) async fn refuse(&mut self, asked: Asked, text: &str) -> Result<(), Failure> {
        let failure = refusal("the server does not give it", text, Kind::Message, "");
        if matches!(failure.kind, Kind::Throttled | Kind::InUse) {
            self.strained = self.strained.saturating_add(1);
            // While other commands wait for their answers, nothing else is asked.
            let last = asked.single().filter(|_| self.flying.is_empty());
            let its_own = match last {
                Some(uid) => self.gives_another(uid).await?,
                None => true,
            };
            let wait = failure.wait.unwrap_or_default();
            if wait > LONGEST_PAUSE || self.strained > STRAINED || !its_own {
                self.forget(asked);
                return Err(failure);
            }
            tokio::time::sleep(wait.max(PAUSE * u32::from(self.strained))).await;
        }
        match asked.single() {
            Some(uid) => {
                // What it says may be true for now, or of something else: it is asked once more.
                let looks = self.looks.entry(uid).or_default();
                looks.refusals += 1;
                if looks.refusals == 1 {
                    self.again.push_back(UidSet::from_iter([uid]));
                } else {
                    self.refused.insert(uid, format!("the server does not give it: {}", quote(text)));
                }
                self.forget(asked);
            }
            // Nothing tells which one it was.
            None if asked.missing().len() == asked.want.len() => {
                self.again.extend(halves(&asked.want));
                self.forget(asked);
            }
            None => {
                // The first one that did not come is probably the one that it stopped at.
                let first: UidSet = asked.first_missing().into_iter().collect();
                let mut rest = asked.missing();
                rest.subtract(&first);
                self.again.extend((!rest.is_empty()).then_some(rest));
                let mut asked = asked;
                asked
                    .missing()
                    .iter()
                    .filter(|uid| !first.contains(*uid))
                    .for_each(|uid| asked.want.remove(uid));
                let suspects = if first.is_empty() { asked.want.clone() } else { first };
                self.doubted(asked, &suspects);
            }
        }
        Ok(())
    }

    /// Whether the server gives another message than this one just now: then its words are about this one alone. Where
    /// the folder has no other, nobody knows.
    async fn gives_another(&mut self, this: u32) -> Result<bool, Failure> {
        let Some(every) = self.session.every_uid().await? else { return Ok(false) };
        let Some(other) = every.iter().find(|uid| *uid != this) else { return Ok(false) };
        let (ok, items) = self.ask(&fetch_part(other, 0, 1)).await?;
        self.drop_strays();
        Ok(ok && items.iter().any(|item| item.uid == Some(other)))
    }

    /// Everything that a command brought is true.
    pub(super) fn believe(&mut self, mut asked: Asked) {
        self.strained = 0;
        for uid in asked.want.clone().iter() {
            if let Some(answer) = asked.take(uid) {
                self.looks.remove(&uid);
                self.refused.remove(&uid);
                let Answer { piece, look, flags, received, flags_left, .. } = answer;
                let flags = flags.unwrap_or_default();
                self.out.push_back(Event::Message(Fetched {
                    uid,
                    flags,
                    received,
                    piece,
                    flags_left,
                    bare: None,
                    look: Some(look),
                }));
            }
        }
        self.forget(asked);
    }

    /// The bodies of a command that nobody believes go.
    pub(super) fn forget(&mut self, asked: Asked) {
        self.out.extend(asked.into_answers().into_values().map(|answer| Event::Stray(answer.piece)));
    }

    /// Everything came, but some of it has another length than was announced, or is odd. The others are true if that
    /// is all; these are looked at once more, each alone.
    pub(super) fn differs(&mut self, mut asked: Asked, suspects: UidSet) {
        if self.doubt || !asked.missing().is_empty() {
            return self.doubted(asked, &suspects);
        }
        for uid in suspects.iter() {
            if let Some(answer) = asked.take(uid) {
                self.looks.entry(uid).or_default().seen.push(answer.look);
                self.out.push_back(Event::Stray(answer.piece));
            }
            self.todo.push_back(UidSet::from_iter([uid]));
        }
        self.believe(asked);
    }

    /// Nothing that a command brought is believed: all of it is asked for again, and those that show it apart from the
    /// others.
    pub(super) fn doubted(&mut self, mut asked: Asked, suspects: &UidSet) {
        let mut rest = asked.want.clone();
        rest.subtract(suspects);
        if let Some(uid) = asked.single().filter(|uid| suspects.contains(*uid)) {
            return self.looked(uid, asked);
        }
        for uid in suspects.iter() {
            if let Some(answer) = asked.take(uid) {
                self.looks.entry(uid).or_default().seen.push(answer.look);
                self.out.push_back(Event::Stray(answer.piece));
            }
        }
        self.again.extend((!rest.is_empty()).then_some(rest));
        if suspects.len() <= SUSPECTS {
            self.again.extend(suspects.iter().map(|uid| UidSet::from_iter([uid])));
        } else {
            self.again.extend(halves(suspects));
        }
        self.forget(asked);
    }

    /// A message was asked for alone, and what came is not what was announced, or nothing came: believed if two looks
    /// agree.
    pub(super) fn looked(&mut self, uid: u32, mut asked: Asked) {
        let size = self.size(uid);
        let Looks { mut seen, alone, refusals } = self.looks.remove(&uid).unwrap_or_default();
        let answer = asked.take(uid);
        let look = answer.as_ref().map(|answer| answer.look);
        if let Some(answer) = answer {
            let look = answer.look;
            let agree = !answer.twice && seen.contains(&look) && !no_message(look, size);
            // Flags may be nowhere to be had.
            let whole =
                !answer.is_odd() && !self.doubt && size.is_some_and(|size| u64::from(size) == look.length);
            if agree || whole {
                let Answer { piece, look, flags, received, flags_left, .. } = answer;
                let bare = flags.is_none().then(|| "the server gives it without its flags".to_owned());
                let flags = flags.unwrap_or_default();
                self.out.push_back(Event::Message(Fetched {
                    uid,
                    flags,
                    received,
                    piece,
                    flags_left,
                    bare,
                    look: Some(look),
                }));
                return self.forget(asked);
            }
            seen.push(look);
            self.out.push_back(Event::Stray(answer.piece));
        }
        self.forget(asked);
        let words = why_not(look.or(seen.last().copied()), size);
        if alone + 1 < LOOKS {
            self.looks.insert(uid, Looks { seen, alone: alone + 1, refusals });
            self.again.push_back(UidSet::from_iter([uid]));
        } else if self.care.alone.get(&uid).is_some_and(|strikes| strikes.count > 0) {
            self.left.push((uid, Left::Refused(self.care.words(uid).unwrap_or(words))));
        } else {
            self.refused.insert(uid, words);
        }
    }

    /// One message that is not to be had with its flags and date: without them.
    pub(super) async fn bare(&mut self, uid: u32, words: &str) -> Result<bool, Failure> {
        self.flying.push_back(Asked::new(String::new(), UidSet::from_iter([uid])));
        let (ok, items) = self.ask(&fetch_bare(uid)).await?;
        for item in items {
            self.message(item).await?;
        }
        self.drop_strays();
        let Some(mut asked) = self.flying.pop_back() else { return Ok(false) };
        let answer = asked.take(uid);
        let size = self.size(uid);
        self.forget(asked);
        let Some(answer) = answer else { return Ok(false) };
        let Answer { piece, look, received, .. } = answer;
        let known = self.looks.get(&uid).is_some_and(|looks| looks.seen.contains(&look));
        let fits =
            !no_message(look, size) && (known || size.is_none_or(|size| u64::from(size) == look.length));
        if !ok || self.doubt || answer.is_odd() || !fits {
            self.out.push_back(Event::Stray(piece));
            return Ok(false);
        }
        let (flags, bare) = (answer.flags.unwrap_or_default(), Some(words.to_owned()));
        self.out.push_back(Event::Message(Fetched {
            uid,
            flags,
            received,
            piece,
            flags_left: false,
            bare,
            look: Some(look),
        }));
        Ok(true)
    }
}

/// Whether what came is no message, as it is listed with another size: no byte, or blanks alone.
fn no_message(look: Look, size: Option<u32>) -> bool {
    look.length == 0 || (size.is_some_and(|size| u64::from(size) != look.length) && look.is_blank())
}
