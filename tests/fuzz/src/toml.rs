//! The files of an administrator, in any octets: complaints that say where, or values that are good.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use mailhaul::config::{Complaint, Reader};

thread_local! {
    static READER: LazyCell<Reader> = LazyCell::new(Reader::default);
}

/// Settings, server templates and definitions, divided by NUL.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(3, |octet| *octet == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (settings, servers, accounts) = (part(), part(), part());
    match READER.with(|reader| reader.read(settings, servers, accounts)) {
        Err(complaints) => {
            assert!(!complaints.is_empty(), "refused without a word");
            complaints.iter().for_each(|complaint| says_where(complaint, data.len()));
        }
        Ok(loaded) => {
            let mut names = BTreeSet::new();
            for account in &loaded.accounts {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
                assert!((1..=64).contains(&account.name.len()) && account.name.chars().all(plain));
                assert!(names.insert(account.name.clone()), "{} twice", account.name);
                for part in [&account.member.local, &account.member.domain] {
                    assert!(!part.is_empty() && !part.contains(['/', '\0']) && part != "." && part != "..");
                }
                assert!(account.source.port > 0 && !account.source.host.is_empty());
            }
            for broken in &loaded.broken {
                assert!(!broken.complaints.is_empty(), "broken without a word");
                assert!(broken.origin.line >= 1);
            }
            assert!(loaded.broken.is_empty() || !loaded.complaints.is_empty());
            loaded.complaints.iter().for_each(|complaint| says_where(complaint, data.len()));
        }
    }
}

fn says_where(complaint: &Complaint, octets: usize) {
    assert!((1..=octets + 2).contains(&complaint.line) && (1..=octets + 2).contains(&complaint.column));
    assert!(!complaint.key.is_empty() && !complaint.what.is_empty(), "{complaint:?}");
    assert!(!complaint.to_string().contains('\n'), "more than a line: {complaint:?}");
}
