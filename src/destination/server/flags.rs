//! Flags that are stored at a server, where it may refuse them for one message: halves, then each alone. It refuses
//! to call a flag refused before it was asked for alone, and to go on where no message gets it.

use crate::failure::{Failure, Kind};
use crate::imap::Session;
use crate::message::{Flag, Parcel, UidSet};

/// After so many messages, and none that got it, the flag is refused for all of them.
const ENOUGH: u64 = 4;

/// What a server did not store.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// For these messages.
    pub(super) uids: UidSet,
    /// It stored it for none of several.
    pub(super) for_all: bool,
    /// In its words.
    pub(super) words: String,
}

/// Sets a flag of messages of the open folder, or takes it away, for all that the server lets.
///
/// # Errors
/// The connection failed.
pub(super) async fn store(
    session: &mut Session<Parcel>,
    uids: &UidSet,
    flag: &Flag,
    on: bool,
) -> Result<Refused, Failure> {
    let mut refused = Refused::default();
    let mut taken = 0;
    let mut sets = vec![uids.clone()];
    while let Some(set) = sets.pop() {
        let failure = match session.flag(&set, flag, on).await {
            Ok(()) => {
                taken += set.len();
                continue;
            }
            Err(failure) if failure.broke() || matches!(failure.kind, Kind::Destination | Kind::Stopped) => {
                return Err(failure);
            }
            Err(failure) => failure,
        };
        refused.words = failure.words;
        if set.len() > 1 {
            let half = set.len() / 2;
            let (first, rest) = set.iter().enumerate().partition::<Vec<_>, _>(|(at, _)| (*at as u64) < half);
            let of = |part: Vec<(usize, u32)>| part.into_iter().map(|(_, uid)| uid).collect::<UidSet>();
            sets.extend([of(rest), of(first)]);
            continue;
        }
        refused.uids.extend(&set);
        if taken == 0 && refused.uids.len() >= ENOUGH {
            sets.iter().for_each(|set| refused.uids.extend(set));
            break;
        }
    }
    refused.for_all = taken == 0 && refused.uids.len() > 1;
    Ok(refused)
}
