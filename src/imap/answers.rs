//! Readers for what the parser below does not know or reads too strictly: status lines, LIST, LSUB,
//! NAMESPACE, ID and QUOTA. Names stay octets, since a server's name need not be text. It refuses to guess: a line that
//! is not of its form is `None`.

/// Whether a response is a status response or a continuation, whose text is free.
pub(super) fn is_status(response: &[u8]) -> bool {
    // Whatever its tag is made of, and whatever follows the word at once: the parser takes more than there are.
    let word = response.splitn(3, |b| *b == b' ').nth(1).unwrap_or_default();
    let starts = |status: &&[u8]| word.get(..status.len()).is_some_and(|w| w.eq_ignore_ascii_case(status));
    response.starts_with(b"+") || [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].iter().any(starts)
}

/// Whether this room reads the response itself.
pub(super) fn is_ours(response: &[u8]) -> bool {
    let Some(rest) = response.strip_prefix(b"* ") else { return false };
    let word = rest.split(|b| *b == b' ').next().unwrap_or_default();
    // Nobody asks for METADATA here, and the parser takes it for granted that its names are text.
    [&b"LIST"[..], b"LSUB", b"NAMESPACE", b"STATUS", b"METADATA", b"ID", b"QUOTA", b"QUOTAROOT"]
        .iter()
        .any(|ours| word.eq_ignore_ascii_case(ours))
}

/// An untagged response with one blank where it has several, and none where there should be none: at its end, and
/// inside the brackets of a list. Strings and literals stay as they are. `None`: there is nothing to tidy.
pub(super) fn tidied(response: &[u8]) -> Option<Vec<u8>> {
    let text = response.strip_prefix(b"*")?.strip_suffix(b"\r\n")?;
    let mut tidy = b"*".to_vec();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let whole = match rest.first() {
            Some(b'"') => quoted_length(rest),
            _ => literal_length(rest).unwrap_or(1).min(rest.len()),
        };
        let piece = rest.get(..whole)?;
        at += whole;
        match piece {
            b" " | b"\t" => {
                let next = text.get(at).copied();
                let needless = matches!(next, None | Some(b' ' | b'\t' | b')')) || tidy.ends_with(b"(");
                tidy.extend((!needless).then_some(b' '));
            }
            _ => tidy.extend_from_slice(piece),
        }
    }
    tidy.extend_from_slice(b"\r\n");
    (tidy != response).then_some(tidy)
}

/// The start of a FETCH response that nobody could read, without any string of it: a string may be a subject.
pub(super) fn unread_fetch(line: &[u8]) -> Option<String> {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let (_star, _number, fetch) = (words.next()?, words.next()?, words.next()?);
    fetch.get(..5).filter(|start| start.eq_ignore_ascii_case(b"FETCH"))?;
    let plain = line.iter().take(80).take_while(|b| matches!(b, b' '..=b'~') && !b"\"{".contains(b));
    Some(plain.map(|b| char::from(*b)).collect())
}

/// Octets of the quoted string at the front, with its quotes.
pub(super) fn quoted_length(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            None => return text.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// Octets of the literal at the front, with its announcement.
pub(super) fn literal_length(text: &[u8]) -> Option<usize> {
    let inside = text.strip_prefix(b"{")?;
    let digits = inside.iter().take_while(|b| b.is_ascii_digit()).count();
    let count: usize = std::str::from_utf8(inside.get(..digits)?).ok()?.parse().ok()?;
    let end = inside.get(digits..)?;
    let end = if end.starts_with(b"+") { end.get(1..)? } else { end };
    let line = inside.len() - end.len() + 1;
    end.starts_with(b"}\r\n").then(|| (line + 3).saturating_add(count))
}

/// A status response reduced to what every parser reads, if it is one.
pub(super) fn plain_status(response: &[u8]) -> Option<Vec<u8>> {
    let (tag, status) = status_of(response)?;
    let text =
        String::from_utf8_lossy(response).replace(|c: char| c.is_control(), "").replace(['[', ']'], "_");
    Some(format!("{tag} {status} {text}\r\n").into_bytes())
}

fn status_of(response: &[u8]) -> Option<(String, &'static str)> {
    let text = response.strip_suffix(b"\r\n").unwrap_or(response);
    let mut words = text.splitn(3, |b| *b == b' ');
    let (tag, word) = (words.next()?, words.next()?);
    let status = ["OK", "NO", "BAD", "BYE", "PREAUTH"]
        .into_iter()
        .find(|s| word.eq_ignore_ascii_case(s.as_bytes()))?;
    let plain = !tag.is_empty() && tag.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'*');
    plain.then(|| Some((String::from_utf8(tag.to_vec()).ok()?, status)))?
}

