//! zip (PKWARE's APPNOTE 6.3), by its table of contents, one entry after the other. Entries are stored or
//! deflated; an entry that is encrypted, damaged or packed in another way is told, and the next one is read. It
//! refuses to keep the table in memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use super::damaged;
use super::names;
use super::unpack::{Facts, Unpacking};

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END: u32 = 0x0605_4b50;
pub(super) const END_64: u32 = 0x0606_4b50;
pub(super) const LOCATOR_64: u32 = 0x0706_4b50;
/// The field with Info-ZIP's extended timestamp.
pub(super) const EXTENDED_TIME: u16 = 0x5455;
/// The field that a backup has in every entry: the date in seconds since 1970, 64 bits. A directory that has it is a
/// folder.
pub(super) const OURS: u16 = 0x484d;
/// The end and the longest comment behind it.
const TAIL: u64 = 22 + 65_535;

/// Numbers in a header, least octet first.
struct Fields<'f>(&'f [u8]);

impl Fields<'_> {
    fn number(&self, at: usize, octets: usize) -> u64 {
        let field = self.0.get(at..at + octets).unwrap_or_default();
        field.iter().rev().fold(0, |sum, octet| (sum << 8) | u64::from(*octet))
    }

    fn length(&self, at: usize) -> usize {
        usize::try_from(self.number(at, 2)).unwrap_or(0)
    }

    fn is(&self, signature: u32) -> bool {
        self.number(0, 4) == u64::from(signature)
    }
}

/// A part of a file.
struct Section<'s> {
    file: &'s File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Reads every entry of `file`.
pub(super) fn read(file: &File, shown: &str, work: &mut Unpacking<'_>) -> io::Result<()> {
    let length = file.metadata()?.len();
    let (count, size, offset) = contents(file, length)?;
    if offset.checked_add(size).is_none_or(|end| end > length) {
        return Err(damaged("the zip archive is damaged: its table of contents is not in it"));
    }
    let mut table = BufReader::new(Section { file, at: offset, left: size });
    for _ in 0..count {
        let mut head = [0; 46];
        table.read_exact(&mut head)?;
        let fields = Fields(&head);
        if !fields.is(CENTRAL) {
            return Err(damaged("the zip archive is damaged: its table of contents is broken"));
        }
        let mut part = |at| -> io::Result<Vec<u8>> {
            let mut octets = vec![0; fields.length(at)];
            table.read_exact(&mut octets)?;
            Ok(octets)
        };
        let (name, extra, comment) = (part(28)?, part(30)?, part(32)?);
        // Programs of old have divided paths the other way; a backup has no `\` in a name.
        let name = String::from_utf8_lossy(&name).replace('\\', "/");
        if name.ends_with('/') {
            let folder = names::read(&name).filter(|_| Extra::read(&extra).ours.is_some());
            if let Some(folder) = folder {
                work.folder(shown, &name, folder)?;
            }
            continue;
        }
        let comment = String::from_utf8_lossy(&comment).into_owned();
        if let Err(e) = entry(file, shown, &fields, &name, &extra, &comment, work) {
            let of_the_entry = matches!(
                e.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
            );
            if work.is_over() || !of_the_entry {
                return Err(e);
            }
            let size = Some(fields.number(24, 4));
            work.skip(&format!("{shown}: {name}"), size, &format!("it is damaged in the archive: {e}"));
        }
    }
    Ok(())
}

/// How many entries, and where the table of contents is.
fn contents(file: &File, length: u64) -> io::Result<(u64, u64, u64)> {
    let tail = TAIL.min(length);
    let mut octets = vec![0; usize::try_from(tail).unwrap_or(0)];
    file.read_exact_at(&mut octets, length - tail)?;
    let at = memchr::memmem::rfind(&octets, &END.to_le_bytes())
        .ok_or_else(|| damaged("the zip archive is cut off: its table of contents is missing"))?;
    let end = Fields(octets.get(at..).unwrap_or_default());
    let found = (end.number(10, 2), end.number(12, 4), end.number(16, 4));
    let locator = at.checked_sub(20).and_then(|at| octets.get(at..)).map(Fields);
    match locator.filter(|locator| locator.is(LOCATOR_64)) {
        Some(locator) => {
            let mut end = [0; 56];
            file.read_exact_at(&mut end, locator.number(8, 8))?;
            let end = Fields(&end);
            if !end.is(END_64) {
                return Err(damaged("the zip archive is damaged: its end is broken"));
            }
            Ok((end.number(32, 8), end.number(40, 8), end.number(48, 8)))
        }
        None => Ok(found),
    }
}

