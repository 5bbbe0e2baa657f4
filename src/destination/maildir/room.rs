//! How much room a Maildir has: what the quota in its `maildirsize` leaves, and what its file system has. It refuses
//! to make anything.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::message::Room;

/// A longer file is not Maildir++'s: implementations keep it below 5120 octets.
const LONGEST: u64 = 64 * 1024;

/// The room of the Maildir at `root`, which need not be there. What cannot be found out is unknown.
pub fn room(root: &Path) -> Room {
    let quota = std::fs::metadata(root.join("maildirsize"))
        .ok()
        .filter(|file| file.is_file() && file.len() <= LONGEST)
        .and_then(|_| std::fs::read_to_string(root.join("maildirsize")).ok())
        .map_or_else(Room::default, |text| left(&text));
    let there = root.ancestors().find(|path| path.exists()).and_then(|path| statvfs(path).ok());
    #[allow(clippy::useless_conversion, reason = "their width depends on the platform")]
    let free = there
        .map(|system| u64::from(system.blocks_available()).saturating_mul(u64::from(system.fragment_size())));
    Room { octets: quota.octets.into_iter().chain(free).min(), ..quota }
}

/// `NS,NC` in the first line, then sums and differences, octets and messages, a line each (Maildir++).
fn left(text: &str) -> Room {
    let mut lines = text.lines();
    let (mut octets, mut messages) = (None, None);
    for limit in lines.next().unwrap_or_default().split(',') {
        let number = |unit| limit.trim().strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
        octets = number('S').filter(|limit| *limit > 0).or(octets);
        messages = number('C').filter(|limit| *limit > 0).or(messages);
    }
    let (mut used, mut count) = (0i64, 0i64);
    for line in lines {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<i64>().unwrap_or(0));
        used = used.saturating_add(numbers.next().unwrap_or(0));
        count = count.saturating_add(numbers.next().unwrap_or(0));
    }
    let rest = |limit: u64, used: i64| limit.saturating_sub(u64::try_from(used).unwrap_or(0));
    Room { octets: octets.map(|limit| rest(limit, used)), messages: messages.map(|limit| rest(limit, count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_maildirsize_says() {
        let room = left("1000S,10C\n400 2\n  150   1\n-50 -1\n");
        assert_eq!(room, Room { octets: Some(500), messages: Some(8) });
        assert_eq!(left("0S\n5 1\n"), Room::default());
        assert_eq!(left("7C,1S\n9 9\n"), Room { octets: Some(0), messages: Some(0) });
        for odd in
            ["", "x\ny", "S,C\n", "99999999999999999999S\n9223372036854775807 1\n9223372036854775807 1"]
        {
            assert_eq!(left(odd), Room::default(), "{odd}");
        }
    }

    #[test]
    fn a_file_system_has_room_too() {
        let directory = tempfile::tempdir().unwrap();
        let none = room(&directory.path().join("not/there"));
        assert!(none.octets.is_some() && none.messages.is_none());
        std::fs::write(directory.path().join("maildirsize"), "100S\n40 1\n").unwrap();
        assert_eq!(room(directory.path()).octets, Some(60));
    }
}