/// One line of LIST or LSUB (RFC 3501, 7.2.2 and 7.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListLine {
    pub(super) attributes: Vec<String>,
    pub(super) delimiter: Option<u8>,
    pub(super) name: Vec<u8>,
    pub(super) subscribed: bool,
}

pub(super) fn list(line: &[u8]) -> Option<ListLine> {
    let mut reader = Reader(line.strip_suffix(b"\r\n").unwrap_or(line));
    reader.word(b"*")?;
    let kind = reader.atom()?;
    let subscribed = kind.eq_ignore_ascii_case(b"LSUB");
    if !subscribed && !kind.eq_ignore_ascii_case(b"LIST") {
        return None;
    }
    reader.space()?;
    reader.expect(b'(')?;
    let mut attributes = Vec::new();
    while !reader.skip(b')') {
        let attribute = reader.atom()?;
        attributes.push(String::from_utf8_lossy(attribute).into_owned());
        let _ = reader.space();
    }
    reader.space()?;
    let delimiter = reader.nstring()?.and_then(|d| d.first().copied());
    reader.space()?;
    let name = reader.astring()?;
    Some(ListLine { attributes, delimiter, name, subscribed })
}

/// The number of messages in a STATUS response.
pub(super) fn status_messages(line: &[u8]) -> Option<u64> {
    status_item(line, b"MESSAGES")
}

/// A number in a STATUS response (RFC 3501, 7.2.4); the folder's name is whatever it is.
pub(super) fn status_item(line: &[u8], item: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line).trim_ascii_end().strip_suffix(b")")?;
    line.get(..8).filter(|start| start.eq_ignore_ascii_case(b"* STATUS"))?;
    let list = line.rsplit(|b| *b == b'(').next()?;
    let mut words = list.split(|b| *b == b' ').filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        let value = words.next()?;
        if word.eq_ignore_ascii_case(item) {
            return std::str::from_utf8(value).ok()?.parse().ok();
        }
    }
    None
}

/// What of a quota root is used, and its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) storage: Option<(u64, u64)>,
    pub(super) messages: Option<(u64, u64)>,
}

/// A QUOTA response (RFC 9208, 4.2.1).
pub(super) fn quota(line: &[u8]) -> Option<Quota> {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line).trim_ascii_end().strip_suffix(b")")?;
    line.get(..8).filter(|start| start.eq_ignore_ascii_case(b"* QUOTA "))?;
    let list = std::str::from_utf8(line.rsplit(|b| *b == b'(').next()?).ok()?;
    let mut words = list.split_ascii_whitespace();
    let mut quota = Quota::default();
    while let Some(word) = words.next() {
        let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        match word.to_ascii_uppercase().as_str() {
            "STORAGE" => quota.storage = Some(numbers),
            "MESSAGE" => quota.messages = Some(numbers),
            _ => {}
        }
    }
    Some(quota)
}

/// The namespaces (RFC 2342): the prefixes of personal, and of other users' and shared folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Namespaces {
    pub(super) personal: Vec<Vec<u8>>,
    pub(super) foreign: Vec<Vec<u8>>,
}

impl Namespaces {
    /// The personal prefix of a name, if it has one.
    pub(super) fn prefix_of(&self, name: &[u8]) -> &[u8] {
        longest(&self.personal, name, 0).unwrap_or_default()
    }

    /// Whether a folder belongs to somebody else: the longest prefix that fits is not a personal one. Some
    /// servers have their shared folders under no prefix at all.
    pub(super) fn is_foreign(&self, name: &[u8], delimiter: Option<u8>) -> bool {
        if name.eq_ignore_ascii_case(b"INBOX") {
            return false;
        }
        let cut = usize::from(delimiter.is_some());
        match (longest(&self.foreign, name, cut), longest(&self.personal, name, cut)) {
            (Some(foreign), personal) => personal.is_none_or(|own| own.len() < foreign.len()),
            (None, _) => false,
        }
    }
}

/// The longest prefix that fits; one that ends in its delimiter also fits the folder of that name itself.
fn longest<'p>(prefixes: &'p [Vec<u8>], name: &[u8], cut: usize) -> Option<&'p [u8]> {
    let fits = |prefix: &&Vec<u8>| {
        let bare = prefix.get(..prefix.len().saturating_sub(cut)).unwrap_or_default();
        name.starts_with(prefix) || (cut > 0 && !prefix.is_empty() && name == bare)
    };
    prefixes.iter().filter(fits).max_by_key(|prefix| prefix.len()).map(Vec::as_slice)
}

