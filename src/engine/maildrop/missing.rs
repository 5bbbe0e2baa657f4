//! Messages that are here and that the source lists no more. It refuses to believe a shorter listing at once: a server that is
//! unwell lists a part of a mailbox, or an empty one, and later all of it again.

use std::collections::BTreeSet;

use super::triage::Known;

/// What is missing is overdue after so many milliseconds, and forgotten after as many again.
pub(super) const DAY: i64 = 24 * 3600 * 1000;

impl Known {
    /// A listing was whole. `since` is when the last day began.
    pub(super) fn forget(&mut self, listed: &BTreeSet<u128>, since: &mut Option<i64>, now: i64) {
        let (ids, marks) = (&mut self.ids, &mut self.marks);
        // What was deleted there is gone.
        ids.retain(|id| listed.contains(id) || !marks.deleted.contains(id));
        marks.missing.retain(|id| !listed.contains(id));
        marks.overdue.retain(|id| !listed.contains(id));
        if now - *since.get_or_insert(now) >= DAY {
            ids.retain(|id| !marks.overdue.contains(id));
            marks.overdue = marks.missing.intersection(ids).copied().collect();
            *since = Some(now);
        }
        marks.missing = ids.difference(listed).copied().collect();
        if marks.missing.is_empty() {
            *since = None;
        }
    }

    /// Whether what comes may be here under another name: what is not listed any more may have got one, in this listing or in
    /// one that comes.
    pub(super) fn may_be_renamed(&self, listed: &BTreeSet<u128>) -> bool {
        self.ids.iter().any(|id| !listed.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: impl IntoIterator<Item = u128>) -> BTreeSet<u128> {
        ids.into_iter().collect()
    }

    #[test]
    fn what_is_missing_is_forgotten_after_a_day_or_two() {
        let mut known = Known { ids: set(0..10), ..Known::default() };
        let mut since = None;
        known.forget(&set(0..8), &mut since, 5);
        assert_eq!((&known.ids, since), (&set(0..10), Some(5)));
        assert!(known.may_be_renamed(&set(0..8)) && !known.may_be_renamed(&set(0..10)));
        known.forget(&set(0..7), &mut since, 5 + DAY - 1);
        assert_eq!(known.marks.overdue, set([]));
        known.forget(&set((0..7).chain([8])), &mut since, 5 + DAY);
        assert_eq!((&known.ids, &known.marks.overdue), (&set(0..10), &set([7, 9])), "8 came back");
        assert_eq!(since, Some(5 + DAY));
        known.forget(&set(0..8), &mut since, 4 + 2 * DAY);
        known.forget(&set(0..7), &mut since, 5 + 2 * DAY);
        assert_eq!(known.ids, set(0..9), "7 was back in between");
        known.forget(&set(0..9), &mut since, 6 + 2 * DAY);
        assert_eq!((&known.marks.missing, &known.marks.overdue, since), (&set([]), &set([]), None));
    }

    #[test]
    fn what_was_deleted_there_goes_when_it_is_gone() {
        let mut known = Known { ids: set(0..4), ..Known::default() };
        known.marks.deleted = set([1, 2]);
        known.forget(&set([0, 1, 3]), &mut None, 5);
        assert_eq!(known.ids, set([0, 1, 3]));
    }
}
