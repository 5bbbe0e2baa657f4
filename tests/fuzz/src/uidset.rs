//! Sets of UIDs: as a set of numbers has it, written and read again, and never with ranges that touch.

use std::collections::BTreeSet;

use mailhaul::message::UidSet;

/// Groups of four octets: what to do, with which UID, for how many. And the same octets as a written set.
pub fn run(data: &[u8]) {
    let (mut set, mut model) = (UidSet::new(), BTreeSet::new());
    for group in data.chunks_exact(4).take(24) {
        let uid = u32::from(u16::from_be_bytes([group[1], group[2]]) % 600);
        // At the upper end of the numbers as well as at the lower.
        let uid = if group[0] & 0x80 != 0 { u32::MAX - uid } else { uid };
        let last = uid.saturating_add(u32::from(group[3] % 40));
        match group[0] % 4 {
            0 => assert_eq!(set.insert(uid), model.insert(uid)),
            1 => {
                set.remove(uid);
                model.remove(&uid);
            }
            2 => {
                set.insert_range(uid, last);
                model.extend(uid..=last);
            }
            _ => {
                let other: UidSet = (uid..=last).step_by(2).collect();
                set.extend(&other);
                model.extend((uid..=last).step_by(2));
            }
        }
        assert_eq!(set.contains(uid), model.contains(&uid));
    }
    assert_eq!(set.len(), model.len() as u64);
    assert!(set.iter().eq(model.iter().copied()));
    holds(&set);
    if let Some(read) = UidSet::parse(&String::from_utf8_lossy(data)) {
        holds(&read);
    }
}

fn holds(set: &UidSet) {
    assert_eq!(UidSet::parse(&set.to_string()).as_ref(), Some(set), "it is read as it was written");
    let ranges: Vec<(u32, u32)> = set.ranges().collect();
    assert!(ranges.iter().all(|(start, end)| start <= end), "{ranges:?}");
    for pair in ranges.windows(2) {
        assert!(u64::from(pair[0].1) + 1 < u64::from(pair[1].0), "ranges touch: {ranges:?}");
    }
    let sum: u64 = ranges.iter().map(|(start, end)| u64::from(*end) - u64::from(*start) + 1).sum();
    assert_eq!((set.len(), set.is_empty()), (sum, ranges.is_empty()));
}
