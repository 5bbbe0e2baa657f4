//! A backup as a zip of .eml files, streamed (APPNOTE 4.4.4, bit 3): each message deflated, its date in an
//! extended timestamp, its flags in the entry's comment, its folder as directories. The table of contents waits
//! in a file without a name. It refuses a message of four gigabytes.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use flate2::{Compression, Crc, write::DeflateEncoder};

use super::letter::{Letter, Wire};
use super::zip::{CENTRAL, END, END_64, LOCAL, LOCATOR_64};
use super::{Pack, Stored, damaged, low16, names};
use crate::message::FolderPath;

const DESCRIPTOR: u32 = 0x0807_4b50;
const MOST: u64 = 0xffff_ffff;
/// A date goes into 32 bits.
const TIMES: std::ops::RangeInclusive<i64> = -0x8000_0000..=0x7fff_ffff;
/// Names in UTF-8, sizes behind the octets.
const FLAGS: u16 = 0x0808;
const DEFLATED: u16 = 8;

/// Writes a zip archive.
#[derive(Debug)]
pub struct ZipWriter<W: Write> {
    out: Counted<W>,
    table: BufWriter<File>,
    entries: u64,
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
            place: "INBOX".to_owned(),
        }
    }
}

impl<W: Write> Pack for ZipWriter<W> {
    fn folder(&mut self, folder: &FolderPath, _: &[String]) -> io::Result<()> {
        self.place = names::written(folder);
        Ok(())
    }

    fn message(&mut self, letter: &Letter, body: &mut dyn Stored) -> io::Result<()> {
        let offset = self.out.at;
        self.entries += 1;
        let name = format!("{}/{:06}.eml", self.place, self.entries);
        let time = letter.received.unwrap_or(0).clamp(*TIMES.start(), *TIMES.end());
        let extra = [
            &0x5455u16.to_le_bytes()[..],
            &5u16.to_le_bytes(),
            &[1],
            &time.to_le_bytes().first_chunk::<4>().copied().unwrap_or_default(),
        ]
        .concat();
        let (date, clock) = dos(time);
        let both = [
            &20u16.to_le_bytes()[..],
            &FLAGS.to_le_bytes(),
            &DEFLATED.to_le_bytes(),
            &clock.to_le_bytes(),
            &date.to_le_bytes(),
        ]
        .concat();
        self.out.write_all(&LOCAL.to_le_bytes())?;
        self.out.write_all(&both)?;
        self.out.write_all(&[0; 12])?;
        self.out.write_all(&low16(name.len()).to_le_bytes())?;
        self.out.write_all(&low16(extra.len()).to_le_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&extra)?;
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
        let low32 = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        let sizes = [&crc.sum().to_le_bytes()[..], &low32(packed), &low32(size)].concat();
        self.out.write_all(&DESCRIPTOR.to_le_bytes())?;
        self.out.write_all(&sizes)?;

        let far = offset >= MOST;
        let mut extra = extra;
        if far {
            extra.extend_from_slice(&[1, 0, 8, 0]);
            extra.extend_from_slice(&offset.to_le_bytes());
        }
        let comment = names::in_words(&letter.flags);
        self.table.write_all(&CENTRAL.to_le_bytes())?;
        // Made by version 4.5 on UNIX.
        self.table.write_all(&[45, 3])?;
        self.table.write_all(&both)?;
        self.table.write_all(&sizes)?;
        for length in [name.len(), extra.len(), comment.len()] {
            self.table.write_all(&low16(length).to_le_bytes())?;
        }
        // Disk, internal attributes, external attributes: a file with mode 0600.
        self.table.write_all(&[0, 0, 0, 0])?;
        self.table.write_all(&(0o100_600_u32 << 16).to_le_bytes())?;
        self.table.write_all(&low32(offset))?;
        self.table.write_all(name.as_bytes())?;
        self.table.write_all(&extra)?;
        self.table.write_all(comment.get(..comment.len().min(65_535)).unwrap_or_default().as_bytes())
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
        let low32 = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
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
