//! A server's response as this room uses it: owned, and without the parser's types, which end here. It
//! refuses to interpret: an item that was asked for and is not there stays `None`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use async_imap::imap_proto::rfc4315::UidSetMember;
use async_imap::imap_proto::{AttributeValue, Capability, MailboxDatum, Outcome, ResponseCode};
use async_imap::imap_proto::{Response as Parsed, Status as ParsedStatus};

use super::date;
use super::items::Marks;
use crate::message::Flags;

/// One response.
#[derive(Debug)]
pub(super) enum Response {
    /// The end of a command.
    Done { tag: String, ok: bool, said: Said },
    /// An untagged status response.
    Status { status: Status, said: Said },
    /// The server waits for more of a command; its text may be a challenge.
    Continue(String),
    /// CAPABILITY
    Capabilities(BTreeSet<String>),
    /// EXISTS
    Exists(u32),
    /// EXPUNGE
    Expunge,
    /// FETCH
    Fetch(Box<Item>),
    /// Whatever else.
    Other,
}

/// What an untagged status response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    PreAuth,
    Bye,
    /// NO and BAD: warnings.
    Trouble,
}

/// Ranges of UIDs, first and last, in the order in which the server tells them.
pub(super) type Ranges = Vec<(u32, u32)>;

/// The text and the codes of a status response.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Text, with a code that the parser does not know still in it.
    pub(super) text: String,
    pub(super) capabilities: Option<BTreeSet<String>>,
    pub(super) uidvalidity: Option<u32>,
    pub(super) uidnext: Option<u32>,
    /// PERMANENTFLAGS
    pub(super) permanent: Option<Vec<String>>,
    /// APPENDUID (RFC 4315): the folder's UIDVALIDITY, and the new UIDs in order as ranges.
    pub(super) appended: Option<(u32, Ranges)>,
    /// COPYUID (RFC 4315): the other folder's UIDVALIDITY, and the UIDs here and there in order as ranges.
    pub(super) copied: Option<(u32, Ranges, Ranges)>,
    /// TRYCREATE: there is no such folder.
    pub(super) try_create: bool,
    /// READ-ONLY: the folder opened for reading only.
    pub(super) read_only: bool,
    pub(super) modseq: Option<u64>,
    /// A command ended in BAD.
    pub(super) bad: bool,
}

/// What a FETCH response says of one message.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) uid: Option<u32>,
    pub(super) size: Option<u32>,
    pub(super) flags: Option<Flags>,
    pub(super) received: Option<i64>,
    /// X-GM-MSGID: the same for each of a message's labels.
    pub(super) gmail: Option<u64>,
    /// A token for a diverted body, or a short body itself.
    pub(super) body: Option<Vec<u8>>,
    /// Where that begins in the message, if it is a part of it (RFC 3501, 7.4.2: `BODY[]<n>`).
    pub(super) offset: Option<u32>,
    /// What its plain form does not show.
    pub(super) marks: Marks,
}

impl Response {
    pub(super) fn read(parsed: &Parsed<'_>) -> Response {
        match parsed {
            Parsed::Done { tag, status, outcome } => {
                let bad = *status == ParsedStatus::Bad;
                let said = Said { bad, ..said(outcome) };
                Response::Done { tag: tag.0.clone(), ok: *status == ParsedStatus::Ok, said }
            }
            Parsed::Data { status, outcome } => {
                let status = match status {
                    ParsedStatus::Ok => Status::Ok,
                    ParsedStatus::PreAuth => Status::PreAuth,
                    ParsedStatus::Bye => Status::Bye,
                    _ => Status::Trouble,
                };
                Response::Status { status, said: said(outcome) }
            }
            Parsed::Continue(outcome) => Response::Continue(said(outcome).text),
            Parsed::Capabilities(list) => Response::Capabilities(names(list)),
            Parsed::MailboxData(MailboxDatum::Exists(count)) => Response::Exists(*count),
            Parsed::Expunge(_) => Response::Expunge,
            Parsed::Fetch(_, attributes) => Response::Fetch(Box::new(item(attributes))),
            _ => Response::Other,
        }
    }
}

