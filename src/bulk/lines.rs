//! Lines and fields (RFC 4180, with any separator): each field with its line and column. It refuses a quoted
//! field that goes on in the next line: no value here has two lines, and a quote that was forgotten would
//! swallow the rest of the list.

use zeroize::Zeroizing;

use super::Mistake;

/// Octets of a line, and its fields.
const LONGEST: usize = 16 << 10;
const FIELDS: usize = 64;

/// One field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) text: Zeroizing<String>,
    /// Line and column, in characters from 1.
    pub(super) at: (usize, usize),
}

/// The fields of one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) fields: Vec<Field>,
    /// The column behind the last character.
    pub(super) end: usize,
}

/// The text of a list: UTF-8, with or without its mark at the beginning.
pub(super) fn text(octets: &[u8]) -> Result<&str, Mistake> {
    let octets = octets.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(octets);
    let mistake = |at, what: &str| Mistake {
        at,
        what: what.to_owned(),
        mend: "save the list as UTF-8, with LF or CRLF at the ends of its lines".to_owned(),
    };
    if octets.starts_with(b"\xFF\xFE") || octets.starts_with(b"\xFE\xFF") {
        return Err(mistake((1, 1), "is UTF-16"));
    }
    let text = std::str::from_utf8(octets).map_err(|error| {
        let good = octets.get(..error.valid_up_to()).unwrap_or_default();
        let good = String::from_utf8_lossy(good);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        mistake((line, column), "is not UTF-8 here")
    })?;
    if text.contains('\r') && !text.contains('\n') {
        return Err(mistake((1, 1), "has lines that end with CR alone"));
    }
    Ok(text)
}

/// The separator that a first line `sep=;` tells, as Excel writes it for itself.
pub(super) fn told_separator(line: &str) -> Option<char> {
    let line = line.trim_end_matches(['\r', '\n']).trim_matches('"');
    let rest =
        line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).and_then(|_| line.get(4..))?;
    let mut characters = rest.chars();
    let separator = characters.next().filter(|c| ";,\t|".contains(*c))?;
    characters.all(|c| c == separator).then_some(separator)
}

/// Every line that has something in it. What a table's empty rows and its first line for Excel say is nothing.
pub(super) fn lines(text: &str, separator: char, mistakes: &mut Vec<Mistake>) -> Vec<Line> {
    let numbered = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).zip(1..);
    let is_empty = |line: &str| line.chars().all(|c| c == separator || c == '"' || c.is_whitespace());
    let mut first = true;
    numbered
        .filter(|(line, _)| !is_empty(line))
        .filter(|(line, _)| !(std::mem::take(&mut first) && told_separator(line).is_some()))
        .filter_map(|(line, number)| match fields(line, number, separator) {
            Ok(fields) => Some(Line { number, fields, end: line.chars().count() + 1 }),
            Err(mistake) => {
                mistakes.push(mistake);
                None
            }
        })
        .collect()
}

fn fields(line: &str, number: usize, separator: char) -> Result<Vec<Field>, Mistake> {
    let mut fields = Vec::new();
    if line.len() > LONGEST || line.matches(separator).count() > FIELDS {
        let what = format!("the line has more than {LONGEST} octets or {FIELDS} fields");
        let mend = "write one line a mailbox".to_owned();
        return Err(Mistake { at: (number, 1), what, mend });
    }
    let mut characters = line.chars().zip(1..).peekable();
    loop {
        // Room for all of it: a value that grew would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(line.len()));
        let mut at = characters.peek().map_or(line.chars().count() + 1, |(_, column)| *column);
        let quoted = characters.clone().find(|(c, _)| *c != ' ').is_some_and(|(c, _)| c == '"');
        let mut ended = true;
        if quoted {
            while characters.next_if(|(c, _)| *c == ' ').is_some() {}
            at = characters.next().map_or(at, |(_, column)| column);
            let mut closed = false;
            while let Some((c, _)) = characters.next() {
                if c != '"' {
                    text.push(c);
                } else if characters.next_if(|(c, _)| *c == '"').is_some() {
                    text.push('"');
                } else {
                    closed = true;
                    break;
                }
            }
            if !closed {
                return Err(Mistake {
                    at: (number, at),
                    what: "a quote is not closed on its line".to_owned(),
                    mend: "close it; inside quotes, write a quote twice".to_owned(),
                });
            }
            while characters.next_if(|(c, _)| *c == ' ').is_some() {}
            match characters.next() {
                None => {}
                Some((c, _)) if c == separator => ended = false,
                Some((_, column)) => {
                    return Err(Mistake {
                        at: (number, column),
                        what: "something follows a closing quote".to_owned(),
                        mend: format!("write '{separator}' there; inside quotes, write a quote twice"),
                    });
                }
            }
        } else {
            for (c, _) in characters.by_ref() {
                if c == separator {
                    ended = false;
                    break;
                }
                text.push(c);
            }
        }
        fields.push(Field { text, at: (number, at) });
        if ended {
            return Ok(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Vec<(String, usize)>>, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let lines = lines(text, ';', &mut mistakes);
        let plain = |line: Line| line.fields.into_iter().map(|f| (f.text.to_string(), f.at.1)).collect();
        (lines.into_iter().map(plain).collect(), mistakes)
    }

    #[test]
    fn fields_have_their_columns() {
        let (lines, mistakes) = read("a;\"b;\"\"c\"; \"d\" ;é;x\"y;\r\n\r\n;");
        assert_eq!(mistakes, []);
        let all: Vec<&str> = lines[0].iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(all, ["a", "b;\"c", "d", "é", "x\"y", ""]);
        let columns: Vec<usize> = lines[0].iter().map(|(_, column)| *column).collect();
        assert_eq!(columns, [1, 3, 12, 17, 19, 23]);
        assert_eq!(lines.len(), 1, "an empty row is none");
    }

    #[test]
    fn what_excel_adds_says_nothing() {
        let (lines, mistakes) = read("sep=;\r\n;;;;\r\n\"\";\"\" ;\r\na;b\r\n");
        assert_eq!((lines.len(), mistakes), (1, Vec::new()));
        for (line, expected) in [
            ("sep=;", Some(';')),
            ("\"SEP=,\"", Some(',')),
            ("sep=\t\r", Some('\t')),
            ("sep=x", None),
            ("s", None),
            ("sep=", None),
        ] {
            assert_eq!(told_separator(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_forgotten_quote_costs_its_own_line() {
        let (lines, mistakes) = read("a;\"b\nc;d\ne;\"f\" g\n");
        assert_eq!(lines.len(), 1);
        assert_eq!(mistakes.iter().map(|m| m.at).collect::<Vec<_>>(), [(1, 3), (3, 7)]);
    }

    #[test]
    fn only_utf8() {
        assert_eq!(text(b"\xEF\xBB\xBFa;b").unwrap(), "a;b");
        assert_eq!(text(b"a\nb\xFF").unwrap_err().at, (2, 2));
        assert!(text(b"\xFF\xFEa\0").unwrap_err().what.contains("UTF-16"));
        assert!(text(b"a\rb").is_err());
    }
}
