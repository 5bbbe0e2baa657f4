//! Names and the times that they are due, earliest first. A name stands in it once. It refuses to know what
//! time it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The timetable. Times are milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Timetable {
    heap: BinaryHeap<Reverse<(i64, String)>>,
    due: BTreeMap<String, i64>,
}

impl Timetable {
    /// A name is due at a time, and at no other.
    pub fn set(&mut self, name: &str, at: i64) {
        if self.due.insert(name.to_owned(), at) != Some(at) {
            self.heap.push(Reverse((at, name.to_owned())));
        }
        // Entries that a later `set` or `remove` overtook are thrown out when half of the heap is such.
        if self.heap.len() > 2 * self.due.len() + 64 {
            self.heap = self.due.iter().map(|(name, at)| Reverse((*at, name.clone()))).collect();
        }
    }

    /// A name is no longer due.
    pub fn remove(&mut self, name: &str) {
        self.due.remove(name);
    }

    /// When a name is due.
    pub fn when(&self, name: &str) -> Option<i64> {
        self.due.get(name).copied()
    }

    /// Takes the earliest name that is due at `now` or before.
    pub fn take(&mut self, now: i64) -> Option<String> {
        while let Some(Reverse((at, _))) = self.heap.peek() {
            if *at > now {
                return None;
            }
            let Reverse((at, name)) = self.heap.pop()?;
            if self.due.get(&name) == Some(&at) {
                self.due.remove(&name);
                return Some(name);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_is_taken_once_in_order(sets in prop::collection::vec((0u8..9, 0i64..50, any::<bool>()), 0..200)) {
            let (mut table, mut model) = (Timetable::default(), BTreeMap::new());
            for (name, at, set) in sets {
                let name = name.to_string();
                if set {
                    table.set(&name, at);
                    model.insert(name, at);
                } else {
                    table.remove(&name);
                    model.remove(&name);
                }
            }
            prop_assert_eq!(table.take(-1), None);
            let mut last = -1;
            while let Some(name) = table.take(25) {
                let at = model.remove(&name);
                prop_assert!(at.is_some_and(|at| at >= last && at <= 25));
                last = at.unwrap_or(last);
            }
            prop_assert!(model.values().all(|at| *at > 25));
            for (name, at) in model {
                prop_assert_eq!(table.when(&name), Some(at));
            }
        }
    }
}
