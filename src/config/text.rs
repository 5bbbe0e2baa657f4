//! A file's text, and the way from an offset in it to a line and a column. It refuses everything but
//! regular files with UTF-8 in them.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::complaint::Complaint;

/// A file that was read.
pub(super) struct Text {
    /// As complaints show it.
    pub(super) file: PathBuf,
    /// Where relative paths in it start; absolute.
    pub(super) directory: PathBuf,
    /// What stands in it.
    pub(super) text: String,
    /// Whether others than its owner may read it.
    pub(super) open_to_others: bool,
    starts: Vec<usize>,
}

impl Text {
    /// Text that did not come from a file, or already did.
    pub(super) fn new(file: &Path, text: String) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
        Text { file: file.to_path_buf(), directory, text, open_to_others: false, starts }
    }

    /// Reads a regular file.
    pub(super) fn read(file: &Path) -> Result<Self, Complaint> {
        let unreadable = |error: std::io::Error| {
            let mend = match error.kind() {
                std::io::ErrorKind::NotFound => "make it, or name another one",
                _ => "let the daemon's user read it",
            };
            complaint(file, 1, 1, format!("cannot be read: {}", reason(&error)), mend)
        };
        // O_NONBLOCK: opening a FIFO must not wait for a writer.
        let mut opened = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(file)
            .map_err(unreadable)?;
        let metadata = opened.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(complaint(file, 1, 1, "is not a regular file".to_owned(), "put a file there"));
        }
        let mut octets = Vec::new();
        opened.read_to_end(&mut octets).map_err(unreadable)?;
        let mut text = Text::from_octets(file, octets)?;
        text.open_to_others = metadata.permissions().mode() & 0o077 != 0;
        Ok(text)
    }

    /// What stands in a file, as octets.
    pub(super) fn from_octets(file: &Path, octets: Vec<u8>) -> Result<Self, Complaint> {
        String::from_utf8(octets).map(|text| Text::new(file, text)).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let start = error.as_bytes().get(..good).unwrap_or_default();
            let before = Text::new(file, String::from_utf8_lossy(start).into_owned());
            let (line, column) = before.place(good);
            complaint(file, line, column, "is not UTF-8 here".to_owned(), "save the file as UTF-8")
        })
    }

    /// Line and column, both from 1; the column counts characters.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.as_bytes().get(start..offset).unwrap_or_default();
        // Octets that do not continue a character start one.
        (line, 1 + column.iter().filter(|octet| **octet & 0xC0 != 0x80).count())
    }
}

/// About a file as a whole, or one place in it.
fn complaint(file: &Path, line: usize, column: usize, what: String, mend: &str) -> Complaint {
    let (key, mend) = ("(file)".to_owned(), mend.to_owned());
    Complaint { file: file.to_path_buf(), line, column, key, what, mend }
}

/// An operating system error in its own words, without the number that nobody looks up.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = Text::new(Path::new("x"), "a = 1\né = 가나 x\n".to_owned());
        assert_eq!(text.place(0), (1, 1));
        assert_eq!(text.place(6), (2, 1));
        let x = text.text.find('x').unwrap();
        assert_eq!(text.place(x), (2, 8));
        assert_eq!(text.place(9999), (3, 1));
    }

    #[test]
    fn not_utf8_is_shown_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bad.toml");
        std::fs::write(&file, b"a = 1\nb = \"\xff\"\n").unwrap();
        let complaint = Text::read(&file).err().unwrap();
        assert_eq!((complaint.line, complaint.column), (2, 6));
        assert!(Text::read(directory.path()).err().unwrap().what.contains("regular"));
    }
}
