//! What callers pass as descriptors: passwords and lists, which are read here, and files to upload or to write,
//! which are handed on. Of the former it refuses everything but regular files (a memfd is one), so that reading
//! waits for nobody, and more than was agreed on.

use std::fs::File;
use std::io::Seek;
use std::os::fd::OwnedFd;

use super::api::Error;
use crate::sealed;
use crate::secret::Secret;

/// Octets of a list.
const LIST: u64 = 64 << 20;
/// Octets of a password.
const PASSWORD: u64 = 64 << 10;

/// Passwords, each with its key.
pub(super) async fn secrets(keys: Vec<String>, files: Vec<OwnedFd>) -> Result<Vec<(String, Secret)>, Error> {
    if keys.len() != files.len() {
        return Err(refused("as many descriptors as passwords are needed"));
    }
    read(move || {
        let pairs = keys.into_iter().zip(files);
        pairs.map(|(key, file)| Ok((key, octets(file, PASSWORD)?))).collect()
    })
    .await
}

/// A list.
pub(super) async fn list(files: Vec<OwnedFd>) -> Result<Secret, Error> {
    let Ok([file]) = <[OwnedFd; 1]>::try_from(files) else {
        return Err(refused("one descriptor is needed, of the list"));
    };
    read(move || octets(file, LIST)).await
}

/// Files and pipes with their names for people.
pub(super) fn named(names: Vec<String>, files: Vec<OwnedFd>) -> Result<Vec<(String, File)>, Error> {
    if names.len() != files.len() || files.is_empty() {
        return Err(refused("as many descriptors as names are needed"));
    }
    let named = names.into_iter().zip(files);
    Ok(named.map(|(name, file)| (name.chars().take(200).collect(), File::from(file))).collect())
}

/// One file or pipe.
pub(super) fn one(files: Vec<OwnedFd>) -> Result<File, Error> {
    let Ok([file]) = <[OwnedFd; 1]>::try_from(files) else {
        return Err(refused("one descriptor is needed"));
    };
    Ok(File::from(file))
}

async fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(refused("it could not be read")))
}

fn octets(file: OwnedFd, most: u64) -> Result<Secret, Error> {
    let mut file = File::from(file);
    let unreadable = |e: std::io::Error| refused(&format!("what was passed cannot be read: {e}"));
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refused("what was passed is not a regular file"));
    }
    if metadata.len() > most {
        return Err(refused(&format!("what was passed has more than {most} octets")));
    }
    file.rewind().map_err(unreadable)?;
    let mut octets = sealed::read(file, metadata.len()).map_err(unreadable)?;
    Ok(Secret::new(std::mem::take(&mut *octets)))
}

fn refused(what: &str) -> Error {
    Error::Failed { what: what.to_owned(), mend: "pass regular files, as mailhaulctl does".to_owned() }
}
