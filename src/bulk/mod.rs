//! Lists of mailboxes as other systems write them: CSV in three formats, from octets to rows, with the place
//! of every mistake. It refuses a list as a whole if one row is wrong, and to repeat in a complaint what
//! stands in a field: with a separator too many that would be a piece of a password.

mod formats;
mod lines;

use zeroize::Zeroizing;

use crate::secret::Secret;

pub use formats::{Format, columns, read};

/// Rows that one list may have.
pub const ROWS: usize = 100_000;

/// What is wrong, and where in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub at: (usize, usize),
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

/// One value of a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Cell {
    /// The key of a definition.
    pub key: String,
    /// The value.
    pub value: Zeroizing<String>,
    /// Line and column, in characters from 1.
    pub at: (usize, usize),
}

/// One row: a definition to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Its line.
    pub line: usize,
    /// What is set, without secrets.
    pub cells: Vec<Cell>,
    /// The password at the source.
    pub password: Option<(Secret, (usize, usize))>,
    /// The password that a missing mailbox is made with.
    pub mailbox_password: Option<(Secret, (usize, usize))>,
    /// Keys whose values are not here because a mistake was told of them.
    pub told: Vec<String>,
}

impl Row {
    /// The place of a key; of a key that the row does not have, its beginning.
    pub fn place(&self, key: &str) -> (usize, usize) {
        let secret = match key {
            "source.password" => self.password.as_ref(),
            "new_mailbox.password" => self.mailbox_password.as_ref(),
            _ => None,
        };
        if let Some((_, at)) = secret {
            return *at;
        }
        // `source.server.port` is in the cell of `source.server`.
        let of = |cell: &&Cell| key == cell.key || key.starts_with(&format!("{}.", cell.key));
        self.cells.iter().find(of).map_or((self.line, 1), |cell| cell.at)
    }

    /// Whether a mistake was told of a key's value.
    pub fn has_told(&self, key: &str) -> bool {
        self.told.iter().any(|told| key == told || key.starts_with(&format!("{told}.")))
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.cells.iter().find(|cell| cell.key == key).map(|cell| cell.value.as_str())
    }
}
