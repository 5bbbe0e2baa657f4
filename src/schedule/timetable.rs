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

    /// The clock was set by so many milliseconds: everything is due as long from now as before.
    pub fn shift(&mut self, by: i64) {
        for at in self.due.values_mut() {
            *at = at.saturating_add(by);
        }
        self.heap = self.due.iter().map(|(name, at)| Reverse((*at, name.clone()))).collect();
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

    #[test]
    fn a_clock_that_is_set_changes_no_pause() {
        let mut table = Timetable::default();
        table.set("a", 1_000);
        table.set("b", 2_000);
        table.shift(-86_400_000);
        assert_eq!(table.take(999 - 86_400_000), None);
        assert_eq!(table.take(1_000 - 86_400_000).as_deref(), Some("a"));
        assert_eq!(table.when("b"), Some(2_000 - 86_400_000));
    }
}
