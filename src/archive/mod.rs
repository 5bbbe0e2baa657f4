//! Mail in files: single messages, mbox, zip, tar (compressed or not), Maildirs and the folders of mail programs, taken
//! apart as they stream in, and written again for a backup. What `backup` writes, `upload` takes. What is no mail is
//! passed over and counted; what may be mail and is not taken is told. It refuses to use a name in an archive as a path,
//! to open an archive within an archive, and to unpack without measure.
//!
//! What a file is, its first bytes say; its name decides only what they leave open.

mod asctime;
mod blocks;
mod codepages;
mod emlx;
mod foreign;
mod from_line;
mod front;
mod input;
mod kinds;
mod labels;
mod letter;
mod lines;
mod mbox;
mod mbox_writer;
mod meter;
mod names;
mod output;
mod pack;
mod places;
mod sort;
mod sparse;
mod status;
mod tar;
mod tar_writer;
mod unpack;
mod zip;
mod zip_writer;

pub use input::Input;
pub use kinds::NoMail;
pub use letter::{Letter, Take};
pub use mbox_writer::MboxWriter;
pub use output::Output;
pub use pack::{is_single_message, pack_directory, pack_files};
pub use tar_writer::TarWriter;
pub use unpack::{Bounds, unpack};
pub use zip_writer::ZipWriter;

use std::io::{self, Read, Seek};

use crate::message::FolderPath;

/// What a backup is written as.
pub trait Pack {
    /// Writes one message; `body` has its octets as they are stored, and may be read twice.
    ///
    /// # Errors
    /// The message or the file cannot be read or written.
    fn message(&mut self, letter: &Letter, body: &mut dyn Stored) -> io::Result<()>;

    /// Says how a folder's keywords are called, before its first message.
    ///
    /// # Errors
    /// The file cannot be written.
    fn folder(&mut self, folder: &FolderPath, keywords: &[String]) -> io::Result<()>;

    /// Writes what stands at the end.
    ///
    /// # Errors
    /// The file cannot be written.
    fn finish(&mut self) -> io::Result<()>;
}

/// A message that can be read again from its beginning.
pub trait Stored: Read + Seek {}

impl<T: Read + Seek> Stored for T {}

fn damaged(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.into())
}

/// The lowest 16 bits, for fields whose value was limited before.
fn low16(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
#[path = "roundtrip_tests.rs"]
mod roundtrip;

#[cfg(test)]
#[path = "damage_tests.rs"]
mod damage;
