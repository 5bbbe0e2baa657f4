//! What `mailhaulctl` packs for the daemon, with the caller's rights: a directory (a Maildir, a program's folders, single
//! messages), all its own directories first, so that whoever reads knows its layout; or files that were named one by
//! one. Links are not followed. It refuses to read what is known by its name to be no mail: that goes as a name alone.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::kinds;
use super::sort::{HEAD, Sort, sort};
use super::tar::{FILES, KEYWORDS_FILE, TREE};
use super::tar_writer::{DIRECTORY, FIFO, LINK, TarWriter};

/// Levels of directories that are entered.
const DEEPEST: usize = 64;
/// Directories of one tree.
const DIRECTORIES: usize = 200_000;

/// Whether a file is one message, by its name and its first bytes: many of those are packed together.
///
/// # Errors
/// It cannot be read.
pub fn is_single_message(path: &Path) -> io::Result<bool> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut head = Vec::new();
    opened(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(matches!(sort(&head, &name), Sort::Message(_) | Sort::Emlx))
}

/// Packs files that somebody named.
///
/// # Errors
/// One of them cannot be read, or nobody takes what is written.
pub fn pack_files(files: &[PathBuf], out: impl Write) -> io::Result<()> {
    let mut lost = Lost::default();
    let mut tar = TarWriter::new(io::BufWriter::with_capacity(256 * 1024, out));
    tar.mark(FILES)?;
    for path in files {
        let opened = opened(path).and_then(|file| Ok((file.metadata()?, file)));
        let Some((metadata, mut file)) = lost.unless(path, opened) else { continue };
        tar.file(&path.to_string_lossy(), metadata.len(), metadata.mtime(), &mut file)
            .map_err(|e| of(path, e))?;
    }
    tar.end()?;
    lost.finish()
}

/// Packs the directory at `root`.
///
/// # Errors
/// It cannot be read, has too many directories, or nobody takes what is written.
pub fn pack_directory(root: &Path, out: impl Write) -> io::Result<()> {
    let mut tar = TarWriter::new(io::BufWriter::with_capacity(256 * 1024, out));
    tar.mark(TREE)?;
    let mut lost = Lost::default();
    let mut directories = vec![(root.to_owned(), String::new())];
    let mut links = Vec::new();
    let mut at = 0;
    while let Some((directory, name)) = directories.get(at).cloned() {
        at += 1;
        if directories.len() > DIRECTORIES || name.split('/').count() > DEEPEST {
            return Err(io::Error::other(format!(
                "it has more than {DIRECTORIES} directories, or too deep ones"
            )));
        }
        let mut below = Vec::new();
        let names = entries(&directory, name.is_empty());
        // Without the directory itself there is nothing to pack.
        let names = if name.is_empty() { Some(names?) } else { lost.unless(&directory, names) };
        for entry in names.unwrap_or_default() {
            let path = directory.join(&entry);
            let own = format!("{name}{}", shown(&entry));
            match lost.unless(&path, sort_of(&path)).flatten() {
                Some(b'5') => below.push((path, format!("{own}/"))),
                Some(LINK) => links.push(own),
                _ => {}
            }
        }
        below.sort();
        directories.extend(below);
    }
    for (_, name) in directories.iter().filter(|(_, name)| !name.is_empty()) {
        tar.without_content(name, DIRECTORY)?;
    }
    for name in links {
        tar.without_content(&name, LINK)?;
    }
    for (directory, name) in &directories {
        pack_files_of(&mut tar, directory, name, &mut lost)?;
    }
    tar.end()?;
    lost.finish()
}

/// What cannot be read: the rest is packed all the same.
#[derive(Debug, Default)]
struct Lost {
    first: Option<io::Error>,
    more: u64,
}

impl Lost {
    fn unless<T>(&mut self, path: &Path, read: io::Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(e) => {
                match self.first {
                    Some(_) => self.more += 1,
                    None => self.first = Some(of(path, e)),
                }
                None
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match (self.first, self.more) {
            (None, _) => Ok(()),
            (Some(first), 0) => Err(first),
            (Some(first), more) => {
                Err(io::Error::new(first.kind(), format!("{first} (and {more} more like it)")))
            }
        }
    }
}

fn of(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// The files of one directory: what names keywords comes before its messages.
fn pack_files_of(
    tar: &mut TarWriter<impl Write>,
    directory: &Path,
    name: &str,
    lost: &mut Lost,
) -> io::Result<()> {
    // Of a Maildir's folder, the keywords are beside cur and new, which come later.
    // Whoever looked for directories has told what cannot be read.
    let mut names = entries(directory, name.is_empty()).unwrap_or_default();
    names.sort();
    names.sort_by_key(|name| name.as_bytes() != KEYWORDS_FILE.as_bytes());
    for entry in names {
        pack_file(tar, &directory.join(&entry), &format!("{name}{}", shown(&entry)), lost)?;
    }
    Ok(())
}

/// The names in a directory; none if it has gone.
fn entries(directory: &Path, needed: bool) -> io::Result<Vec<OsString>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !needed => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// A name for an archive. What is no UTF-8 stays different.
fn shown(name: &OsString) -> String {
    match name.to_str() {
        Some(name) => name.to_owned(),
        None => {
            let mut judge = super::codepages::Judge::default();
            judge.add(name.as_bytes());
            super::codepages::read(name.as_bytes(), judge.decide())
        }
    }
}

/// The type of an entry for what lies at a path; `None`: nothing does.
fn sort_of(path: &Path) -> io::Result<Option<u8>> {
    match fs::symlink_metadata(path).map(|metadata| metadata.file_type()) {
        Ok(sort) if sort.is_file() => Ok(Some(b'0')),
        Ok(sort) if sort.is_dir() => Ok(Some(DIRECTORY)),
        Ok(sort) => Ok(Some(if sort.is_symlink() { LINK } else { FIFO })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn opened(path: &Path) -> io::Result<File> {
    // Whoever opens a FIFO waits for its other end.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

/// One file, if it is still there; of what is no file, or no mail by its name, the name.
fn pack_file(tar: &mut TarWriter<impl Write>, path: &Path, name: &str, lost: &mut Lost) -> io::Result<()> {
    match sort_of(path).ok().flatten() {
        Some(b'0') => {}
        // Told before.
        Some(DIRECTORY | LINK) | None => return Ok(()),
        Some(other) => return tar.without_content(name, other),
    }
    let keywords = name.rsplit('/').next() == Some(KEYWORDS_FILE);
    if kinds::by_path(name).is_some() && !keywords {
        return tar.file(name, 0, 0, &mut io::empty());
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = match File::options().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Ok(());
        }
        Err(e) => {
            lost.unless::<File>(path, Err(e));
            return Ok(());
        }
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    tar.file(name, metadata.len(), metadata.mtime(), &mut file)
}
