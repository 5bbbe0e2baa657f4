//! Lists of mailboxes in any octets: rows that are good, or mistakes with their places, and no password in them.

use mailhaul::bulk::{Format, read};

/// Stands for every password: a list that was accepted is complained of with it as a login.
const FORMATS: [Format; 3] = [Format::Konsoleh, Format::Yandex, Format::Mailhaul];

/// The first octet chooses the format and whether there is a domain.
pub fn run(data: &[u8]) {
    let Some((first, list)) = data.split_first() else { return };
    let format = FORMATS[usize::from(*first) % FORMATS.len()];
    let domain = (first & 64 != 0).then_some("example.com");
    let lines = list.iter().filter(|octet| **octet == b'\n').count() + 1;
    let (rows, mistakes) = read(list, format, domain);
    assert!(!(rows.is_empty() && mistakes.is_empty()), "refused without a word");
    assert!(rows.len() <= lines);
    for row in rows {
        assert!((1..=lines).contains(&row.line));
        assert!(!mistakes.is_empty() || row.told.is_empty());
        match row.value("member").map(|member| member.rsplit_once('@').unwrap()) {
            Some((local, domain)) => {
                assert!(
                    !local.is_empty() && !domain.is_empty() && !local.contains('/') && !domain.contains('/')
                );
            }
            None => assert!(row.has_told("member")),
        }
        for cell in &row.cells {
            assert!(!cell.key.is_empty() && cell.at.0 == row.line && cell.at.1 >= 1);
            assert!(!cell.value.chars().any(char::is_control));
        }
        for (secret, at) in row.password.iter().chain(&row.mailbox_password) {
            assert!(!secret.expose().is_empty() && at.0 == row.line);
            assert!(!secret.expose().iter().any(u8::is_ascii_control));
        }
    }
    for mistake in mistakes {
        assert!((1..=lines).contains(&mistake.at.0) && (1..=list.len() + 2).contains(&mistake.at.1));
        assert!(!mistake.what.is_empty() && !mistake.mend.is_empty());
        // Nothing of the list is repeated: all words are ours.
        let words = format!("{} {}", mistake.what, mistake.mend);
        assert!(words.is_ascii() && words.len() < 400, "{words}");
    }
}
