//! Messages over which POP3 sessions broke. A server answers in order, so the one that was not answered is
//! the one; it is asked for after all others from then on, and given up when it breaks a session as its first one. It
//! refuses to remember more than a record has room for.

use std::collections::BTreeMap;

use crate::journal::SourceRecord;

/// A message is given up after so many broken sessions.
const STRIKES: u8 = 3;
/// So many are remembered; a server that breaks over more of them is given up as a whole.
const MOST: usize = 12;
/// Characters of what is remembered.
const LONGEST: usize = 300;

/// How many sessions broke over which message, by identity in hexadecimal.
pub(super) type Odd = BTreeMap<String, u8>;

fn key(id: u128) -> String {
    format!("{id:032x}")
}

/// A session broke while this one was awaited; `alone`: and nothing else, which counts twice. It may have been its turn when the
/// server ends its sessions anyway: the last strike is for [`broke_first`].
pub(super) fn broke(odd: &mut Odd, id: u128, alone: bool) {
    if odd.len() < MOST || odd.contains_key(&key(id)) {
        let strikes = odd.entry(key(id)).or_default();
        *strikes = strikes.saturating_add(1 + u8::from(alone)).min(STRIKES - 1).max(*strikes);
    }
}

/// A session broke over the first message that was asked for; `only`: there is no other. Returns whether that counts.
pub(super) fn broke_first(odd: &mut Odd, id: u128, only: bool) -> bool {
    let strikes = odd.get(&key(id)).copied().unwrap_or(0);
    let counts = only || strikes + 1 >= STRIKES;
    if counts && (odd.len() < MOST || odd.contains_key(&key(id))) {
        odd.insert(key(id), strikes.saturating_add(1));
    }
    counts
}

/// It is asked for after all others from now on.
pub(super) fn put_last(odd: &mut Odd, id: u128) {
    if odd.len() < MOST {
        odd.entry(key(id)).or_default();
    }
}

/// The server had no time for this one: the others come first, from now on. If they did, and this one did not come
/// all the same, that counts.
pub(super) fn put_off(odd: &mut Odd, id: u128) {
    if is_last(odd, id) {
        let strikes = odd.entry(key(id)).or_default();
        *strikes = strikes.saturating_add(1);
    } else {
        put_last(odd, id);
    }
}

/// A new run: what was given up is asked for once more, after all others.
pub(super) fn once_more(odd: &mut Odd) {
    odd.values_mut().for_each(|strikes| *strikes = (*strikes).min(STRIKES - 1));
}

/// It came, or is gone.
pub(super) fn forget(record: &mut SourceRecord, id: u128) {
    record.odd.remove(&key(id));
    record.odd_words.remove(&key(id));
}

/// Why it did not come the last time.
pub(super) fn remember(words: &mut BTreeMap<String, String>, id: u128, said: String) {
    if words.len() < MOST || words.contains_key(&key(id)) {
        words.insert(key(id), said.chars().take(LONGEST).collect());
    }
}

/// Whether it is asked for after all others.
pub(super) fn is_last(odd: &Odd, id: u128) -> bool {
    odd.contains_key(&key(id))
}

/// Why it is not asked for any more, if it is not.
pub(super) fn given_up(record: &SourceRecord, id: u128) -> Option<String> {
    let strikes = *record.odd.get(&key(id))?;
    let words = record.odd_words.get(&key(id)).cloned();
    (strikes >= STRIKES)
        .then(|| words.unwrap_or_else(|| "each session broke off when it was asked for".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_strikes_and_it_is_out() {
        let mut record = SourceRecord::default();
        for strikes in 1..=3 {
            assert_eq!(given_up(&record, 7), None, "{strikes}");
            broke(&mut record.odd, 7, false);
            assert!(is_last(&record.odd, 7) && !is_last(&record.odd, 8));
        }
        assert_eq!(given_up(&record, 7), None, "others came before it each time");
        remember(&mut record.odd_words, 7, "each session broke off: it said why".to_owned());
        assert!(broke_first(&mut record.odd, 7, false));
        assert!(given_up(&record, 7).is_some_and(|words| words.contains("it said why")));
        once_more(&mut record.odd);
        assert!(given_up(&record, 7).is_none() && is_last(&record.odd, 7));
        forget(&mut record, 7);
        assert_eq!(record, SourceRecord::default());
        for strikes in 0..=3 {
            assert_eq!(given_up(&record, 7), None, "{strikes}");
            put_off(&mut record.odd, 7);
        }
        assert!(given_up(&record, 7).is_some());
        forget(&mut record, 7);
        for id in 0..100 {
            broke(&mut record.odd, id, false);
            remember(&mut record.odd_words, id, "x".repeat(10_000));
        }
        assert_eq!((record.odd.len(), record.odd_words.len()), (MOST, MOST));
        assert!(record.odd_words.values().all(|words| words.len() == LONGEST));
        let mut record = SourceRecord::default();
        assert!(!broke_first(&mut record.odd, 7, false), "nothing is known of it");
        broke(&mut record.odd, 7, true);
        assert!(
            broke_first(&mut record.odd, 7, false) && given_up(&record, 7).is_some(),
            "alone it counts twice"
        );
    }
}
