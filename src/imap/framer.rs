//! Cuts the octets of a server into responses (RFC 3501, 7; literals: 4.3) and takes message bodies out of
//! them. A machine without a socket: octets in, one piece of work out at a time. It refuses lengths above
//! its caps before a single octet of them is stored.

/// The longest response without the bodies diverted from it; octets.
const LONGEST_RESPONSE: usize = 1024 * 1024;
/// The longest literal that is not a body; octets.
const LONGEST_LITERAL: u64 = 64 * 1024;
/// The longest body that is taken at all: 4 GiB, the limit of RFC822.SIZE in RFC 3501.
const LONGEST_BODY: u64 = u32::MAX as u64;
/// The largest piece of a body handed on at once; octets.
const PIECE: usize = 64 * 1024;

/// What a [`Framer`] made of some octets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A complete response with its CRLF; each body in it is replaced by a quoted [`token`].
    Response(Vec<u8>),
    /// A body begins.
    Begin(u64),
    /// More of it.
    Data(Vec<u8>),
    /// It is complete.
    End,
}

/// Why the octets cannot be cut.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// A response grew above the cap.
    #[error("sent a response of more than {LONGEST_RESPONSE} octets")]
    LongResponse,
    /// A literal was announced above the cap.
    #[error("announced a literal of {0} octets")]
    LongLiteral(String),
}

/// The machine.
#[derive(Debug)]
pub(super) struct Framer {
    response: Vec<u8>,
    state: State,
    bodies: u64,
    nonce: u64,
}

#[derive(Debug)]
enum State {
    /// Inside a line.
    Line,
    /// Inside a literal that stays in the response.
    Literal(u64),
    /// A body's `Begin` was told.
    Body(u64),
    /// All octets of a body came.
    BodyEnd,
}

impl Framer {
    /// A framer whose tokens no server can guess: `nonce` is random.
    pub(super) fn new(nonce: u64) -> Self {
        Framer { response: Vec::new(), state: State::Line, bodies: 0, nonce }
    }

    /// Takes octets from the front of `data` until a frame is complete; `None` when all are taken and none is.
    pub(super) fn next(&mut self, data: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                State::BodyEnd => {
                    self.state = State::Line;
                    return Ok(Some(Frame::End));
                }
                State::Body(left) => {
                    if data.is_empty() {
                        return Ok(None);
                    }
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(data.len()).min(PIECE);
                    let piece = take(data, most).to_vec();
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 { State::BodyEnd } else { State::Body(left) };
                    return Ok(Some(Frame::Data(piece)));
                }
                State::Literal(left) => {
                    if left > 0 && data.is_empty() {
                        return Ok(None);
                    }
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                    let piece = take(data, most);
                    self.response.extend_from_slice(piece);
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 { State::Line } else { State::Literal(left) };
                }
                State::Line => {
                    let Some(at) = memchr::memchr(b'\n', data) else {
                        self.grow(data)?;
                        *data = &[];
                        return Ok(None);
                    };
                    let line = take(data, at + 1);
                    self.grow(line)?;
                    if let Some(frame) = self.line_end()? {
                        return Ok(Some(frame));
                    }
                }
            }
        }
    }

    /// Whether nothing of a response is held.
    pub(super) fn is_between(&self) -> bool {
        self.response.is_empty() && matches!(self.state, State::Line)
    }

    /// Whether a body has begun and not ended.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_) | State::BodyEnd)
    }

    fn grow(&mut self, more: &[u8]) -> Result<(), FrameError> {
        if self.response.len() + more.len() > LONGEST_RESPONSE {
            return Err(FrameError::LongResponse);
        }
        self.response.extend_from_slice(more);
        Ok(())
    }

    fn line_end(&mut self) -> Result<Option<Frame>, FrameError> {
        // Some servers end a line with a line feed alone.
        if !self.response.ends_with(b"\r\n") {
            self.response.pop();
            self.response.extend_from_slice(b"\r\n");
        }
        if let Some(literal) = literal(&self.response) {
            let (head, digits) = literal;
            let announced = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u64>().ok());
            let shown = || {
                String::from_utf8_lossy(digits.get(..digits.len().min(30)).unwrap_or_default()).into_owned()
            };
            let head_len = head.len();
            if is_body(head) {
                let Some(size) = announced.filter(|s| *s <= LONGEST_BODY) else {
                    return Err(FrameError::LongLiteral(shown()));
                };
                self.bodies += 1;
                self.response.truncate(head_len);
                let token = token(self.nonce, self.bodies);
                self.response.extend_from_slice(format!("\"{token}\"").as_bytes());
                self.state = if size == 0 { State::BodyEnd } else { State::Body(size) };
                return Ok(Some(Frame::Begin(self.bodies)));
            }
            let Some(size) = announced.filter(|s| *s <= LONGEST_LITERAL) else {
                return Err(FrameError::LongLiteral(shown()));
            };
            let size_len = usize::try_from(size).unwrap_or(usize::MAX);
            if self.response.len().saturating_add(size_len) > LONGEST_RESPONSE {
                return Err(FrameError::LongResponse);
            }
            self.state = State::Literal(size);
            return Ok(None);
        }
        let response = std::mem::take(&mut self.response);
        Ok(if response == b"\r\n" { None } else { Some(Frame::Response(response)) })
    }

    /// The number of the body that a token stands for.
    pub(super) fn body_of(&self, token: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(token).ok()?.strip_prefix("mailhaul-")?;
        let (nonce, number) = text.split_once('-')?;
        (u64::from_str_radix(nonce, 16).ok()? == self.nonce).then_some(())?;
        number.parse().ok()
    }
}

