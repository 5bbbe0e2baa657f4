//! Where an account stands in a folder of a server. It refuses to be believed when the folder has another
//! UIDVALIDITY.

use super::records::{FolderRecord, SourceRecord};

/// Where an account stands in a folder of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The folder's UIDVALIDITY; 0: nothing is known.
    pub there: u32,
    /// From this UID on there may be what was not recorded.
    pub floor: u32,
    /// Something may have landed that was not recorded.
    pub open: bool,
}

impl SourceRecord {
    /// Where the account stands in the one folder that it has.
    pub fn standing(&self) -> Standing {
        Standing { there: self.there, floor: self.floor, open: self.open }
    }

    /// It stands elsewhere now.
    pub fn stand(&mut self, standing: Standing) {
        (self.there, self.floor) = (standing.there, standing.floor);
    }
}

impl FolderRecord {
    /// Where the account stands in this folder.
    pub fn standing(&self) -> Standing {
        Standing { there: self.there, floor: self.floor, open: self.open }
    }

    /// It stands elsewhere now.
    pub fn stand(&mut self, standing: Standing) {
        (self.there, self.floor) = (standing.there, standing.floor);
    }
}