fn said(outcome: &Outcome<'_>) -> Said {
    let mut said =
        Said { text: outcome.information.as_deref().unwrap_or_default().to_owned(), ..Said::default() };
    match &outcome.code {
        Some(ResponseCode::Capabilities(list)) => said.capabilities = Some(names(list)),
        Some(ResponseCode::UidValidity(value)) => said.uidvalidity = Some(*value),
        Some(ResponseCode::UidNext(value)) => said.uidnext = Some(*value),
        Some(ResponseCode::TryCreate) => said.try_create = true,
        Some(ResponseCode::ReadOnly) => said.read_only = true,
        Some(ResponseCode::PermanentFlags(list)) => {
            said.permanent = Some(list.iter().map(ToString::to_string).collect());
        }
        Some(ResponseCode::AppendUid(validity, set)) => said.appended = Some((*validity, ranges(set))),
        Some(ResponseCode::CopyUid(validity, here, there)) => {
            said.copied = Some((*validity, ranges(here), ranges(there)));
        }
        Some(ResponseCode::HighestModSeq(value)) => said.modseq = Some(*value),
        _ => {}
    }
    said.uidvalidity = said.uidvalidity.or_else(|| long_uidvalidity(&said.text));
    said
}

/// Some servers give UIDVALIDITY more than the 32 bits that it has (RFC 3501, 9: nz-number). It is only ever compared with itself.
pub(super) fn uidvalidity(value: u64) -> u32 {
    let folded = (value ^ (value >> 32)) & u64::from(u32::MAX);
    u32::try_from(folded).ok().filter(|folded| *folded > 0 || value == 0).unwrap_or(u32::MAX)
}

/// A UIDVALIDITY that the parser does not know for one.
fn long_uidvalidity(text: &str) -> Option<u32> {
    let code = text.strip_prefix('[')?.split(']').next()?;
    let (name, value) = code.split_once(' ')?;
    if !name.eq_ignore_ascii_case("UIDVALIDITY") {
        return None;
    }
    let value = value.trim();
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    // What no number has room for still is the same or not.
    digits.then(|| value.parse().map_or_else(|_| crc32fast::hash(value.as_bytes()).max(1), uidvalidity))
}

fn ranges(set: &[UidSetMember]) -> Ranges {
    let range = |member: &UidSetMember| match member {
        UidSetMember::Uid(uid) => (*uid, *uid),
        // Ranges may be written either way round (RFC 4315, 3).
        UidSetMember::UidRange(range) => {
            ((*range.start()).min(*range.end()), (*range.start()).max(*range.end()))
        }
    };
    set.iter().map(range).collect()
}

/// The UIDs of ranges in order, if there are `count` of them.
pub(super) fn every(ranges: &Ranges, count: u64) -> Option<Vec<u32>> {
    let all: u64 = ranges.iter().map(|(first, last)| u64::from(*last) - u64::from(*first) + 1).sum();
    (all == count).then(|| ranges.iter().flat_map(|(first, last)| *first..=*last).collect())
}

fn item(attributes: &[AttributeValue<'_>]) -> Item {
    let mut item = Item::default();
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(value) if *value > 0 => item.uid = Some(*value),
            AttributeValue::GmailMsgId(value) => item.gmail = Some(*value),
            AttributeValue::Rfc822Size(value) => item.size = Some(*value),
            AttributeValue::Flags(list) => item.flags = Some(flags(list)),
            AttributeValue::InternalDate(text) => item.received = date::parse(text),
            AttributeValue::BodySection { section: None, index, data: Some(data) } => {
                (item.body, item.offset) = (Some(data.to_vec()), *index);
            }
            AttributeValue::Rfc822(Some(data)) => item.body = Some(data.to_vec()),
            _ => {}
        }
    }
    item
}

fn flags(list: &[Cow<'_, str>]) -> Flags {
    let mut flags = Flags::default();
    for flag in list {
        match flag.strip_prefix('\\').map(str::to_ascii_lowercase).as_deref() {
            None => flags.keywords.push(flag.to_string()),
            Some("seen") => flags.seen = true,
            Some("answered") => flags.answered = true,
            Some("flagged") => flags.flagged = true,
            Some("deleted") => flags.deleted = true,
            Some("draft") => flags.draft = true,
            Some("recent") => flags.recent = true,
            // A system flag of this server alone means nothing elsewhere (RFC 3501, 2.3.2).
            Some(_) => {}
        }
    }
    flags
}

fn names(list: &[Capability<'_>]) -> BTreeSet<String> {
    list.iter()
        .map(|capability| match capability {
            Capability::Imap4rev1 => "IMAP4REV1".to_owned(),
            Capability::Auth(mechanism) => format!("AUTH={}", mechanism.to_ascii_uppercase()),
            Capability::Atom(name) => name.to_ascii_uppercase(),
        })
        .collect()
}
