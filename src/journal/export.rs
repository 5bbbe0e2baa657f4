//! The plain export beside the store: one record a line, with a checksum, replaced as a whole. From it the
//! store is rebuilt when it is damaged. It refuses a file that is not complete.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::records::{Changes, FolderRecord, SourceRecord};
use super::store::sync_directory;

const FILE: &str = "export";
const GENERATION: &str = "generation";
const FORMAT: &str = "mailhaul-journal 1";

/// What an export holds.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) generation: u64,
    pub(super) sequence: u64,
    pub(super) records: BTreeMap<String, Vec<u8>>,
}

/// The generation that the store should have; `None` if there never was one.
pub(super) fn generation(directory: &Path) -> io::Result<Option<u64>> {
    match fs::read_to_string(directory.join(GENERATION)) {
        Ok(text) => text.trim().parse().map(Some).or(Ok(Some(0))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn set_generation(directory: &Path, generation: u64) -> io::Result<()> {
    replace(directory, GENERATION, |out| writeln!(out, "{generation}"))
}

/// Writes the export; keys and values hold no line end, for keys are ours and values are JSON or sets.
pub(super) fn write(
    directory: &Path,
    generation: u64,
    sequence: u64,
    records: impl Iterator<Item = (sled::IVec, sled::IVec)>,
) -> io::Result<()> {
    replace(directory, FILE, |out| {
        let mut sum = Context::new(&SHA256);
        let mut line = |bytes: &[u8], out: &mut dyn Write| {
            sum.update(bytes);
            out.write_all(bytes)
        };
        line(format!("{FORMAT} {generation} {sequence}\n").as_bytes(), out)?;
        for (key, value) in records {
            line(&[&key, b"\t".as_slice(), &value, b"\n"].concat(), out)?;
        }
        let digest: String = sum.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect();
        writeln!(out, "sha256 {digest}")
    })
}

/// Reads the export, or says why that cannot be.
pub(super) fn read(directory: &Path) -> Result<Export, String> {
    let bytes = fs::read(directory.join(FILE)).map_err(|e| e.to_string())?;
    let body = bytes.strip_suffix(b"\n").ok_or("it is cut short")?;
    let at = memchr::memrchr(b'\n', body).ok_or("it is cut short")? + 1;
    let (body, last) = (bytes.get(..at).unwrap_or_default(), body.get(at..).unwrap_or_default());
    let digest = ring::digest::digest(&SHA256, body);
    let digest: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    if last != format!("sha256 {digest}").as_bytes() {
        return Err("its checksum is wrong".to_owned());
    }
    let mut lines = body.split(|b| *b == b'\n');
    let head = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut numbers = head.strip_prefix(FORMAT).ok_or("it is of another version")?.split_whitespace();
    let mut number = || numbers.next().and_then(|n| n.parse().ok()).ok_or("its head cannot be read");
    let (generation, sequence) = (number()?, number()?);
    let mut records = BTreeMap::new();
    for line in lines.filter(|l| !l.is_empty()) {
        let tab = memchr::memchr(b'\t', line).ok_or("a line cannot be read")?;
        let (key, value) = line.split_at(tab);
        let key = String::from_utf8(key.to_vec()).map_err(|_| "a key cannot be read")?;
        records.insert(key, value.get(1..).unwrap_or_default().to_vec());
    }
    Ok(Export { generation, sequence, records })
}

/// The records as changes, with every poll and folder marked as in doubt: what landed after the export is
/// found again by asking the destination.
pub(super) fn doubt(records: BTreeMap<String, Vec<u8>>) -> Changes {
    let mut changes = Changes::default();
    for (key, value) in records {
        if key.starts_with("s/") {
            let mut record: SourceRecord = serde_json::from_slice(&value).unwrap_or_default();
            record.open = true;
            changes.set_json(key, &record);
        } else if key.starts_with("f/") {
            match serde_json::from_slice::<FolderRecord>(&value) {
                Ok(mut record) => {
                    record.open = true;
                    changes.set_json(key, &record);
                }
                Err(_) => changes.set(key, value),
            }
        } else {
            changes.set(key, value);
        }
    }
    changes
}

fn replace(
    directory: &Path,
    name: &str,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    sync_directory(directory)
}
