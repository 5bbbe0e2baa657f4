//! A backup as a zip of .eml files, streamed (APPNOTE 4.4.4, bit 3): each message deflated, its date in an
//! extended timestamp and, for those after 2038, in a field of our own, its flags in the entry's comment, its
//! folder as directories. The table of contents waits in a file without a name. It refuses a message of four
//! gigabytes.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use flate2::{Compression, Crc, write::DeflateEncoder};

use super::letter::{Letter, Wire};
use super::zip::{CENTRAL, END, END_64, EXTENDED_TIME, LOCAL, LOCATOR_64, OURS};
use super::{Pack, Stored, damaged, low16, names};
use crate::message::FolderPath;

const DESCRIPTOR: u32 = 0x0807_4b50;
const MOST: u64 = 0xffff_ffff;
/// A date in an extended timestamp goes into 32 bits.
const TIMES: std::ops::RangeInclusive<i64> = -0x8000_0000..=0x7fff_ffff;
/// Names are in UTF-8.
const UTF_8: u16 = 0x0800;
/// Sizes are behind the octets.
const SIZES_BEHIND: u16 = 0x0008;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Writes a zip archive.
#[derive(Debug)]
pub struct ZipWriter<W: Write> {
    out: Counted<W>,
    table: BufWriter<File>,
    entries: u64,
    messages: u64,
    place: String,
}

#[derive(Debug)]
struct Counted<W> {
    out: W,
    at: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = self.out.write(octets)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> ZipWriter<W> {
    /// Writes to `out`; `table` is an empty file for what comes at the end.
    pub fn new(out: W, table: File) -> ZipWriter<W> {
        ZipWriter {
            out: Counted { out, at: 0 },
            table: BufWriter::new(table),
            entries: 0,
            messages: 0,
            place: "INBOX".to_owned(),
        }
    }
}

/// What both headers of an entry say.
struct Head {
    name: String,
    /// Version, flags, method, time and date.
    common: Vec<u8>,
    extra: Vec<u8>,
    /// Where its first header is.
    offset: u64,
}

/// Checksum and lengths of an entry, packed and unpacked.
type Sizes = [u8; 12];

impl<W: Write> ZipWriter<W> {
    /// The header before an entry; `time` in seconds since 1970.
    fn head(
        &mut self,
        name: String,
        (flags, method): (u16, u16),
        sizes: Sizes,
        time: i64,
    ) -> io::Result<Head> {
        let offset = self.out.at;
        let near = time.clamp(*TIMES.start(), *TIMES.end());
        let extra = [
            &EXTENDED_TIME.to_le_bytes()[..],
            &5u16.to_le_bytes(),
            &[1],
            &near.to_le_bytes().first_chunk::<4>().copied().unwrap_or_default(),
            &OURS.to_le_bytes(),
            &8u16.to_le_bytes(),
            &time.to_le_bytes(),
        ]
        .concat();
        let (date, clock) = dos(time);
        let common: Vec<u8> = [20, flags, method, clock, date].iter().flat_map(|n| n.to_le_bytes()).collect();
        self.out.write_all(&LOCAL.to_le_bytes())?;
        self.out.write_all(&common)?;
        self.out.write_all(&sizes)?;
        self.out.write_all(&low16(name.len()).to_le_bytes())?;
        self.out.write_all(&low16(extra.len()).to_le_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&extra)?;
        Ok(Head { name, common, extra, offset })
    }

