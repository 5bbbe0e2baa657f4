//! The sets of UIDs that the journal keeps of a folder. It refuses to say what is in them.

use crate::message::{Flag, Keyword, Mark};

/// Which set of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Of both, UIDs of messages that had other UIDs at the source.
    Loose,
    /// The messages whose flags at the source are known.
    Looked,
    /// What became of one flag.
    Flag(Turn, Flag),
}

/// What became of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Messages that had it at the source when it was looked at last.
    Was,
    /// Those that got it here in this run, because they got it at the source.
    On,
    /// Those that lost it.
    Off,
    /// Their UIDs at a server: of those that got it.
    OnThere,
    /// Of those that lost it.
    OffThere,
}

impl Turn {
    /// A letter each for D, F, R, S and T of the Maildir, and one for keywords, which stand behind it.
    fn letters(self) -> [char; 6] {
        match self {
            Turn::Was => ['D', 'F', 'R', 'S', 'T', 'k'],
            Turn::On => ['1', '2', '3', '4', '5', 'n'],
            Turn::Off => ['6', '7', '8', '9', '0', 'o'],
            Turn::OnThere => ['U', 'V', 'W', 'X', 'Y', 'N'],
            Turn::OffThere => ['u', 'v', 'w', 'x', 'y', 'O'],
        }
    }

    fn system(self, mark: Mark) -> char {
        let [draft, flagged, answered, seen, deleted, _] = self.letters();
        match mark {
            Mark::Draft => draft,
            Mark::Flagged => flagged,
            Mark::Answered => answered,
            Mark::Seen => seen,
            Mark::Deleted => deleted,
        }
    }

    /// What the names of sets for keywords begin with.
    pub(super) fn keywords(self) -> String {
        let [.., keyword] = self.letters();
        format!("{keyword}:")
    }
}

impl Side {
    /// Its name within a key; no two have the same, and none has a slash.
    pub(super) fn name(&self) -> String {
        match self {
            Side::Done => "d".to_owned(),
            Side::Before => "b".to_owned(),
            Side::Adopted => "a".to_owned(),
            Side::Placed => "p".to_owned(),
            Side::PlacedBefore => "q".to_owned(),
            Side::Taken => "t".to_owned(),
            Side::Loose => "g".to_owned(),
            Side::Looked => "l".to_owned(),
            Side::Flag(turn, Flag::System(mark)) => turn.system(*mark).to_string(),
            // No keyword has a per cent sign.
            Side::Flag(turn, Flag::Keyword(word)) => {
                format!("{}{}", turn.keywords(), word.as_str().to_ascii_lowercase().replace('/', "%"))
            }
        }
    }
}

/// The keyword in the name of a set, behind what [`Turn::keywords`] says.
pub(super) fn keyword(name: &str) -> Option<Keyword> {
    Keyword::new(&name.replace('%', "/"))
}
