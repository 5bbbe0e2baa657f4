//! The files of definitions in the state directory: replaced as a whole, 0600, durable. It refuses to leave
//! half of one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::config::Proposed;
use crate::failure::{Failure, Kind};

/// Neither its beginning nor its end is one that is read.
const NEW: &str = ".new";

/// Makes a file what it is to be.
pub(super) fn write(proposed: &Proposed) -> Result<(), Failure> {
    let written = match (proposed.file.parent(), &proposed.text) {
        (Some(directory), Some(text)) => replace(directory, &proposed.file, text),
        (Some(directory), None) => remove(directory, &proposed.file),
        (None, _) => Ok(()),
    };
    written.map_err(|e| trouble(&proposed.file, &e))
}

/// What is in a file; `None`: there is none.
pub(super) fn read(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(trouble(file, &e)),
    }
}

/// Removes what a write that was stopped left.
pub(super) fn clear(directory: &Path) -> Result<(), Failure> {
    let new = directory.join(NEW);
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(trouble(&new, &e)),
        _ => Ok(()),
    }
}

pub(super) fn trouble(file: &Path, error: &io::Error) -> Failure {
    let words = format!("{} cannot be used: {error}", file.display());
    Failure::new(Kind::Journal, words, "look at the state directory, its owner and its disk")
}

/// Puts a file in place as a whole; durable on return.
pub(super) fn replace(directory: &Path, file: &Path, text: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let new = directory.join(NEW);
    let mut opened = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()?;
    fs::rename(&new, file)?;
    File::open(directory)?.sync_all()
}

/// Removes a file, durably; one that is not there is no error.
pub(super) fn remove(directory: &Path, file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => File::open(directory)?.sync_all(),
    }
}
