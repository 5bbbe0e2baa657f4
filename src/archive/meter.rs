//! How much one file came to so far: bytes that were unpacked, and entries. It refuses more than mail ever comes to, by
//! ratio, by size and by number.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::damaged;
use super::input::Length;

/// Entries of one archive.
const ENTRIES: u64 = 2_000_000;
/// What is unpacked may be so many times as large as what is packed,
const RATIO: u64 = 200;
/// from this on; bytes. A fuzzer makes one such file after the other.
const RATIO_FROM: u64 = if cfg!(fuzzing) { 1 << 20 } else { 64 << 20 };
/// What one file may unpack to at all; bytes.
const MOST: u64 = 256 << 30;

/// The counts of one file.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    packed: Length,
    counts: Rc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    unpacked: Cell<u64>,
    entries: Cell<u64>,
    over: Cell<bool>,
}

impl Meter {
    pub(super) fn new(packed: Length) -> Meter {
        Meter { packed, counts: Rc::default() }
    }

    /// So many more bytes were unpacked.
    pub(super) fn spend(&self, octets: usize) -> io::Result<()> {
        let sum = self.counts.unpacked.get() + octets as u64;
        self.counts.unpacked.set(sum);
        if sum > RATIO_FROM && sum / RATIO > self.packed.octets() {
            return Err(self.exceeded(format!("it unpacks to more than {RATIO} times its size")));
        }
        if sum > MOST {
            return Err(self.exceeded(format!("it unpacks to more than {MOST} octets")));
        }
        Ok(())
    }

    /// One more entry.
    pub(super) fn count(&self) -> io::Result<()> {
        self.counts.entries.set(self.counts.entries.get() + 1);
        self.bear(self.counts.entries.get())
    }

    /// Whether so many entries are borne.
    pub(super) fn bear(&self, entries: u64) -> io::Result<()> {
        if entries > ENTRIES {
            return Err(self.exceeded(format!("it has more than {ENTRIES} entries")));
        }
        Ok(())
    }

    /// Whether a limit of the whole file was passed.
    pub(super) fn is_over(&self) -> bool {
        self.counts.over.get()
    }

    /// A limit was passed, in words.
    pub(super) fn exceeded(&self, words: String) -> io::Error {
        self.counts.over.set(true);
        damaged(words)
    }

    /// Counts what comes out of `reader`.
    pub(super) fn of<R: Read>(&self, reader: R) -> Metered<R> {
        Metered { reader, meter: self.clone() }
    }
}

/// A reader whose bytes are counted.
pub(super) struct Metered<R> {
    reader: R,
    meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.meter.spend(count)?;
        Ok(count)
    }
}
