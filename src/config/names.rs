//! Names that go on into paths, folders and protocol lines: addresses, folders, patterns, hosts.
//! Each function either returns a name that is safe there or says what is wrong and what is right.

use super::complaint::nearest;
use crate::account::Member;
use crate::message::FolderPath;

/// What is wrong, what would be right.
pub(super) type Wrong = (String, String);

fn wrong<T>(what: impl Into<String>, mend: impl Into<String>) -> Result<T, Wrong> {
    Err((what.into(), mend.into()))
}

/// The special uses of folders (RFC 6154) that patterns may name.
const SPECIAL: [&str; 8] =
    ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash"];

/// An account's name.
pub(super) fn account(written: &str) -> Result<(), Wrong> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    if (1..=64).contains(&written.len()) && written.bytes().all(good) {
        return Ok(());
    }
    wrong(format!("{written:?} is not a name"), "write 1 to 64 of a-z, 0-9, '.', '_' and '-'")
}

/// A member's address. The domain is written in small letters from here on, so that one member has
/// one mailbox.
pub(super) fn member(written: &str) -> Result<Member, Wrong> {
    let example = "write an address such as \"alice@example.com\"";
    let Some((local, domain)) = written.rsplit_once('@') else {
        return wrong(format!("{written:?} is not an address"), example);
    };
    for (part, name, most) in [(local, "part before the @", 64), (domain, "domain", 255)] {
        if part.is_empty() || part == "." || part == ".." {
            return wrong(format!("the {name} is {part:?}"), example);
        }
        if part.len() > most {
            return wrong(format!("the {name} is longer than {most} octets"), example);
        }
        if part.contains('/') || part.chars().any(char::is_control) {
            return wrong(format!("the {name} holds a character that cannot be in a path"), example);
        }
    }
    Ok(Member { local: local.to_owned(), domain: domain.to_lowercase() })
}

/// A folder with '/' between its levels.
pub(super) fn folder(written: &str) -> Result<Vec<String>, Wrong> {
    let example = "write names with '/' between them, such as \"INBOX/Gmail\"";
    if written.len() > 200 {
        return wrong("is longer than 200 octets", "write a shorter name");
    }
    if written.chars().any(char::is_control) {
        return wrong("holds a control character", example);
    }
    let levels: Vec<String> = written.split('/').map(str::to_owned).collect();
    for level in &levels {
        if level.is_empty() || level == "." || level == ".." {
            return wrong(format!("a level is {level:?}"), example);
        }
    }
    Ok(FolderPath(levels).folded().0)
}

/// A pattern on source folder names, or a special use.
pub(super) fn pattern(written: &str) -> Result<String, Wrong> {
    if written.is_empty() || written.len() > 1000 || written.chars().any(char::is_control) {
        return wrong(
            format!("{written:?} is not a pattern"),
            "write a folder name, with * and ? for any text",
        );
    }
    if !written.starts_with('\\') {
        return Ok(written.to_owned());
    }
    match SPECIAL.iter().find(|name| name.eq_ignore_ascii_case(written)) {
        Some(name) => Ok((*name).to_owned()),
        None => {
            let mend = match nearest(written, SPECIAL) {
                Some(near) => format!("did you mean \"\\{near}\"?"),
                None => format!("known: {}", SPECIAL.join(" ")),
            };
            wrong(format!("{written} is not a special use of folders"), mend)
        }
    }
}

/// The keyword that shows where a message came from.
pub(super) fn icon(written: &str) -> Result<(), Wrong> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if (1..=32).contains(&written.len()) && written.bytes().all(good) {
        return Ok(());
    }
    wrong(format!("{written:?} cannot be a keyword"), "write 1 to 32 of a-z, 0-9 and '-'")
}

/// A header field's name (RFC 5322, 2.2), in small letters.
pub(super) fn field(written: &str) -> Result<String, Wrong> {
    let good = |c: u8| c.is_ascii_graphic() && c != b':';
    if (1..=100).contains(&written.len()) && written.bytes().all(good) {
        return Ok(written.to_ascii_lowercase());
    }
    wrong(
        format!("{written:?} is not a header field"),
        "write its name without the colon, such as \"List-Id\"",
    )
}

