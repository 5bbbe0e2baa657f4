//! The stored corpora of the fuzz targets, through the very same functions: what once was found stays mended.
//! It refuses a target without a corpus and a corpus without a target.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "fuzz/src/lib.rs"]
mod targets;

/// All corpora together; octets.
const LARGEST: u64 = 1 << 20;
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 15] = [
    ("archive", targets::archive::run),
    ("compressed", targets::compressed::run),
    ("control", targets::control::run),
    ("csv", targets::csv::run),
    ("dates", targets::dates::run),
    ("folders", targets::folders::run),
    ("http", targets::http::run),
    ("imap", targets::imap::run),
    ("lines", targets::lines::run),
    ("lmtp", targets::lmtp::run),
    ("mbox", targets::mbox::run),
    ("mutf7", targets::mutf7::run),
    ("pop3", targets::pop3::run),
    ("toml", targets::toml::run),
    ("uidset", targets::uidset::run),
];

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn inside(path: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_stored_input_passes() {
    let mut octets = 0;
    for (name, run) in TARGETS {
        let files = inside(&corpora().join(name));
        assert!(files.len() >= 10, "{name} has only {} inputs", files.len());
        for file in files {
            let data = fs::read(&file).unwrap();
            octets += data.len() as u64;
            // The name of the last one is what a failure has to say.
            eprintln!("{}", file.display());
            run(&data);
        }
    }
    assert!(octets < LARGEST, "{octets} octets of corpora");
}

#[test]
fn every_corpus_has_its_target_and_its_program() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/src/bin");
    assert_eq!(inside(&corpora()).into_iter().map(stem).collect::<BTreeSet<_>>(), names);
    assert_eq!(inside(&programs).into_iter().map(stem).collect::<BTreeSet<_>>(), names);
}
