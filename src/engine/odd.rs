//! Messages over which POP3 sessions broke. A server answers in order, so the one that was not answered is
//! the one; it is asked for after all others from then on, and given up when it broke three sessions, or one of them alone. It
//! refuses to remember more than a record has room for.

use std::collections::BTreeMap;

/// A message is given up after so many broken sessions.
const STRIKES: u8 = 3;
/// So many are remembered; a server that breaks over more of them is given up as a whole.
const MOST: usize = 12;

/// How many sessions broke over which message, by identity in hexadecimal.
pub(super) type Odd = BTreeMap<String, u8>;

fn key(id: u128) -> String {
    format!("{id:032x}")
}

/// A session broke while this one was awaited; `alone`: and nothing else, which counts twice.
pub(super) fn broke(odd: &mut Odd, id: u128, alone: bool) {
    if odd.len() < MOST || odd.contains_key(&key(id)) {
        let strikes = odd.entry(key(id)).or_default();
        *strikes = strikes.saturating_add(1 + u8::from(alone));
    }
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
        broke(odd, id, false);
    } else {
        put_last(odd, id);
    }
}

/// It came, or is gone.
pub(super) fn forget(odd: &mut Odd, id: u128) {
    odd.remove(&key(id));
}

/// Whether it is asked for after all others.
pub(super) fn is_last(odd: &Odd, id: u128) -> bool {
    odd.contains_key(&key(id))
}

/// Why it is not asked for any more, if it is not.
pub(super) fn given_up(odd: &Odd, id: u128) -> Option<String> {
    let strikes = *odd.get(&key(id))?;
    (strikes >= STRIKES).then(|| "each session broke off when it was asked for".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_strikes_and_it_is_out() {
        let mut odd = Odd::new();
        for strikes in 1..=3 {
            assert_eq!(given_up(&odd, 7), None, "{strikes}");
            broke(&mut odd, 7, false);
            assert!(is_last(&odd, 7) && !is_last(&odd, 8));
        }
        assert!(given_up(&odd, 7).is_some_and(|words| words.contains("each session")));
        forget(&mut odd, 7);
        assert!(!is_last(&odd, 7));
        for strikes in 0..=3 {
            assert_eq!(given_up(&odd, 7), None, "{strikes}");
            put_off(&mut odd, 7);
        }
        assert!(given_up(&odd, 7).is_some());
        forget(&mut odd, 7);
        for id in 0..100 {
            broke(&mut odd, id, false);
        }
        assert_eq!(odd.len(), MOST);
        let mut odd = Odd::new();
        broke(&mut odd, 7, false);
        broke(&mut odd, 7, true);
        assert!(given_up(&odd, 7).is_some(), "alone it counts twice");
    }
}
