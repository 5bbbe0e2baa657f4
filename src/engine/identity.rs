//! Which POP3 message is which, over sessions: by its UIDL where that is good for it, else by its headers and
//! size, else by all of its octets. It refuses a blank UIDL and one that stands twice in a listing: those
//! would lose mail.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};

use crate::failure::Failure;
use crate::pop3::{Listed, Session};

/// Header octets that make an identity.
const HEAD: usize = 32 * 1024;

/// The identity of each listed message, in the listing's order; `None`: the server gives neither a UIDL nor
/// headers, so it has to be fetched to be known, and [`Copies`] tells its identity then.
/// In another era of the account's each is another.
pub(super) async fn identify(
    session: &mut Session,
    listed: &[Listed],
    era: u64,
) -> Result<Vec<Option<u128>>, Failure> {
    let mut identities = names(session, listed).await?;
    for id in identities.iter_mut().flatten().filter(|_| era > 0) {
        *id = hash(&[b"era", &era.to_be_bytes(), &id.to_be_bytes()]);
    }
    Ok(identities)
}

async fn names(session: &mut Session, listed: &[Listed]) -> Result<Vec<Option<u128>>, Failure> {
    let mut seen: BTreeMap<&[u8], usize> = BTreeMap::new();
    for message in listed {
        if let Some(uidl) = message.uidl.as_deref() {
            *seen.entry(uidl).or_default() += 1;
        }
    }
    let good = |message: &Listed| {
        message
            .uidl
            .as_deref()
            .filter(|uidl| {
                !uidl.iter().all(u8::is_ascii_whitespace) && seen.get(uidl).is_none_or(|count| *count == 1)
            })
            .map(|uidl| hash(&[b"uidl", uidl]))
    };
    let mut identities: Vec<Option<u128>> = listed.iter().map(good).collect();
    let unknown: Vec<u32> =
        listed.iter().zip(&identities).filter(|(_, id)| id.is_none()).map(|(m, _)| m.number).collect();
    if unknown.is_empty() {
        return Ok(identities);
    }
    let heads: BTreeMap<u32, Option<Vec<u8>>> = session.top(&unknown, HEAD).await?.into_iter().collect();
    let mut copies: BTreeMap<u128, u64> = BTreeMap::new();
    for (message, identity) in listed.iter().zip(&mut identities) {
        if identity.is_some() {
            continue;
        }
        let Some(Some(head)) = heads.get(&message.number) else { continue };
        let size = message.size.unwrap_or(0).to_be_bytes();
        let content = hash(&[b"content", &size, head]);
        // Two messages alike to the octet are two messages: the first, the second, and so on.
        let copy = copies.entry(content).or_default();
        *identity = Some(hash(&[b"copy", &content.to_be_bytes(), &copy.to_be_bytes()]));
        *copy += 1;
    }
    Ok(identities)
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
fn hash(parts: &[&[u8]]) -> u128 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}
