//! The sets of UIDs that the journal keeps of a folder. It refuses to say what is in them.

use crate::message::Mark;

/// Which set of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is at the destination.
    Done,
    /// What was there before this run: a rollback leaves it.
    Before,
    /// What was at the destination under another name when it came, and was not brought again.
    Adopted,
    /// UIDs that what was brought has at a server.
    Placed,
    /// Those of before this run: a rollback leaves them.
    PlacedBefore,
    /// UIDs at a server that were there, and were found to be what came.
    Taken,
    /// The messages whose flags at the source are known.
    Looked,
    /// Those that had a flag at the source when it was looked at last.
    Was(Mark),
    /// Those that got a flag here in this run, because they got it at the source.
    On(Mark),
    /// Those that lost it.
    Off(Mark),
    /// Their UIDs at a server: of those that got it.
    OnThere(Mark),
    /// Of those that lost it.
    OffThere(Mark),
}

impl Side {
    pub(super) fn letter(self) -> char {
        match self {
            Side::Done => 'd',
            Side::Before => 'b',
            Side::Adopted => 'a',
            Side::Placed => 'p',
            Side::PlacedBefore => 'q',
            Side::Taken => 't',
            Side::Looked => 'l',
            // D, F, R, S and T of the Maildir in five alphabets.
            Side::Was(mark) => mark.letter(),
            Side::On(mark) => match mark {
                Mark::Draft => '1',
                Mark::Flagged => '2',
                Mark::Answered => '3',
                Mark::Seen => '4',
                Mark::Deleted => '5',
            },
            Side::Off(mark) => match mark {
                Mark::Draft => '6',
                Mark::Flagged => '7',
                Mark::Answered => '8',
                Mark::Seen => '9',
                Mark::Deleted => '0',
            },
            Side::OnThere(mark) => match mark {
                Mark::Draft => 'U',
                Mark::Flagged => 'V',
                Mark::Answered => 'W',
                Mark::Seen => 'X',
                Mark::Deleted => 'Y',
            },
            Side::OffThere(mark) => match mark {
                Mark::Draft => 'u',
                Mark::Flagged => 'v',
                Mark::Answered => 'w',
                Mark::Seen => 'x',
                Mark::Deleted => 'y',
            },
        }
    }
}