pub(super) fn namespace(line: &[u8]) -> Option<Namespaces> {
    let mut reader = Reader(line.strip_suffix(b"\r\n").unwrap_or(line));
    reader.word(b"*")?;
    if !reader.atom()?.eq_ignore_ascii_case(b"NAMESPACE") {
        return None;
    }
    reader.space()?;
    let personal = reader.namespaces()?;
    reader.space()?;
    let mut foreign = reader.namespaces()?;
    reader.space()?;
    foreign.extend(reader.namespaces()?);
    Some(Namespaces { personal, foreign })
}

/// Reads tokens from the front of a line.
struct Reader<'l>(&'l [u8]);

impl<'l> Reader<'l> {
    fn skip(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip(byte).then_some(())
    }

    fn space(&mut self) -> Option<()> {
        self.expect(b' ')?;
        while self.skip(b' ') {}
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        self.space()
    }

    fn atom(&mut self) -> Option<&'l [u8]> {
        let end = self.0.iter().position(|b| b" ()\"".contains(b)).unwrap_or(self.0.len());
        let (atom, rest) = self.0.split_at(end);
        self.0 = rest;
        (!atom.is_empty()).then_some(atom)
    }

    fn nstring(&mut self) -> Option<Option<Vec<u8>>> {
        if self.0.first() == Some(&b'"') || self.0.first() == Some(&b'{') {
            return self.astring().map(Some);
        }
        self.atom()?.eq_ignore_ascii_case(b"NIL").then_some(None)
    }

    fn astring(&mut self) -> Option<Vec<u8>> {
        if self.skip(b'"') {
            let mut text = Vec::new();
            loop {
                let (&byte, rest) = self.0.split_first()?;
                self.0 = rest;
                match byte {
                    b'"' => return Some(text),
                    b'\\' => {
                        let (&escaped, rest) = self.0.split_first()?;
                        text.push(escaped);
                        self.0 = rest;
                    }
                    byte => text.push(byte),
                }
            }
        }
        if self.skip(b'{') {
            let end = memchr::memchr(b'\n', self.0)?;
            let digits: Vec<u8> = self.0.get(..end)?.iter().copied().filter(u8::is_ascii_digit).collect();
            let size: usize = std::str::from_utf8(&digits).ok()?.parse().ok()?;
            let text = self.0.get(end + 1..)?.get(..size)?.to_vec();
            self.0 = self.0.get(end + 1 + size..)?;
            return Some(text);
        }
        // An unquoted name: to the end of the line, since some servers do not quote spaces either; but for data that
        // extends the line (RFC 5258, 6), which begins with a list of tagged items.
        let line = std::mem::take(&mut self.0);
        let extended = memchr::memmem::find(line, b" (\"").filter(|_| line.ends_with(b"))"));
        let name =
            extended.and_then(|at| line.get(..at)).filter(|name| !name.contains(&b' ')).unwrap_or(line);
        (!name.is_empty()).then(|| name.to_vec())
    }

    fn namespaces(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut prefixes = Vec::new();
        if !self.skip(b'(') {
            return self.atom()?.eq_ignore_ascii_case(b"NIL").then_some(prefixes);
        }
        while !self.skip(b')') {
            self.expect(b'(')?;
            prefixes.push(self.astring()?);
            // The delimiter, and extensions that nobody needs here.
            while !self.skip(b')') {
                let _ = self.space();
                if self.skip(b'(') {
                    while !self.skip(b')') {
                        self.nstring()?;
                        let _ = self.space();
                    }
                } else {
                    self.nstring()?;
                }
            }
            let _ = self.space();
        }
        Some(prefixes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn list_lines() {
        let line = list(b"* LIST (\\HasNoChildren \\Sent) \"/\" \"A \\\"B\\\"/C\"\r\n").unwrap();
        assert_eq!(line.attributes, ["\\HasNoChildren", "\\Sent"]);
        assert_eq!((line.delimiter, line.name.as_slice()), (Some(b'/'), &b"A \"B\"/C"[..]));
        let line = list(b"* lsub () NIL {5}\r\na\r\nbc\r\n").unwrap();
        assert_eq!((line.delimiter, line.name.as_slice(), line.subscribed), (None, &b"a\r\nbc"[..], true));
        let line =
            list(b"* LIST () \"\\\\\" Public Folders\\x (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n").unwrap();
        assert_eq!(line.delimiter, Some(b'\\'));
        let names = |line: &[u8]| String::from_utf8(list(line).unwrap().name).unwrap();
        assert_eq!(names(b"* LIST (\\A) \"/\" INBOX (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"), "INBOX");
        assert_eq!(names(b"* LIST () \"/\" \"A\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"), "A");
        assert_eq!(names(b"* LIST () \"/\" A (b) c\r\n"), "A (b) c");
        assert_eq!(list(b"* LIST (\\A \"/\" x\r\n"), None);
    }

    #[test]
    fn blanks_are_put_in_order() {
        let tidy = |text: &str| tidied(text.as_bytes()).map(|tidy| String::from_utf8(tidy).unwrap());
        for (odd, good) in [
            ("* 1 FETCH (UID 5  FLAGS ())\r\n", "* 1 FETCH (UID 5 FLAGS ())\r\n"),
            ("*  1  FETCH\t( UID 5 FLAGS (\\Seen ) ) \r\n", "* 1 FETCH (UID 5 FLAGS (\\Seen))\r\n"),
            ("* 1 FETCH (X \"a  ( b\"  Y)\r\n", "* 1 FETCH (X \"a  ( b\" Y)\r\n"),
            ("* 1 FETCH (X {4}\r\na  b  Y)\r\n", "* 1 FETCH (X {4}\r\na  b Y)\r\n"),
            ("* 5  EXISTS\r\n", "* 5 EXISTS\r\n"),
        ] {
            assert_eq!(tidy(odd).as_deref(), Some(good), "{odd}");
            assert_eq!(tidy(good), None);
        }
        assert_eq!(tidy("A1 OK  done\r\n"), None);
        let shown = |text: &str| unread_fetch(text.as_bytes());
        assert_eq!(
            shown("* 9 FETCH (UID 5 SUBJECT \"hush\"\r\n").as_deref(),
            Some("* 9 FETCH (UID 5 SUBJECT ")
        );
        assert_eq!(shown("* FLAGS (\\Seen\r\n"), None);
    }

    #[test]
    fn status_lines() {
        assert_eq!(status_messages(b"* STATUS \"a (b\" (MESSAGES 17 UIDNEXT 5)\r\n"), Some(17));
        assert_eq!(status_messages(b"* STATUS x (UIDNEXT 5)\r\n"), None);
    }

    #[test]
    fn quotas() {
        let read = quota(b"* QUOTA \"a (b\" (STORAGE 10 512 message 3 5 X-NUM-FOLDERS 1 2)\r\n").unwrap();
        assert_eq!(read, Quota { storage: Some((10, 512)), messages: Some((3, 5)) });
        assert_eq!(quota(b"* QUOTA \"\" ()\r\n"), Some(Quota::default()));
        for odd in
            [&b"* QUOTAROOT INBOX x\r\n"[..], b"* QUOTA x (STORAGE 1)\r\n", b"* QUOTA x (STORAGE -1 5)\r\n"]
        {
            assert_eq!(quota(odd), None, "{}", odd.escape_ascii());
        }
    }

    #[test]
    fn namespaces() {
        let line =
            b"* NAMESPACE ((\"INBOX.\" \".\")) NIL ((\"shared.\" \".\" \"X\" (\"a\" \"b\"))(\"\" \"/\"))\r\n";
        let found = namespace(line).unwrap();
        assert_eq!(found.prefix_of(b"INBOX.a"), b"INBOX.");
        for (name, foreign) in [
            (&b"INBOX"[..], false),
            (b"inbox", false),
            (b"INBOX.a", false),
            (b"shared.x", true),
            (b"shared", true),
            (b"bulletin", true),
        ] {
            assert_eq!(found.is_foreign(name, Some(b'.')), foreign, "{}", String::from_utf8_lossy(name));
        }
        let dovecot = namespace(b"* NAMESPACE ((\"\" \"/\")) NIL ((\"Public/\" \"/\"))\r\n").unwrap();
        assert!(!dovecot.is_foreign(b"Work", Some(b'/')));
        assert!(dovecot.is_foreign(b"Public/x", Some(b'/')) && dovecot.is_foreign(b"Public", Some(b'/')));
        assert_eq!(namespace(b"* NAMESPACE NIL NIL NIL\r\n"), Some(Namespaces::default()));
    }

    #[test]
    fn an_unreadable_status_line_becomes_readable() {
        let plain = plain_status(b"A7 NO [WEIRD \"x] y\r\n").unwrap();
        assert!(plain.starts_with(b"A7 NO "));
        assert_eq!(plain_status(b"* 5 EXISTS\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in prop::collection::vec(prop::sample::select(b"* LISTNAMEPCLSUB()\"\\{}3NIL /\r\n\xff\0".to_vec()), 0..80)) {
            let _ = (list(&line), namespace(&line), status_messages(&line), plain_status(&line), is_status(&line), quota(&line));
        }
    }
}