/// A keyword that mail stores keep (RFC 3501, 9: an atom).
pub(super) fn keyword(written: &str) -> Result<(), Wrong> {
    let good = |c: u8| c.is_ascii_graphic() && !b"(){%*\"\\]".contains(&c);
    if (1..=64).contains(&written.len()) && written.bytes().all(good) {
        return Ok(());
    }
    wrong(format!("{written:?} cannot be a keyword"), "write 1 to 64 letters, digits and signs such as '$-_'")
}

/// A person's first or last name.
pub(super) fn person(written: &str) -> Result<(), Wrong> {
    if written.chars().count() > 200 || written.chars().any(char::is_control) {
        return wrong("is too long or holds a control character", "write the name on one line");
    }
    Ok(())
}

/// A server's name or address.
pub(super) fn host(written: &str) -> Result<(), Wrong> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b".-_:".contains(&c);
    if (1..=253).contains(&written.len()) && written.bytes().all(good) {
        return Ok(());
    }
    let mend = "write a name or an address such as \"pop.example.com\", without port or protocol";
    wrong(format!("{written:?} is not a host"), mend)
}

/// A login.
pub(super) fn username(written: &str) -> Result<(), Wrong> {
    if written.is_empty() || written.len() > 1000 {
        return wrong("is empty or too long", "write the login that the server expects");
    }
    if written.chars().any(char::is_control) {
        return wrong("holds a control character", "write the login that the server expects");
    }
    Ok(())
}

/// The path of a Maildir with placeholders.
pub(super) fn maildir(written: &str) -> Result<(), Wrong> {
    placeholders(written)?;
    if written.is_empty() || written.chars().any(char::is_control) {
        return wrong("is not a path", "write a path such as \"/var/vmail/{domain}/{local}/Maildir\"");
    }
    Ok(())
}

/// A template's placeholders.
pub(super) fn placeholders(written: &str) -> Result<(), Wrong> {
    let known = "use {member}, {local} and {domain} only";
    let mut rest = written;
    while let Some(at) = rest.find(['{', '}']) {
        let tail = rest.get(at..).unwrap_or_default();
        let name = ["{member}", "{local}", "{domain}"].into_iter().find(|name| tail.starts_with(name));
        let Some(name) = name else {
            let end = tail.find('}').map_or(tail.len(), |end| end + 1);
            let shown = tail.get(..end).unwrap_or(tail);
            return wrong(format!("{shown} is not a placeholder"), known);
        };
        rest = tail.get(name.len()..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let good = member("Alice@Example.COM").unwrap();
        assert_eq!((good.local.as_str(), good.domain.as_str()), ("Alice", "example.com"));
        assert!(member("지원@예시.한국").is_ok());
        assert!(member("\"a@b\"@c.d").is_ok());
        for bad in
            ["", "a", "@b", "a@", "..@b", "a@..", "a/b@c", "a\0@c", "a@b/c", &format!("{}@b", "a".repeat(65))]
        {
            assert!(member(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn folders() {
        assert_eq!(folder("inbox/A b").unwrap(), ["INBOX", "A b"]);
        for bad in ["", "/", "a//b", "a/", "../b", "a/.", "a\nb", &"x".repeat(201)] {
            assert!(folder(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patterns() {
        assert_eq!(pattern("\\trash").unwrap(), "\\Trash");
        assert!(pattern("\\Trahs").unwrap_err().1.contains("\\\\Trash"));
        assert!(pattern("").is_err());
        assert_eq!(pattern("Work/*").unwrap(), "Work/*");
    }

    #[test]
    fn maildirs() {
        assert!(maildir("/m/{domain}/{local}").is_ok());
        assert!(maildir("/m/{member}").is_ok());
        for bad in ["", "/m/{user}/{local}", "/m/{local", "/m/}"] {
            assert!(maildir(bad).is_err(), "{bad:?}");
        }
    }
}
