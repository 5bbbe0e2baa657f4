//! The files: each replaced as a whole, and many of them with one step to the disk. It refuses to follow
//! what is not a regular file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A sealed secret is not longer; octets.
const LONGEST: u64 = 1 << 20;
/// So many files and no more are brought to the disk one by one; then all at once.
const FEW: usize = 8;

/// What a file is called before it is in place.
const NEW: &str = ".new";

/// Makes the directory, for its owner alone. What was never put in place there goes.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().ends_with(NEW.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What is in a file; `None`: there is none.
pub(super) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let opened = match OpenOptions::new().read(true).custom_flags(flags).open(file) {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut octets = Vec::new();
    opened.take(LONGEST).read_to_end(&mut octets)?;
    Ok(Some(octets))
}

/// When a file was written, in milliseconds since 1970; `None`: there is none.
pub(super) fn written_at(file: &Path) -> io::Result<Option<i64>> {
    let written = match fs::symlink_metadata(file) {
        Ok(metadata) => metadata.modified()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Files that are to be replaced together, or not at all.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: Vec<(PathBuf, PathBuf, File)>,
    written: Vec<(PathBuf, PathBuf)>,
}

impl Batch {
    /// Writes a file beside the one that it will replace.
    pub(super) fn put(&mut self, file: PathBuf, octets: &[u8]) -> io::Result<()> {
        let mut name = file.clone().into_os_string();
        name.push(NEW);
        let new = PathBuf::from(name);
        let mut opened = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&new)?;
        let written = opened.write_all(octets);
        if self.files.len() < FEW {
            self.files.push((new, file, opened));
        } else {
            self.written.push((new, file));
        }
        written
    }

    /// Brings everything to the disk, then puts it in place.
    pub(super) fn commit(mut self, directory: &Path) -> io::Result<()> {
        if self.written.is_empty() {
            for (_, _, file) in &self.files {
                file.sync_all()?;
            }
        } else {
            nix::unistd::syncfs(File::open(directory)?)?;
        }
        for (new, file) in self.files.iter().map(|(new, file, _)| (new, file)) {
            fs::rename(new, file)?;
        }
        for (new, file) in &self.written {
            fs::rename(new, file)?;
        }
        (self.files, self.written) = (Vec::new(), Vec::new());
        sync(directory)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for new in self.files.iter().map(|(new, ..)| new).chain(self.written.iter().map(|(new, _)| new)) {
            let _ = fs::remove_file(new);
        }
    }
}

/// Removes files; those that are not there are no error.
pub(super) fn remove(directory: &Path, files: impl Iterator<Item = PathBuf>) -> io::Result<()> {
    let mut removed = false;
    for file in files {
        match fs::remove_file(&file) {
            Ok(()) => removed = true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    if removed { sync(directory) } else { Ok(()) }
}

/// Makes names durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
