//! A backup as one mbox: mboxrd, with Content-Length (so also mboxcl), Status, X-Status, X-Keywords and the folder
//! before each message's own header. Every octet of a message can be told again from that.

use std::io::{self, BufRead, BufReader, SeekFrom, Write};

use super::letter::Letter;
use super::mbox::{FOLDER, WHOLE};
use super::{Pack, Stored, names};
use crate::message::FolderPath;

/// Writes an mbox.
#[derive(Debug)]
pub struct MboxWriter<W> {
    out: W,
    place: String,
}

impl<W: Write> MboxWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> MboxWriter<W> {
        MboxWriter { out, place: "INBOX".to_owned() }
    }
}

impl<W: Write> Pack for MboxWriter<W> {
    fn folder(&mut self, folder: &FolderPath, _: &[String]) -> io::Result<()> {
        self.place = names::written(folder);
        Ok(())
    }

    fn message(&mut self, letter: &Letter, body: &mut dyn Stored) -> io::Result<()> {
        let Quoted { whole, behind, ended } = quoted(body, None)?;
        body.seek(SeekFrom::Start(0))?;
        let time = letter.received.and_then(|time| jiff::Timestamp::from_second(time).ok());
        let time = time.unwrap_or_default().strftime("%a %b %e %H:%M:%S %Y");
        let flags = &letter.flags;
        let of = |set: &[(bool, char)]| {
            set.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect::<String>()
        };
        let seen = of(&[(flags.seen, 'R'), (!flags.recent, 'O')]);
        let more =
            of(&[(flags.answered, 'A'), (flags.flagged, 'F'), (flags.deleted, 'D'), (flags.draft, 'T')]);
        let keywords: Vec<&str> = flags
            .keywords
            .iter()
            .map(String::as_str)
            .filter(|word| !word.contains(char::is_whitespace))
            .collect();
        write!(
            self.out,
            "From MAILER-DAEMON {time}\nStatus: {seen}\nX-Status: {more}\nX-Keywords: {}\n",
            keywords.join(" ")
        )?;
        match behind {
            Some(length) => writeln!(self.out, "Content-Length: {length}")?,
            None => writeln!(self.out, "{WHOLE} {whole}")?,
        }
        writeln!(self.out, "{FOLDER} {}", self.place)?;
        quoted(body, Some(&mut self.out))?;
        self.out.write_all(if ended { b"\n" } else { b"\n\n" })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What a message is with its From lines quoted.
struct Quoted {
    /// Octets.
    whole: u64,
    /// Octets behind its first empty line, if it has one.
    behind: Option<u64>,
    /// Its last line has an end.
    ended: bool,
}

/// Writes a message with its From lines quoted.
fn quoted(body: &mut dyn Stored, mut out: Option<&mut dyn Write>) -> io::Result<Quoted> {
    let mut reader = BufReader::with_capacity(64 * 1024, body);
    let (mut whole, mut behind, mut starts): (u64, Option<u64>, bool) = (0, None, true);
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(Quoted { whole, behind, ended: starts });
        }
        let end = memchr::memchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
        // A line may be divided by the buffer's end anywhere: its beginning has to be whole.
        let mut line = piece.get(..end).unwrap_or_default().to_vec();
        reader.consume(end);
        while starts && !line.ends_with(b"\n") && line.len() < 1024 {
            let more = reader.fill_buf()?;
            if more.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', more).map_or(more.len(), |at| at + 1);
            line.extend_from_slice(more.get(..end).unwrap_or_default());
            reader.consume(end);
        }
        let marks = line.iter().take_while(|octet| **octet == b'>').count();
        let quote = starts && line.get(marks..).is_some_and(|rest| rest.starts_with(b"From "));
        if let Some(out) = &mut out {
            if quote {
                out.write_all(b">")?;
            }
            out.write_all(&line)?;
        }
        let octets = line.len() as u64 + u64::from(quote);
        whole += octets;
        match &mut behind {
            Some(length) => *length += octets,
            None if starts && (line == b"\n" || line == b"\r\n") => behind = Some(0),
            None => {}
        }
        starts = line.ends_with(b"\n");
    }
}
