//! The octets of messages at the source, as fingerprints: they pass through and are not kept. It refuses to
//! wait for a message longer than its connection does.

use std::collections::BTreeMap;

use crate::destination::fingerprint::{Fingerprint, Print};
pub(super) use crate::destination::server::all_prints as imap;
use crate::destination::server::printer;
use crate::failure::{Failure, Kind};
use crate::pop3;

fn ended(_: tokio::task::JoinError) -> Failure {
    Failure::new(Kind::Protocol, "the comparison ended unexpectedly", "try again")
}

/// By message number; what the server does not give is missing.
///
/// # Errors
/// The connection failed.
pub(super) async fn pop3(
    session: &mut pop3::Session,
    messages: &[pop3::Wanted],
) -> Result<BTreeMap<u64, Print>, Failure> {
    let (sink, prints) = printer(Fingerprint::default);
    let retrieval = session.retrieve(messages, None, &sink).await;
    drop(sink);
    let prints = prints.await.map_err(ended)?;
    match retrieval.broken {
        Some(ended) => Err(ended.failure),
        None => Ok(prints),
    }
}