    /// The entry in the table of contents; `mode` as stat(2) has it.
    fn list(&mut self, head: Head, sizes: Sizes, comment: &str, mode: u32) -> io::Result<()> {
        self.entries += 1;
        let Head { name, common, mut extra, offset } = head;
        if offset >= MOST {
            extra.extend_from_slice(&[1, 0, 8, 0]);
            extra.extend_from_slice(&offset.to_le_bytes());
        }
        self.table.write_all(&CENTRAL.to_le_bytes())?;
        // Made by version 4.5 on UNIX.
        self.table.write_all(&[45, 3])?;
        self.table.write_all(&common)?;
        self.table.write_all(&sizes)?;
        for length in [name.len(), extra.len(), comment.len()] {
            self.table.write_all(&low16(length).to_le_bytes())?;
        }
        // Disk, internal attributes, external attributes.
        self.table.write_all(&[0, 0, 0, 0])?;
        self.table.write_all(&(mode << 16).to_le_bytes())?;
        self.table.write_all(&low32(offset))?;
        self.table.write_all(name.as_bytes())?;
        self.table.write_all(&extra)?;
        self.table.write_all(comment.get(..comment.len().min(65_535)).unwrap_or_default().as_bytes())
    }
}

fn low32(value: u64) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

impl<W: Write> Pack for ZipWriter<W> {
    fn folder(&mut self, folder: &FolderPath, _: &[String]) -> io::Result<()> {
        self.place = names::written(folder);
        let head = self.head(format!("{}/", self.place), (UTF_8, STORED), [0; 12], 0)?;
        self.list(head, [0; 12], "", 0o040_700)
    }

    fn message(&mut self, letter: &Letter, body: &mut dyn Stored) -> io::Result<()> {
        self.messages += 1;
        let name = format!("{}/{:06}.eml", self.place, self.messages);
        let time = letter.received.unwrap_or(0);
        let head = self.head(name, (UTF_8 | SIZES_BEHIND, DEFLATED), [0; 12], time)?;
        let start = self.out.at;
        let mut crc = Crc::new();
        let mut size: u64 = 0;
        let mut packer = DeflateEncoder::new(&mut self.out, Compression::fast());
        let mut wire = Wire::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = body.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let octets = wire.of(buffer.get(..count).unwrap_or_default());
            crc.update(&octets);
            size += octets.len() as u64;
            packer.write_all(&octets)?;
        }
        packer.finish()?;
        let packed = self.out.at - start;
        if size > MOST || packed > MOST {
            return Err(damaged("a message is larger than a zip archive can have it"));
        }
        let mut sizes: Sizes = [0; 12];
        let told = crc.sum().to_le_bytes().into_iter().chain(low32(packed)).chain(low32(size));
        sizes.iter_mut().zip(told).for_each(|(to, octet)| *to = octet);
        self.out.write_all(&DESCRIPTOR.to_le_bytes())?;
        self.out.write_all(&sizes)?;
        self.list(head, sizes, &names::in_words(&letter.flags), 0o100_600)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.table.flush()?;
        let mut table = self.table.get_ref().try_clone()?;
        table.rewind()?;
        let offset = self.out.at;
        let size = io::copy(&mut table, &mut self.out)?;
        let many = u64::from(u16::MAX);
        if offset >= MOST || size >= MOST || self.entries >= many {
            let end = self.out.at;
            self.out.write_all(&END_64.to_le_bytes())?;
            self.out.write_all(&44u64.to_le_bytes())?;
            self.out.write_all(&[45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
            for number in [self.entries, self.entries, size, offset] {
                self.out.write_all(&number.to_le_bytes())?;
            }
            self.out.write_all(&LOCATOR_64.to_le_bytes())?;
            self.out.write_all(&[0; 4])?;
            self.out.write_all(&end.to_le_bytes())?;
            self.out.write_all(&1u32.to_le_bytes())?;
        }
        let entries = low16(usize::try_from(self.entries).unwrap_or(usize::MAX)).to_le_bytes();
        self.out.write_all(&END.to_le_bytes())?;
        self.out.write_all(&[0; 4])?;
        self.out.write_all(&entries)?;
        self.out.write_all(&entries)?;
        self.out.write_all(&low32(size))?;
        self.out.write_all(&low32(offset))?;
        self.out.write_all(&[0; 2])?;
        self.out.flush()
    }
}

/// A date and a time as DOS had them, in UTC.
fn dos(seconds: i64) -> (u16, u16) {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return (0x21, 0) };
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let part = |number: i8| u16::try_from(number).unwrap_or(0);
    let year = u16::try_from(time.year() - 1980).unwrap_or(0).min(127);
    let date = (year << 9) | (part(time.month()) << 5) | part(time.day());
    let clock = (part(time.hour()) << 11) | (part(time.minute()) << 5) | (part(time.second()) / 2);
    (date, clock)
}
