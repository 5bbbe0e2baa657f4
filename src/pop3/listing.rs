//! What LIST and UIDL say, line by line (RFC 1939, 5 and 7). It believes neither of two lines that contradict each other, counts
//! the lines that name no message, and refuses more messages than a maildrop can have.

use std::collections::{BTreeMap, BTreeSet};

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
pub struct Listing {
    messages: BTreeMap<u32, Listed>,
    /// Messages of which a list says two things: neither is believed.
    contradicted: BTreeSet<u32>,
    /// Lines that name no message.
    unread: u64,
}

impl Listing {
    /// Takes in a line of LIST, with or without its end. A size that is no number is not known.
    ///
    /// # Errors
    /// In words: there are more than [`LISTING_LIMIT`] messages.
    pub fn size_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let Some((number, rest)) = self.entry(line)? else { return Ok(()) };
        let size = rest.split(u8::is_ascii_whitespace).next().and_then(digits);
        let Some(entry) = self.messages.get_mut(&number) else { return Ok(()) };
        if entry.size.is_some_and(|before| Some(before) != size) {
            self.contradicted.insert(number);
        }
        entry.size = size;
        Ok(())
    }

    /// Takes in a line of UIDL, with or without its end. A blank name is none.
    ///
    /// # Errors
    /// As [`Listing::size_line`].
    pub fn uidl_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let Some((number, rest)) = self.entry(line)? else { return Ok(()) };
        let Some(entry) = self.messages.get_mut(&number).filter(|_| !rest.is_empty()) else {
            return Ok(());
        };
        if entry.uidl.as_deref().is_some_and(|before| before != rest) {
            self.contradicted.insert(number);
        }
        entry.uidl = Some(rest.to_vec());
        Ok(())
    }

    /// Messages that the lists say too little of, or two things, or nothing though there are so many messages; ascending.
    /// Without `sizes`, no size is missed; with `names`, each message has one.
    pub fn doubtful(&self, count: u64, sizes: bool, names: bool) -> Vec<u32> {
        let named = names || !self.has_no_names();
        let last = self.messages.keys().next_back().copied().unwrap_or(0);
        let last = u32::try_from(count).unwrap_or(u32::MAX).max(last).min(LISTING_LIMIT as u32);
        let known =
            |message: &Listed| (!sizes || message.size.is_some()) && (!named || message.uidl.is_some());
        (1..=last)
            .filter(|n| self.contradicted.contains(n) || !self.messages.get(n).is_some_and(known))
            .collect()
    }

    /// Whether no message has a name.
    pub fn has_no_names(&self) -> bool {
        self.messages.values().all(|message| message.uidl.is_none())
    }

    /// The first message, if none has a name, or each one's name is its size: UIDL may have been answered as LIST is, or not at all.
    pub fn oddly_named(&self) -> Option<&Listed> {
        let name = |message: &Listed| message.uidl.as_deref().map(digits);
        let is_odd = |message: &Listed| match name(message) {
            None => true,
            Some(size) => size.is_some() && size == message.size,
        };
        self.messages.values().next().filter(|_| self.messages.values().all(is_odd))
    }

    /// How many messages are listed.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message is listed.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Lines that name no message.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// What was said of one message alone counts more than what a list said; `None`: nothing was said.
    pub fn settle(&mut self, number: u32, size: Option<u64>, uidl: Option<Vec<u8>>) {
        let contradicted = self.contradicted.remove(&number);
        if size.is_none() && uidl.is_none() && !self.messages.contains_key(&number) {
            return;
        }
        let entry = self.messages.entry(number).or_insert(Listed { number, size: None, uidl: None });
        if contradicted {
            (entry.size, entry.uidl) = (None, None);
        }
        entry.size = size.or(entry.size);
        entry.uidl = uidl.or(entry.uidl.take());
    }

    /// All messages, ascending by number. What only one of both lists names is kept with what is known; what they contradict
    /// themselves about is not known.
    pub fn into_messages(mut self) -> Vec<Listed> {
        for number in std::mem::take(&mut self.contradicted) {
            self.contradicted.insert(number);
            self.settle(number, None, None);
        }
        self.messages.into_values().collect()
    }

    /// The number of a line, whose entry is made if it is new, and what follows it.
    fn entry<'b>(&mut self, line: &'b [u8]) -> Result<Option<(u32, &'b [u8])>, &'static str> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (first, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
        let number = digits(first).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        let Some(number) = number else {
            self.unread += 1;
            return Ok(None);
        };
        if self.messages.len() >= LISTING_LIMIT && !self.messages.contains_key(&number) {
            return Err("it lists more than 500,000 messages");
        }
        self.messages.entry(number).or_insert(Listed { number, size: None, uidl: None });
        Ok(Some((number, rest.trim_ascii())))
    }
}

/// What a line that was asked for says of `number`; `None`: it is no such line.
pub(super) fn of_one(number: u32, text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii();
    let end = text.iter().position(u8::is_ascii_whitespace)?;
    let (first, rest) = text.split_at_checked(end)?;
    (first == number.to_string().as_bytes()).then(|| rest.trim_ascii())
}

pub(super) fn digits(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.bytes().all(|octet| octet.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_or_counted() {
        let mut listing = Listing::default();
        listing.uidl_line(b"7 whqtswO00WBw418f9t5JxYwZ \r\n").unwrap();
        listing.size_line(b"").unwrap();
        let odd = ["0 1", "x 1", "-1 1", "+1 1", "4294967296 1", "1e3 1"];
        odd.iter().for_each(|line| listing.size_line(line.as_bytes()).unwrap());
        assert_eq!((listing.unread(), listing.len()), (odd.len() as u64, 1));
        for (line, size) in
            [("7 120", Some(120)), ("8 18446744073709551616", None), ("9 -5", None), ("10", None)]
        {
            listing.size_line(line.as_bytes()).unwrap();
            let number = line.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(listing.messages[&number].size, size, "{line}");
        }
        let messages = listing.into_messages();
        assert_eq!(messages.iter().map(|m| m.number).collect::<Vec<_>>(), [7, 8, 9, 10]);
        assert_eq!(messages[0].uidl.as_deref(), Some(b"whqtswO00WBw418f9t5JxYwZ".as_slice()));
    }

    #[test]
    fn of_two_words_neither_is_believed_until_it_is_said_alone() {
        let lists = || {
            let mut listing = Listing::default();
            for (size, uidl) in [("1 10", "1 a"), ("3 30", "3 c"), ("3 31", "4 d")] {
                listing.size_line(size.as_bytes()).unwrap();
                listing.uidl_line(uidl.as_bytes()).unwrap();
            }
            listing
        };
        let mut listing = lists();
        assert_eq!(listing.doubtful(5, true, false), [2, 3, 4, 5]);
        assert_eq!(listing.doubtful(0, true, false), [2, 3, 4]);
        listing.settle(2, Some(20), Some(b"b".to_vec()));
        listing.settle(3, Some(31), Some(b"c".to_vec()));
        listing.settle(5, None, None);
        assert_eq!(listing.doubtful(0, true, false), [4]);
        assert_eq!(listing.len(), 4);
        let unknown = Listed { number: 3, size: None, uidl: None };
        assert_eq!(lists().into_messages()[1], unknown);
    }
}