fn token(nonce: u64, number: u64) -> String {
    format!("mailhaul-{nonce:016x}-{number}")
}

fn take<'d>(data: &mut &'d [u8], count: usize) -> &'d [u8] {
    let (front, rest) = data.split_at(count.min(data.len()));
    *data = rest;
    front
}

/// The text before a literal that a line ends with, and its digits. The free text of a status response may
/// look like a literal and is none; neither is one what is no untagged response.
fn literal(response: &[u8]) -> Option<(&[u8], &[u8])> {
    if !response.starts_with(b"* ") {
        return None;
    }
    let line = response.strip_suffix(b"}\r\n")?;
    let open = memchr::memrchr(b'{', line)?;
    let digits = line.get(open + 1..)?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || is_free_text(response) {
        return None;
    }
    let head = line.get(..open)?;
    Some((head.strip_suffix(b"~").unwrap_or(head), digits))
}

/// `+ text`, or a status response, tagged or not.
fn is_free_text(response: &[u8]) -> bool {
    if response.starts_with(b"+") {
        return true;
    }
    let mut words = response.split(|b| matches!(b, b' ' | b'\r'));
    let _tag = words.next();
    let word = words.next().unwrap_or_default();
    [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].iter().any(|status| word.eq_ignore_ascii_case(status))
}

/// Whether the literal after `head` is a message's body: in a FETCH response, after `BODY[...]`,
/// `BINARY[...]` or `RFC822`.
fn is_body(head: &[u8]) -> bool {
    let mut words = head.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let (star, _number, fetch) = (words.next(), words.next(), words.next());
    if star != Some(b"*") || !fetch.is_some_and(|w| w.eq_ignore_ascii_case(b"FETCH")) {
        return false;
    }
    let item = head.trim_ascii_end().rsplit(|b| matches!(b, b' ' | b'(')).next().unwrap_or_default();
    let upper = item.to_ascii_uppercase();
    upper.ends_with(b"]") || upper.ends_with(b">") || upper.starts_with(b"RFC822")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(framer: &mut Framer, chunks: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
        let mut all = Vec::new();
        for chunk in chunks {
            let mut data = *chunk;
            while let Some(frame) = framer.next(&mut data)? {
                match (all.last_mut(), frame) {
                    (Some(Frame::Data(sum)), Frame::Data(more)) => sum.extend(more),
                    (_, frame) => all.push(frame),
                }
            }
            assert!(data.is_empty());
        }
        Ok(all)
    }

    const TALK: &[u8] = b"* OK ready {5}\r\n* LIST () \"/\" {3}\r\na b\r\n* 1 FETCH (UID 7 BODY[] {12}\r\nhi {3}\r\n* 2 x FLAGS (\\Seen))\r\n* 2 FETCH (BODY[] {0}\r\n UID 8)\r\nA1 OK done {9}\r\n+ go {1}\r\n";

    #[test]
    fn bodies_are_taken_out_and_everything_else_stays() {
        let mut framer = Framer::new(1);
        let all = frames(&mut framer, &[TALK]).unwrap();
        let response = |text: &str| Frame::Response(text.as_bytes().to_vec());
        assert_eq!(
            all,
            vec![
                response("* OK ready {5}\r\n"),
                response("* LIST () \"/\" {3}\r\na b\r\n"),
                Frame::Begin(1),
                Frame::Data(b"hi {3}\r\n* 2 ".to_vec()),
                Frame::End,
                response("* 1 FETCH (UID 7 BODY[] \"mailhaul-0000000000000001-1\"x FLAGS (\\Seen))\r\n"),
                Frame::Begin(2),
                Frame::End,
                response("* 2 FETCH (BODY[] \"mailhaul-0000000000000001-2\" UID 8)\r\n"),
                response("A1 OK done {9}\r\n"),
                response("+ go {1}\r\n"),
            ]
        );
        assert!(framer.is_between());
        assert_eq!(framer.body_of(b"mailhaul-0000000000000001-2"), Some(2));
        assert_eq!(framer.body_of(b"mailhaul-0000000000000002-2"), None);
    }

    #[test]
    fn lengths_are_capped_before_they_are_believed() {
        for line in [
            "* 1 FETCH (BODY[] {18446744073709551616}\r\n",
            "* 1 FETCH (BODY[] {9223372036854775808}\r\n",
            "* LIST () \"/\" {70000}\r\n",
        ] {
            let failed = frames(&mut Framer::new(1), &[line.as_bytes()]);
            assert!(matches!(failed, Err(FrameError::LongLiteral(_))), "{line}");
        }
        let endless = vec![b'x'; LONGEST_RESPONSE + 1];
        assert_eq!(frames(&mut Framer::new(1), &[&endless]), Err(FrameError::LongResponse));
        let literal = b"* LIST {60000}\r\n".to_vec();
        let mut many = Vec::new();
        for _ in 0..20 {
            many.extend_from_slice(&literal);
            many.extend(vec![b'y'; 60_000]);
        }
        assert!(frames(&mut Framer::new(1), &[&many]).is_err());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_octets_are_split(cuts in prop::collection::vec(0..TALK.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, TALK.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &TALK[w[0]..w[1]]).collect();
            prop_assert_eq!(frames(&mut Framer::new(1), &chunks), frames(&mut Framer::new(1), &[TALK]));
        }

        #[test]
        fn no_octets_panic(data in prop::collection::vec(prop::sample::select(b"* 1FETCH(BODY[]{5}\r\nOK+~<>\"".to_vec()), 0..200)) {
            let _ = frames(&mut Framer::new(1), &[&data]);
        }
    }
}
