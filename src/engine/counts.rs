//! How many messages each folder of a source has, as STATUS tells: a folder over which the connection breaks costs its own
//! number, and the others are counted. It refuses to make many connections for what is a hint.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Means;
use super::board::Part;
use crate::account::Account;
use crate::destination::landing::Order;
use crate::failure::{Failure, Kind};
use crate::imap::{Session, SourceFolder};

/// After so many connections that broke, the rest is not counted.
const BREAKS: u32 = 3;

/// What was counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    each: Vec<Option<u64>>,
    by_name: BTreeMap<Vec<u8>, u64>,
    /// Over which the server fell silent.
    silent: BTreeSet<Vec<u8>>,
}

impl Counts {
    /// Counts them; the session is another one afterwards, if it broke.
    ///
    /// # Errors
    /// No connection is to be had, or the server wants to be left alone.
    pub(super) async fn of(
        means: &Means,
        account: &Account,
        session: &mut Session<Order>,
        folders: &[SourceFolder],
    ) -> Result<Counts, Failure> {
        let (mut each, mut silent) = (Vec::with_capacity(folders.len()), BTreeSet::new());
        for _ in 0..BREAKS {
            let rest = folders.get(each.len()..).unwrap_or_default();
            session.hurry(!silent.is_empty());
            let failure = match session.count_into(rest, &mut each).await {
                Ok(()) => break,
                Err(failure) if failure.broke() => failure,
                Err(failure) => return Err(failure),
            };
            // Servers answer in the order of asking: this one was not answered.
            if let Some(folder) = folders.get(each.len()) {
                silent.extend((failure.kind == Kind::Stalled).then(|| folder.wire.clone()));
                each.push(None);
            }
            *session = means.imap(account).await?;
        }
        session.hurry(false);
        each.resize(folders.len(), None);
        let known = folders.iter().zip(&each);
        let by_name = known.filter_map(|(folder, count)| Some((folder.wire.clone(), (*count)?))).collect();
        Ok(Counts { each, by_name, silent })
    }

    /// Folder by folder, in their order; `None`: the server does not tell.
    pub(super) fn each(&self) -> &[Option<u64>] {
        &self.each
    }

    /// Of one folder, by its name at the server.
    pub(super) fn count_of(&self, wire: &[u8]) -> Option<u64> {
        self.by_name.get(wire).copied()
    }

    /// Whether the server fell silent over it.
    pub(super) fn was_silent(&self, wire: &[u8]) -> bool {
        self.silent.contains(wire)
    }

    /// Whoever opens them knows it, too.
    pub(super) fn tell(&self, parts: &mut VecDeque<Part>) {
        for part in parts {
            part.counted = self.count_of(&part.folder.wire);
            part.silent = self.was_silent(&part.folder.wire);
            // That was one look.
            part.tries = u32::from(part.silent);
        }
    }
}
