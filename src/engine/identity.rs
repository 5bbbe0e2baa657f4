//! Which POP3 message is which, over sessions: by its UIDL where that is good for it, else by its headers and
//! size, else by all of its octets. It refuses a blank UIDL, one that stands twice in a listing, and UIDLs that are
//! message numbers: those would lose mail.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};

use crate::failure::Failure;
use crate::journal::Uidls;
use crate::pop3::{HEADER, Listed, Session, Wanted};

/// The messages of a listing with their identities.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// In the listing's order; `None`: the server gives neither a UIDL nor headers, so it has to be fetched to be known, and
    /// [`Copies`] tells its identity then.
    pub(super) ids: Vec<Option<u128>>,
    /// What is known of the server's UIDLs now.
    pub(super) uidls: Uidls,
    /// What had an identity by its headers, as long as UIDLs looked like numbers, and has one by its UIDL now: before and after.
    pub(super) renamed: Vec<(u128, u128)>,
}

/// The identity of each listed message. In another era of the account's each is another. `uidls`: what is known of the server's.
/// Messages for which `is_odd` are not asked for their headers: sessions broke over them.
///
/// # Errors
/// The connection failed; the message that was asked for then.
pub(super) async fn identify(
    session: &mut Session,
    listed: &[Listed],
    era: u64,
    uidls: Uidls,
    is_odd: impl Fn(&Listed) -> bool,
) -> Result<Identities, (u32, Failure)> {
    let in_era = |id: u128| match era {
        0 => id,
        _ => hash(&[b"era", &era.to_be_bytes(), &id.to_be_bytes()]),
    };
    let named: Vec<Option<u128>> = by_uidl(listed).into_iter().map(|id| id.map(in_era)).collect();
    let now = match uidls {
        Uidls::Names => Uidls::Names,
        _ if named.iter().all(Option::is_none) => uidls,
        _ if are_numbers(listed) => Uidls::Numbers,
        _ => Uidls::Names,
    };
    let by_head = |n: usize| now == Uidls::Numbers || named.get(n).is_none_or(Option::is_none);
    // What was known by its headers gets its name now.
    let asked = |n: usize, message: &Listed| (by_head(n) || uidls == Uidls::Numbers) && !is_odd(message);
    let unknown: Vec<&Listed> =
        listed.iter().enumerate().filter(|(n, m)| asked(*n, m)).map(|(_, m)| m).collect();
    let mut heads = by_heads(session, &unknown).await?;
    let mut found = Identities { uidls: now, ..Identities::default() };
    for (n, message) in listed.iter().enumerate() {
        let head = heads.remove(&message.number).map(in_era);
        let name = named.get(n).copied().flatten().filter(|_| !by_head(n));
        found.renamed.extend(head.zip(name));
        found.ids.push(name.or(head));
    }
    Ok(found)
}

/// Whether every UIDL is the number of its message, or its size: it says nothing then (RFC 1939, 7 wants a name for ever).
fn are_numbers(listed: &[Listed]) -> bool {
    let named: Vec<(&Listed, u64)> = listed
        .iter()
        .filter_map(|message| Some((message, message.uidl.as_deref()?)))
        .map(|(message, uidl)| (message, std::str::from_utf8(uidl).ok().and_then(|uidl| uidl.parse().ok())))
        .map(|(message, value)| (message, value.unwrap_or(u64::MAX)))
        .collect();
    let all = |same: fn(&Listed, u64) -> bool| named.iter().all(|(message, value)| same(message, *value));
    !named.is_empty()
        && (all(|message, value| value == u64::from(message.number))
            || all(|message, value| message.size == Some(value)))
        || (!listed.is_empty() && listed.iter().all(is_number_and_size))
}

/// `7-619`: number and size, with something else in between.
fn is_number_and_size(message: &Listed) -> bool {
    let (Some(uidl), Some(size)) = (&message.uidl, message.size) else { return false };
    let rest = uidl.strip_prefix(message.number.to_string().as_bytes());
    let between = rest.and_then(|rest| rest.strip_suffix(size.to_string().as_bytes()));
    between.is_some_and(|between| !between.is_empty() && !between.iter().any(u8::is_ascii_digit))
}

