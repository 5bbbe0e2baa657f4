//! Messages that are not here under names of their own, and copies of their sizes: octets tell which is which. It refuses to take
//! a message for another one of the same size.

use std::collections::BTreeMap;

use super::Verified;
use super::compare::{Known, Side, missing, not_given};
use super::here::{Copy, Here};
use super::mail::Mail;
use crate::destination::fingerprint::Print;
use crate::failure::Failure;
use crate::message::MessageRef;

/// What is to be told apart in a folder.
#[derive(Debug)]
pub(super) struct Unnamed {
    /// Their places in [`Side::messages`].
    pub(super) messages: Vec<usize>,
    /// Ours, of messages that the source has no more under their names.
    pub(super) gone: Vec<Copy>,
    /// Not ours, by their names.
    pub(super) strangers: Vec<Copy>,
}

impl Unnamed {
    /// Finds them. `theirs`: what they are made of at the source, by `id`. Returns the copies that are of none of them and not ours.
    ///
    /// # Errors
    /// The mailbox cannot be read.
    pub(super) async fn settle(
        self,
        mail: &mut Mail,
        here: &mut Here,
        side: &Side<'_>,
        (theirs, id): (&BTreeMap<u64, Print>, impl Fn(MessageRef) -> u64),
        sum: &mut Verified,
    ) -> Result<Vec<Copy>, Failure> {
        let mut gone = Pool::of(mail, self.gone).await?;
        let mut strangers = Pool::of(mail, self.strangers).await?;
        for message in self.messages.iter().filter_map(|at| side.messages.get(*at)) {
            let Some(print) = theirs.get(&id(message.message)) else {
                not_given(sum, side, message);
                continue;
            };
            sum.read += 1;
            // What was never brought is no mail of others.
            if gone.take(print) || (message.known != Known::New && strangers.take(print)) {
                sum.alike += 1;
            } else {
                missing(here, sum, side, message);
            }
        }
        here.belong_to_none(gone.rest(), side.complete);
        Ok(strangers.rest())
    }
}

/// Copies, and what they are made of.
struct Pool {
    copies: Vec<Option<Copy>>,
    places: BTreeMap<Print, Vec<usize>>,
}

impl Pool {
    async fn of(mail: &mut Mail, copies: Vec<Copy>) -> Result<Pool, Failure> {
        let mut places: BTreeMap<Print, Vec<usize>> = BTreeMap::new();
        if !copies.is_empty() {
            for (at, print) in mail.prints(copies.clone()).await?.into_iter().enumerate() {
                if let Some(print) = print {
                    places.entry(print).or_default().push(at);
                }
            }
        }
        Ok(Pool { copies: copies.into_iter().map(Some).collect(), places })
    }

    /// Takes a copy out that is made of this.
    fn take(&mut self, print: &Print) -> bool {
        let at = self.places.get_mut(print).and_then(Vec::pop);
        at.and_then(|at| self.copies.get_mut(at)?.take()).is_some()
    }

    fn rest(self) -> Vec<Copy> {
        self.copies.into_iter().flatten().collect()
    }
}
