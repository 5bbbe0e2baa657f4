//! Files of any bytes, taken apart: single messages, archives, and archives whose headers add up whatever is in them.
//! Every message that begins ends, no folder has a step in its path, and no more comes than a file can hold.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mailhaul::archive::{Bounds, Input, Letter, NoMail, Take, unpack};
use mailhaul::message::FolderPath;
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 6] = ["noname", "a.eml", "Sent", "a.zip", "x/Archive.mbox", "7.emlx"];
/// What the smallest file may unpack to; bytes.
const MOST: u64 = if cfg!(fuzzing) { 2 << 20 } else { 65 << 20 };

/// Counts what comes, and demands its order.
#[derive(Default)]
pub struct Taken {
    open: bool,
    pub messages: u64,
    pub octets: u64,
    pub told: u64,
}

fn no_steps(folder: &FolderPath) {
    assert!(folder.0.len() <= 64 && !folder.0.iter().any(String::is_empty), "{folder:?}");
}

impl Take for Taken {
    fn folder(&mut self, folder: FolderPath, _: &str) -> io::Result<()> {
        no_steps(&folder);
        Ok(())
    }
    fn begin(&mut self) -> io::Result<()> {
        // One that cannot be read to its end is forgotten with the next one.
        self.open = true;
        Ok(())
    }
    fn data(&mut self, octets: &[u8]) -> io::Result<()> {
        assert!(self.open && !octets.is_empty());
        self.octets += octets.len() as u64;
        Ok(())
    }
    fn end(&mut self, letter: Letter, shown: &str) -> io::Result<()> {
        assert!(std::mem::take(&mut self.open) && !shown.is_empty());
        letter.folder.iter().for_each(no_steps);
        self.messages += 1;
        Ok(())
    }
    fn abandon(&mut self) -> io::Result<()> {
        assert!(std::mem::take(&mut self.open));
        Ok(())
    }
    fn skip(&mut self, shown: &str, _: Option<u64>, reason: &str) {
        assert!(!shown.is_empty() && !reason.is_empty());
        self.told += 1;
    }
    fn pass(&mut self, kind: NoMail) {
        assert!(!kind.words().is_empty());
        self.told += 1;
    }
}

/// Takes a file apart that has these bytes; one file is used again and again.
pub fn taken(content: &[u8], name: &str) -> (Taken, io::Result<()>) {
    thread_local! {
        static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
    }
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(|| tempfile::tempfile().unwrap());
        file.set_len(0).unwrap();
        file.write_all_at(content, 0).unwrap();
        let input = Input::new(file.try_clone().unwrap(), CancellationToken::new()).unwrap();
        let mut taken = Taken::default();
        let bounds = Bounds { message: Some(1 << 20), one_folder: false };
        let done = unpack(input, name, bounds, &tempfile::tempfile, &mut taken);
        (taken, done)
    })
}

/// The first byte chooses the name, and what is made of the rest.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let content = match first >> 6 {
        1 => tar(rest),
        2 => zip(rest),
        _ => rest.to_vec(),
    };
    let (taken, done) = taken(&content, name);
    assert!(taken.octets <= MOST + 2 * content.len() as u64, "{} bytes came", taken.octets);
    if let Err(e) = done {
        let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidInput];
        assert!(kinds.contains(&e.kind()), "{e:?}");
        assert!(!e.to_string().is_empty());
    }
}

/// Pieces of the data: a byte of sort, the length of a name, the length of a content, and these.
fn pieces(data: &[u8]) -> Vec<(u8, &[u8], &[u8])> {
    let mut rest = data;
    let mut found = Vec::new();
    while let [sort, name, content, tail @ ..] = rest {
        let (name, tail) = tail.split_at(usize::from(*name).min(tail.len()));
        let (content, tail) = tail.split_at(usize::from(*content).min(tail.len()));
        found.push((*sort, name, content));
        rest = tail;
    }
    found
}

/// Entries whose headers add up.
fn tar(data: &[u8]) -> Vec<u8> {
    const SORTS: &[u8] = b"0xLg125SK\0";
    let mut out = Vec::new();
    for (sort, name, content) in pieces(data) {
        let mut block = [0; 512];
        let length = name.len().min(100);
        block[..length].copy_from_slice(&name[..length]);
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = SORTS[usize::from(sort) % SORTS.len()];
        block[257..265].copy_from_slice(if sort & 16 == 0 { b"ustar  \0" } else { b"ustar\x0000" });
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|octet| u32::from(*octet)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(block);
        out.extend(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// Entries that are where the table says.
fn zip(data: &[u8]) -> Vec<u8> {
    let (mut out, mut table, mut count) = (Vec::new(), Vec::new(), 0u16);
    for (sort, name, content) in pieces(data) {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        let mut common = vec![
            20,
            0,
            0,
            if sort & 1 == 0 { 0 } else { 8 },
            if sort & 2 == 0 { 0 } else { 8 },
            0,
            0,
            0,
            0,
            0,
        ];
        common.extend(crc.sum().to_le_bytes());
        common.extend(length);
        common.extend(length);
        common.extend([u8::try_from(name.len()).unwrap(), 0, 0, 0]);
        table.extend(b"PK\x01\x02\x14\x03");
        table.extend(&common);
        table.extend([0; 10]);
        table.extend(u32::try_from(out.len()).unwrap().to_le_bytes());
        table.extend(name);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name);
        out.extend(content);
        count += 1;
    }
    let (at, length) = (u32::try_from(out.len()).unwrap(), u32::try_from(table.len()).unwrap());
    out.extend(&table);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}