/// Whether UIDLs go up or down with the numbers of the messages, one by one, in decimal or hexadecimal, whatever stands around it.
/// Servers that name messages for ever do so too while nothing was deleted.
pub(super) fn follow_numbers(listed: &[Listed]) -> bool {
    let named: Vec<(i128, &[u8])> = listed
        .iter()
        .filter_map(|message| Some((i128::from(message.number), message.uidl.as_deref()?)))
        .collect();
    let Some((_, first)) = named.first().filter(|_| named.len() > 1) else { return false };
    let common = |same: &dyn Fn(&[u8]) -> usize| named.iter().map(|(_, uidl)| same(uidl)).min().unwrap_or(0);
    let before = common(&|uidl| uidl.iter().zip(*first).take_while(|(a, b)| a == b).count());
    let behind =
        common(&|uidl| uidl.iter().rev().zip(first.iter().rev()).take_while(|(a, b)| a == b).count());
    [10, 16].into_iter().any(|radix| {
        let value = |uidl: &[u8]| {
            let middle =
                uidl.get(before..uidl.len().checked_sub(behind)?).filter(|middle| middle.len() < 20)?;
            i128::from_str_radix(std::str::from_utf8(middle).ok()?, radix).ok()
        };
        let values: Option<Vec<(i128, i128)>> =
            named.iter().map(|(number, uidl)| Some((*number, value(uidl)?))).collect();
        values.is_some_and(|values| {
            let same = |of: fn(&(i128, i128)) -> i128| {
                values.windows(2).all(|two| match two {
                    [a, b] => of(a) == of(b),
                    _ => true,
                })
            };
            same(|(number, value)| value - number) || same(|(number, value)| value + number)
        })
    })
}

fn by_uidl(listed: &[Listed]) -> Vec<Option<u128>> {
    let mut seen: BTreeMap<&[u8], usize> = BTreeMap::new();
    for uidl in listed.iter().filter_map(|message| message.uidl.as_deref()) {
        *seen.entry(uidl).or_default() += 1;
    }
    let good = |uidl: &&[u8]| !uidl.trim_ascii().is_empty() && seen.get(uidl) == Some(&1);
    let name = |message: &Listed| message.uidl.as_deref().filter(good).map(|uidl| hash(&[b"uidl", uidl]));
    listed.iter().map(name).collect()
}

/// By headers and size; what the server does not give is missing.
async fn by_heads(
    session: &mut Session,
    messages: &[&Listed],
) -> Result<BTreeMap<u32, u128>, (u32, Failure)> {
    let mut found = BTreeMap::new();
    let asked: Vec<Wanted> = messages.iter().map(|message| wanted(message)).collect();
    let (heads, broken) = session.top(&asked, HEADER).await;
    if let Some((over, failure)) = broken {
        return Err((over, failure));
    }
    let mut copies: BTreeMap<u128, u64> = BTreeMap::new();
    for message in messages {
        let Some(Some(head)) = heads.get(&message.number) else { continue };
        let size = message.size.unwrap_or(0).to_be_bytes();
        let content = hash(&[b"content", &size, head]);
        // Two messages alike to the octet are two messages: the first, the second, and so on.
        let copy = copies.entry(content).or_default();
        found.insert(message.number, hash(&[b"copy", &content.to_be_bytes(), &copy.to_be_bytes()]));
        *copy += 1;
    }
    Ok(found)
}

/// A listed message, to be asked for.
pub(super) fn wanted(message: &Listed) -> Wanted {
    Wanted { number: message.number, size: message.size, uidl: message.uidl.clone() }
}

/// What stands for a message over which a session broke: its identity, or its place in the maildrop.
pub(super) fn slot(id: Option<u128>, number: u32, size: Option<u64>) -> u128 {
    id.unwrap_or_else(|| hash(&[b"slot", &number.to_be_bytes(), &size.unwrap_or(0).to_be_bytes()]))
}

/// Messages that are known by their octets alone, in the order of one session.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeMap<u128, u64>);

impl Copies {
    /// The identity of a message with that digest. Two messages alike to the octet are two messages.
    pub(super) fn identity(&mut self, digest: u128) -> u128 {
        let copy = self.0.entry(digest).or_default();
        let identity = hash(&[b"whole", &digest.to_be_bytes(), &copy.to_be_bytes()]);
        *copy += 1;
        identity
    }
}

/// 128 bits over parts that cannot run into each other.
pub(super) fn hash(parts: &[&[u8]]) -> u128 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(lines: &[(u32, u64, &str)]) -> Vec<Listed> {
        let of = |(number, size, uidl): &(u32, u64, &str)| Listed {
            number: *number,
            size: Some(*size),
            uidl: (!uidl.is_empty()).then(|| uidl.as_bytes().to_vec()),
        };
        lines.iter().map(of).collect()
    }

    #[test]
    fn a_number_is_no_name() {
        for (lines, numbers) in [
            (&[(1, 90, "1"), (2, 80, "2"), (3, 70, "3")][..], true),
            (&[(1, 90, "0001"), (2, 80, "0002")], true),
            (&[(1, 90, "90"), (2, 80, "80")], true),
            (&[(1, 90, "1")], true),
            (&[(1, 90, "1"), (2, 80, "3")], false),
            (&[(1, 90, "1"), (2, 80, "b")], false),
            (&[(1, 90, ""), (2, 80, "")], false),
            (&[], false),
        ] {
            assert_eq!(are_numbers(&listed(lines)), numbers, "{lines:?}");
        }
    }

    #[test]
    fn names_are_single_and_not_blank() {
        let ids = by_uidl(&listed(&[(1, 9, "a"), (2, 9, "b"), (3, 9, "a"), (4, 9, " "), (5, 9, "")]));
        assert_eq!(ids.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, false, false]);
    }
}
