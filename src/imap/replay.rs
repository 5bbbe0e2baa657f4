//! A server's octets read as a session reads them, without a connection and without asking anything: for
//! tools that study what a server said. It refuses to hold a session's state: each response stands alone.

use async_imap::imap_proto::Response as Parsed;

use super::answers;
use super::folders;
use super::framer::{Frame, Framer};
use super::response::Response;
use super::transport::{Sorted, sort};
use crate::message::FolderPath;

/// One thing that a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A response, and what it means, as a programmer sees it.
    Response(String),
    /// A response that only the readers of this room know, or nobody, as it came.
    Aside(Vec<u8>),
    /// A message's body begins; they are counted from 1.
    Begin(u64),
    /// Octets of it, 64 KiB at most.
    Data(Vec<u8>),
    /// It is complete.
    End,
}

/// Reads octets that came in these pieces, until they end.
///
/// # Errors
/// The server broke a limit: a response above 1 MiB, a literal above 64 KiB that is no body, a body above
/// 4 GiB. What came before is lost.
pub fn replay<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Vec<Heard>, String> {
    // Nobody can guess this number from outside: there is no outside.
    let mut framer = Framer::new(0);
    let mut heard = Vec::new();
    for piece in pieces {
        let mut data = piece;
        while let Some(frame) = framer.next(&mut data).map_err(|error| error.to_string())? {
            heard.push(match frame {
                Frame::Begin(number) => Heard::Begin(number),
                Frame::Data(octets) => Heard::Data(octets),
                Frame::End => Heard::End,
                Frame::Response(response) => match sort(response) {
                    Sorted::Side(line) | Sorted::Unread(line) => Heard::Aside(line),
                    Sorted::Parser(response, _) => match Parsed::parse(&response) {
                        Ok((_, parsed)) => Heard::Response(format!("{:?}", Response::read(&parsed))),
                        Err(_) => Heard::Aside(response),
                    },
                },
            });
        }
    }
    Ok(heard)
}

/// The folder that a line of LIST or LSUB names (RFC 3501, 7.2.2), level by level. `None`: it is no such line.
pub fn folder(line: &[u8]) -> Option<FolderPath> {
    let line = answers::list(line)?;
    Some(folders::decode(&line.name, line.delimiter, b"").0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_hears_what_a_session_hears() {
        let talk: &[u8] = b"* OK ready\r\n* LIST () \"/\" a/b\r\n* 1 FETCH (UID 7 BODY[] {2}\r\nhi)\r\n";
        let heard = replay([talk]).unwrap();
        assert_eq!(heard.len(), 6, "{heard:?}");
        assert_eq!(heard[1], Heard::Aside(b"* LIST () \"/\" a/b\r\n".to_vec()));
        assert_eq!(heard[2..5], [Heard::Begin(1), Heard::Data(b"hi".to_vec()), Heard::End]);
        assert!(matches!(&heard[5], Heard::Response(words) if words.contains("Some(7)")), "{heard:?}");
        assert_eq!(folder(b"* LIST () \"/\" a/b\r\n"), Some(FolderPath(vec!["a".into(), "b".into()])));
        assert!(replay([b"* LIST () \"/\" {70000}\r\n".as_slice()]).is_err());
    }
}
