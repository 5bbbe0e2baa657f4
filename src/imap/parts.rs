//! One message part by part: servers that fail over a whole message may give it so. A part that is shorter than what was
//! asked for is no end: that is an empty part, or the announced size. It refuses a message that is shorter than
//! announced: nobody can say then whether the end or the server was reached.

use super::command::fetch_part;
use super::fetch::{Event, Fetch, Fetched};
use super::response::Item;
use crate::failure::Failure;
use crate::message::{Flags, Parcel, UidSet};

/// A part has so many bytes, and a message at most what RFC822.SIZE can say.
const PART: u64 = 64 * 1024;
const LONGEST: u64 = u32::MAX as u64;
/// More parts than this and one for each so many bytes are not asked for.
const PARTS: u64 = 16;
const SMALLEST: u64 = 1024;

/// What came with the parts.
#[derive(Default)]
struct Whole {
    flags: Flags,
    flags_left: bool,
    received: Option<i64>,
}

impl<T: From<Parcel> + Send + 'static> Fetch<'_, T> {
    /// One message in parts. `false`: it does not come so either.
    pub(super) async fn in_parts(&mut self, uid: u32) -> Result<bool, Failure> {
        self.flying.push_back(super::belief::Asked::new(String::new(), UidSet::from_iter([uid])));
        self.inline += 1;
        let piece = self.inline;
        self.parcel(Parcel::Begin(piece)).await?;
        self.session.transport().join_bodies(true);
        let parts = self.parts(uid).await;
        self.session.transport().join_bodies(false);
        let whole = match parts {
            Ok(whole) => whole,
            Err(failure) => {
                let _ = self.parcel(Parcel::Abandon).await;
                return Err(failure);
            }
        };
        self.flying.clear();
        let Some(Whole { flags, flags_left, received }) = whole else {
            self.parcel(Parcel::Abandon).await?;
            return Ok(false);
        };
        self.parcel(Parcel::End).await?;
        self.out.push_back(Event::Message(Fetched {
            uid,
            flags,
            received,
            piece,
            flags_left,
            bare: None,
            look: None,
        }));
        Ok(true)
    }

    async fn parts(&mut self, uid: u32) -> Result<Option<Whole>, Failure> {
        let size = self.size(uid).map(u64::from);
        let most = PARTS + size.unwrap_or(LONGEST) / SMALLEST;
        let mut whole = Whole::default();
        let mut offset = 0;
        for _ in 0..most {
            let (ok, items) = self.ask(&fetch_part(uid, offset, PART)).await?;
            let came = self.session.transport().came();
            if !ok || self.is_in_doubt() {
                return Ok(None);
            }
            let mine: Vec<Item> = items.into_iter().filter(|item| item.uid == Some(uid)).collect();
            let bodies = mine.iter().filter(|item| item.body.is_some()).count();
            if bodies != 1 || came.len() > 1 || mine.iter().any(|item| item.marks.twice) {
                return Ok(None);
            }
            let (mut part, mut at) = (None, None);
            for item in mine {
                whole.flags_left |= item.marks.flags_left;
                whole.flags = item.flags.unwrap_or(std::mem::take(&mut whole.flags));
                whole.received = item.received.or(whole.received);
                if item.body.is_some() {
                    (part, at) = (item.body, item.offset);
                }
            }
            let Some(data) = part else { return Ok(None) };
            let inline = self.session.transport().body_of(&data).is_none();
            let length = match came.first() {
                // A short part may come as a quoted string.
                None if inline => data.len() as u64,
                Some(came) if !inline => came.length,
                _ => return Ok(None),
            };
            if inline && length > 0 {
                self.parcel(Parcel::Data(data)).await?;
            }
            let first = offset == 0;
            if at.map(u64::from) != Some(offset) || length > PART {
                // A server that knows no parts gives all of it at once.
                return Ok((first && size == Some(length)).then_some(whole));
            }
            offset += length;
            if size == Some(offset) {
                return Ok(Some(whole));
            }
            if length == 0 {
                // More than was announced is no trouble: sizes are hints.
                return Ok((offset > 0 && size.is_none_or(|size| size < offset)).then_some(whole));
            }
            if offset > LONGEST {
                return Ok(None);
            }
        }
        Ok(None)
    }
}
