//! zip (PKWARE's APPNOTE 6.3), by its table of contents, one entry after the other; what stands before the archive is
//! passed over. Entries are stored, deflated, or compressed with bzip2, xz or zstd; an entry that is encrypted, damaged or packed in another way is told,
//! and the next one is read. It refuses to keep the table in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};

use rawzip::extra_fields::{ExtraFieldId, ExtraFields};
use rawzip::{CompressionMethod, Crc32, FileReader, ZipArchive, ZipFileHeaderRecord, ZipLocator};

use super::codepages::{self, CodePage, Judge};
use super::damaged;
use super::names;
use super::places::Maildirs;
use super::tar::{FOLDERS, KEYWORDS, KEYWORDS_FILE, words};
use super::unpack::{Facts, Unpacking};
use crate::compressed::{Method, decoder};

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
/// Where the end of an archive is looked for: its record, and the longest comment behind it.
const TAIL: u64 = 22 + 65_535;
/// Bytes for one entry of the table: its name, its fields and its comment have two bytes of length each.
const RECORD: usize = 46 + 3 * 65_536;
/// Names of folders that are longer are not believed; bytes.
const LONGEST_PATH: usize = 8 * 1024;

/// Whether a file that does not begin as one ends as a zip archive: something stands before it. `exactly`: with its last
/// byte.
pub(super) fn is_appended(file: &File, exactly: bool) -> io::Result<bool> {
    let length = file.metadata()?.len();
    Ok(located(file)?.is_some_and(|archive| {
        if exactly && archive.end_offset() != length {
            return false;
        }
        let mut buffer = vec![0; RECORD];
        matches!(archive.entries(&mut buffer).next_entry(), Ok(Some(_)))
    }))
}