/// The fields behind an entry's name that matter here.
#[derive(Debug, Default)]
struct Extra<'e> {
    /// Zip64: lengths and places that are too large for the header.
    long: Option<&'e [u8]>,
    /// Seconds since 1970.
    time: Option<i64>,
    /// Likewise, in a backup.
    ours: Option<i64>,
}

impl<'e> Extra<'e> {
    fn read(mut rest: &'e [u8]) -> Extra<'e> {
        let mut found = Extra::default();
        while rest.len() >= 4 {
            let of = Fields(rest);
            let length = of.length(2);
            let Some(body) = rest.get(4..4 + length) else { break };
            let number = |at, octets| Fields(body).number(at, octets);
            match u16::try_from(of.number(0, 2)).unwrap_or(0) {
                1 => found.long = Some(body),
                EXTENDED_TIME if body.first().is_some_and(|set| set & 1 != 0) && body.len() >= 5 => {
                    let seconds = u32::try_from(number(1, 4)).unwrap_or(0);
                    found.time = Some(i64::from(seconds.cast_signed()));
                }
                OURS if body.len() == 8 => found.ours = Some(number(0, 8).cast_signed()),
                _ => {}
            }
            rest = rest.get(4 + length..).unwrap_or_default();
        }
        found
    }
}

fn entry(
    file: &File,
    shown: &str,
    fields: &Fields<'_>,
    name: &str,
    extra: &[u8],
    comment: &str,
    work: &mut Unpacking<'_>,
) -> io::Result<()> {
    let (mut packed, mut size, mut offset) =
        (fields.number(20, 4), fields.number(24, 4), fields.number(42, 4));
    let extra = Extra::read(extra);
    // What does not fit into the header, in this order.
    for (field, long) in [&mut size, &mut packed, &mut offset]
        .into_iter()
        .filter(|field| **field == 0xffff_ffff)
        .zip((0..).step_by(8))
    {
        if let Some(body) = extra.long {
            *field = Fields(body).number(long, 8);
        }
    }
    let modified = extra.ours.or(extra.time);
    let method = fields.number(10, 2);
    if fields.number(8, 2) & 1 != 0 {
        work.count()?;
        work.skip(&format!("{shown}: {name}"), Some(size), "it is encrypted");
        return Ok(());
    }
    if method != 0 && method != 8 {
        work.count()?;
        work.skip(&format!("{shown}: {name}"), Some(size), "it is packed in a way that is not known");
        return Ok(());
    }
    let mut local = [0; 30];
    file.read_exact_at(&mut local, offset)?;
    let local = Fields(&local);
    if !local.is(LOCAL) {
        return Err(damaged("its header is not where the table of contents says"));
    }
    let at = offset + 30 + local.number(26, 2) + local.number(28, 2);
    let section = Section { file, at, left: packed };
    let body: Box<dyn Read> = match method {
        8 => Box::new(flate2::bufread::DeflateDecoder::new(BufReader::new(section))),
        _ => Box::new(section),
    };
    let told = u32::try_from(fields.number(16, 4)).unwrap_or(0);
    let mut body = Checked { body, size, told, crc: flate2::Crc::new() };
    let flags = names::from_words(comment).filter(|_| modified.is_some() && name.ends_with(".eml"));
    let facts = Facts { path: name, size: Some(size), modified, flags, keywords: &[] };
    work.entry(shown, &facts, &mut body)
}

/// An entry whose end is compared with what the table of contents says.
struct Checked<'c> {
    body: Box<dyn Read + 'c>,
    size: u64,
    told: u32,
    crc: flate2::Crc,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.crc.update(buffer.get(..count).unwrap_or_default());
        // The sum counts octets modulo 2^32.
        let short = self.size & 0xffff_ffff != u64::from(self.crc.amount());
        if count == 0 && !buffer.is_empty() && (self.crc.sum() != self.told || short) {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(count)
    }
}
