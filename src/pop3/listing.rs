//! What LIST and UIDL say, line by line (RFC 1939, 5 and 7). It refuses lists that contradict themselves, a
//! line that names no message, and more messages than a maildrop can have.

use std::collections::BTreeMap;

/// A maildrop may list so many messages.
pub const LISTING_LIMIT: usize = 500_000;

/// One message in the maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, from 1 on, in this session only.
    pub number: u32,
    /// Octets as the server counts them: a hint. `None` if it did not say.
    pub size: Option<u64>,
    /// What names it over sessions (RFC 1939, 7), whole, up to 64 KiB. `None` if the server did not say.
    /// Whether two messages share one is for the caller to find out.
    pub uidl: Option<Vec<u8>>,
}

/// Both lists together.
#[derive(Debug, Default)]
pub struct Listing(BTreeMap<u32, Listed>);

impl Listing {
    /// Takes in a line of LIST, with or without its end. A size that is no number is not known.
    ///
    /// # Errors
    /// In words: the line names no message, or a number comes twice with different sizes, or there are more
    /// than [`LISTING_LIMIT`].
    pub fn size_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let Some((entry, rest)) = self.entry(line)? else { return Ok(()) };
        let size = rest.split(u8::is_ascii_whitespace).next().and_then(number);
        if entry.size.is_some() && entry.size != size {
            return Err("it lists one number twice");
        }
        entry.size = size;
        Ok(())
    }

    /// Takes in a line of UIDL, with or without its end. A blank name is none.
    ///
    /// # Errors
    /// As [`Listing::size_line`].
    pub fn uidl_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let Some((entry, rest)) = self.entry(line)? else { return Ok(()) };
        match &entry.uidl {
            Some(before) if before != rest => return Err("it lists one number twice"),
            _ if rest.is_empty() => {}
            _ => entry.uidl = Some(rest.to_vec()),
        }
        Ok(())
    }

    /// All messages, ascending by number. What only one of both lists names is kept with what is known.
    pub fn into_messages(self) -> Vec<Listed> {
        self.0.into_values().collect()
    }

    /// The entry of a line, made if it is new, and what follows its number.
    fn entry<'b>(&mut self, line: &'b [u8]) -> Result<Option<(&mut Listed, &'b [u8])>, &'static str> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (digits, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
        // A line that names no message cannot be passed over: it may stand for one.
        let number =
            number(digits).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        let number = number.ok_or("its list has a line without a message number")?;
        if self.0.len() >= LISTING_LIMIT && !self.0.contains_key(&number) {
            return Err("it lists more than 500,000 messages");
        }
        let entry = self.0.entry(number).or_insert(Listed { number, size: None, uidl: None });
        Ok(Some((entry, rest.trim_ascii())))
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_or_refused() {
        let mut listing = Listing::default();
        listing.uidl_line(b"7 whqtswO00WBw418f9t5JxYwZ \r\n").unwrap();
        listing.size_line(b"").unwrap();
        for line in ["0 1", "x 1", "-1 1", "+1 1", "4294967296 1", "1e3 1"] {
            assert!(listing.size_line(line.as_bytes()).is_err(), "{line}");
        }
        for (line, size) in
            [("7 120", Some(120)), ("8 18446744073709551616", None), ("9 -5", None), ("10", None)]
        {
            listing.size_line(line.as_bytes()).unwrap();
            let number = line.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(listing.0[&number].size, size, "{line}");
        }
        assert!(listing.size_line(b"7 121").is_err() && listing.uidl_line(b"7 other").is_err());
        listing.size_line(b"7 120").unwrap();
        let messages = listing.into_messages();
        assert_eq!(messages.iter().map(|m| m.number).collect::<Vec<_>>(), [7, 8, 9, 10]);
        assert_eq!(messages[0].uidl.as_deref(), Some(b"whqtswO00WBw418f9t5JxYwZ".as_slice()));
    }
}