fn located(file: &File) -> io::Result<Option<ZipArchive<FileReader>>> {
    let mut buffer = vec![0; 64 * 1024];
    let locator = ZipLocator::new().max_search_space(TAIL);
    match locator.locate_in_file(file.try_clone()?, &mut buffer) {
        Ok(archive) => Ok(Some(archive)),
        Err((_, e)) => match e.into_kind() {
            rawzip::ErrorKind::IO(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(e),
            _ => Ok(None),
        },
    }
}

fn broken(e: &rawzip::Error) -> io::Error {
    damaged(format!("the zip archive is damaged: its table of contents is broken: {e}"))
}

/// What the table says of all entries together.
struct Contents {
    page: CodePage,
    maildirs: Maildirs,
    keywords: Keywords,
    entries: u64,
}

/// The keywords of Maildirs, by their directories.
type Keywords = BTreeMap<String, Vec<String>>;

/// Reads every entry of `file`.
pub(super) fn read(file: &File, shown: &str, work: &mut Unpacking<'_>) -> io::Result<()> {
    let archive = located(file)?
        .ok_or_else(|| damaged("the zip archive is cut off: its table of contents is missing"))?;
    let contents = look(&archive, work)?;
    work.knows(contents.maildirs);
    let mut buffer = vec![0; RECORD];
    let mut entries = archive.entries(&mut buffer);
    while let Some(record) = entries.next_entry().map_err(|e| broken(&e))? {
        let name = name(&record, contents.page);
        let size = Some(record.uncompressed_size_hint());
        if name.len() > LONGEST_PATH {
            work.count()?;
            work.skip(&format!("{shown}: an entry"), size, "its name is too long");
            continue;
        }
        if name.ends_with('/') {
            work.count()?;
            let folder = names::read(&name).filter(|_| Times::of(&record).ours.is_some());
            match folder {
                Some(folder) => work.folder(shown, &name, folder)?,
                None => work.directory(shown, &name)?,
            }
            continue;
        }
        if let Err(e) = entry(&archive, shown, &record, &name, &contents.keywords, work) {
            let of_the_entry = matches!(
                e.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
            );
            if work.is_over() || !of_the_entry {
                return Err(e);
            }
            work.skip(&format!("{shown}: {name}"), size, &format!("it is damaged in the archive: {e}"));
        }
    }
    let told = archive.entries_hint();
    // Old programs count entries modulo 65,536.
    if told != contents.entries && told != contents.entries & 0xffff {
        let words = format!("the zip archive says that it has {told} entries, and has {}", contents.entries);
        return Err(damaged(words));
    }
    Ok(())
}

/// Looks the table over: in which code page names are, and what is a Maildir.
fn look(archive: &ZipArchive<FileReader>, work: &Unpacking<'_>) -> io::Result<Contents> {
    let mut judge = Judge::default();
    let mut buffer = vec![0; RECORD];
    let mut count = 0;
    let mut entries = archive.entries(&mut buffer);
    while let Some(record) = entries.next_entry().map_err(|e| broken(&e))? {
        count += 1;
        work.bear(count)?;
        if unicode(&record).is_none() {
            judge.add(record.file_path().as_bytes());
        }
    }
    let page = judge.decide();
    let (mut maildirs, mut keywords) = (Maildirs::default(), Keywords::new());
    let mut entries = archive.entries(&mut buffer);
    while let Some(record) = entries.next_entry().map_err(|e| broken(&e))? {
        let name = name(&record, page);
        maildirs.add(&name);
        let (above, last) = names::divided(&name);
        let plain = record.compression_method() == CompressionMethod::STORE;
        let known = plain || record.compression_method() == CompressionMethod::DEFLATE;
        if last == KEYWORDS_FILE && known && keywords.len() < FOLDERS && !record.flags().is_encrypted() {
            // Where it is damaged, its keywords are not known.
            let text = archive.get_entry(record.wayfinder()).ok().map(|entry| {
                let section = BufReader::new(entry.reader());
                let mut text = Vec::new();
                let body: Box<dyn Read> = match plain {
                    true => Box::new(section),
                    false => Box::new(flate2::bufread::DeflateDecoder::new(section)),
                };
                let _ = body.take(KEYWORDS).read_to_end(&mut text);
                text
            });
            let text = text.unwrap_or_default();
            keywords.insert(names::levels(above).join("/"), words(&String::from_utf8_lossy(&text)));
        }
    }
    Ok(Contents { page, maildirs, keywords, entries: count })
}

/// An entry's name that is told to be Unicode: by its flag, or by Info-ZIP's field, which holds for the name that it was
/// made for.
fn unicode(record: &ZipFileHeaderRecord<'_>) -> Option<String> {
    let path = record.file_path();
    let raw = path.as_bytes();
    let mut fields = record.extra_fields();
    let field = fields.find(|(id, _)| *id == ExtraFieldId::INFO_ZIP_UNICODE_PATH).map(|(_, body)| body);
    if let Some([1, a, b, c, d, name @ ..]) = field
        && u32::from_le_bytes([*a, *b, *c, *d]) == rawzip::crc32(raw)
        && let Ok(name) = std::str::from_utf8(name)
        && !name.is_empty()
    {
        return Some(name.to_owned());
    }
    record.flags().is_utf8().then(|| std::str::from_utf8(raw).ok()).flatten().map(str::to_owned)
}

/// An entry's name. Programs of old have divided paths the other way; a backup has no `\` in a name.
fn name(record: &ZipFileHeaderRecord<'_>, page: CodePage) -> String {
    let name = unicode(record).unwrap_or_else(|| codepages::read(record.file_path().as_bytes(), page));
    name.replace('\\', "/").replace('\0', "_")
}

/// When an entry is from, seconds since 1970.
#[derive(Debug, Default)]
struct Times {
    extended: Option<i64>,
    /// Of a backup.
    ours: Option<i64>,
}

impl Times {
    fn of(record: &ZipFileHeaderRecord<'_>) -> Times {
        let mut found = Times::default();
        let fields: ExtraFields<'_> = record.extra_fields();
        for (id, body) in fields {
            match (id.as_u16(), body) {
                (EXTENDED_TIME, [set, a, b, c, d, ..]) if set & 1 != 0 => {
                    found.extended = Some(i64::from(i32::from_le_bytes([*a, *b, *c, *d])));
                }
                (OURS, body) => found.ours = body.try_into().ok().map(i64::from_le_bytes),
                _ => {}
            }
        }
        found
    }
}

fn entry(
    archive: &ZipArchive<FileReader>,
    shown: &str,
    record: &ZipFileHeaderRecord<'_>,
    name: &str,
    keywords: &Keywords,
    work: &mut Unpacking<'_>,
) -> io::Result<()> {
    let size = record.uncompressed_size_hint();
    let leave = |work: &mut Unpacking<'_>, why: &str| {
        work.count()?;
        work.leave(&format!("{shown}: {name}"), name, Some(size), why);
        Ok(())
    };
    if record.flags().is_encrypted() {
        return leave(work, "it is encrypted");
    }
    if record.mode().is_symlink() {
        return leave(work, "it is a link, which is not followed");
    }
    let method = record.compression_method();
    let other = match method {
        CompressionMethod::STORE | CompressionMethod::DEFLATE => None,
        CompressionMethod::BZIP2 => Some(Method::Bzip2),
        CompressionMethod::XZ => Some(Method::Xz),
        CompressionMethod::ZSTD => Some(Method::Zstd),
        _ => return leave(work, "it is packed in a way that is not known"),
    };
    let found = archive
        .get_entry(record.wayfinder())
        .map_err(|_| damaged("its header is not where the table of contents says"))?;
    let section = BufReader::new(found.reader());
    let body: Box<dyn Read> = match (method, other) {
        (CompressionMethod::DEFLATE, _) => Box::new(flate2::bufread::DeflateDecoder::new(section)),
        (_, Some(other)) => decoder(other, section),
        (_, None) => Box::new(section),
    };
    let body = Checked { body, size, told: record.crc32(), crc: Crc32::new(), came: 0 };
    let Times { extended, ours } = Times::of(record);
    let modified = ours.or(extended);
    let comment = String::from_utf8_lossy(record.comment().as_bytes());
    let flags = names::from_words(&comment).filter(|_| name.ends_with(".eml"));
    // The first backups had no field of their own, and a comment where there were flags.
    let flags = flags.filter(|_| ours.is_some() || (extended.is_some() && comment.starts_with('\\')));
    let known =
        names::in_maildir(name).and_then(|place| keywords.get(&names::levels(place.directory).join("/")));
    let keywords = known.map_or(&[][..], Vec::as_slice);
    let facts = Facts { path: name, size: Some(size), modified, flags, keywords };
    let mut body = work.metered(body);
    work.entry(shown, &facts, &mut body)
}

/// An entry whose end is compared with what the table of contents says.
struct Checked<'c> {
    body: Box<dyn Read + 'c>,
    size: u64,
    told: u32,
    crc: Crc32,
    came: u64,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.crc.update(buffer.get(..count).unwrap_or_default());
        self.came += count as u64;
        if self.came > self.size {
            return Err(damaged("it is longer than the table of contents says"));
        }
        if count == 0 && !buffer.is_empty() && (self.crc.checksum() != self.told || self.came != self.size) {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(count)
    }
}
