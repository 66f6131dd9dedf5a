//! Which backups are kept, as a function of their times and sizes alone.
//!
//! No clock is asked: hours and days are those of the times in the names, in UTC, and only hours and
//! days that have a backup count. So a clock that jumped, or a store that rested for a month, never
//! makes history expire; only newer backups do.
//!
//! Invariant: the newest backup is always kept, whatever the settings.

use std::collections::BTreeSet;

use crate::base::Timestamp;

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

/// How many backups are kept. A backup that any of the three rules wants is kept, unless it is too
/// much for the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest; 1 at least.
    pub last: usize,
    /// The newest of each of the latest so many hours that have one.
    pub hourly: usize,
    /// The newest of each of the latest so many days that have one.
    pub daily: usize,
    /// Most bytes of all that are kept; the oldest go first, the newest stays.
    pub bytes_max: u64,
}

impl Retention {
    /// The places in `backups`, each a time and a size in bytes, of those that go, oldest first. Of
    /// equal times the one that comes later in the list is the newer one.
    pub fn surplus(&self, backups: &[(Timestamp, u64)]) -> Vec<usize> {
        let mut newest_first: Vec<usize> = (0..backups.len()).collect();
        let of = |place: usize| backups.get(place).copied().unwrap_or((Timestamp(0), 0));
        newest_first.sort_by_key(|place| std::cmp::Reverse((of(*place).0, *place)));
        let (mut hours, mut days) = (BTreeSet::new(), BTreeSet::new());
        let (mut bytes, mut is_over) = (0_u64, false);
        let mut surplus = Vec::new();
        for (rank, place) in newest_first.into_iter().enumerate() {
            let (time, size_bytes) = of(place);
            // Each rule must see each backup, whichever of the others keeps it.
            let is_last = rank < self.last.max(1);
            let is_hours = is_newest_of(&mut hours, time.0.div_euclid(HOUR_NS), self.hourly);
            let is_days = is_newest_of(&mut days, time.0.div_euclid(DAY_NS), self.daily);
            if !(is_last || is_hours || is_days) {
                surplus.push(place);
                continue;
            }
            bytes = bytes.saturating_add(size_bytes);
            // Behind the first that does not fit, older ones go too, even if they are smaller.
            is_over |= bytes > self.bytes_max && rank > 0;
            if is_over {
                surplus.push(place);
            }
        }
        surplus.reverse();
        surplus
    }
}

/// Whether a backup is the first that is seen of its hour or day, and that is one of the first
/// `count`.
fn is_newest_of(seen: &mut BTreeSet<i64>, period: i64, count: usize) -> bool {
    seen.len() < count && seen.insert(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Retention = Retention { last: 3, hourly: 2, daily: 2, bytes_max: 1000 };
    const DAY: i64 = 24 * 60;

    /// A budget, backups (minute, bytes), and the minutes of those that are kept.
    type Row = (u64, &'static [(i64, u64)], &'static [i64]);

    /// The times that are left of backups made at these minutes, of 10 bytes each.
    fn left(retention: Retention, minutes: &[i64]) -> Vec<i64> {
        let sized: Vec<(i64, u64)> = minutes.iter().map(|minute| (*minute, 10)).collect();
        left_of(retention, &sized)
    }

    fn left_of(retention: Retention, backups: &[(i64, u64)]) -> Vec<i64> {
        let times: Vec<(Timestamp, u64)> = backups
            .iter()
            .map(|(minute, bytes)| (Timestamp(minute * 60_000_000_000), *bytes))
            .collect();
        let gone = retention.surplus(&times);
        assert!(gone.is_sorted_by_key(|place| times[*place].0), "the oldest goes first");
        let stay = (0..backups.len()).filter(|place| !gone.contains(place));
        stay.map(|place| backups[place].0).collect()
    }

    #[test]
    fn what_is_kept_is_the_last_the_newest_of_each_hour_and_the_newest_of_each_day() {
        let table: &[(&str, &[i64], &[i64])] = &[
            ("nothing", &[], &[]),
            ("one", &[5], &[5]),
            ("as many as are kept anyway", &[1, 2, 3], &[1, 2, 3]),
            ("all in one hour", &[1, 2, 3, 4, 5, 6], &[4, 5, 6]),
            ("two hours", &[1, 2, 59, 60, 61, 62, 63], &[59, 61, 62, 63]),
            (
                "three hours, of which two count",
                &[1, 59, 61, 119, 121, 122, 123],
                &[119, 121, 122, 123],
            ),
            (
                "two days",
                &[1, 60, DAY - 1, DAY, DAY + 60, DAY + 61, DAY + 62, DAY + 63],
                &[DAY - 1, DAY, DAY + 61, DAY + 62, DAY + 63],
            ),
            (
                "a month's rest: days without a backup do not count",
                &[1, 2, 30 * DAY, 30 * DAY + 1, 30 * DAY + 2],
                &[2, 30 * DAY, 30 * DAY + 1, 30 * DAY + 2],
            ),
            (
                "the clock was once far in the future: it takes one place of each rule",
                &[1, 2, 61, 62, 63, 9_000_000],
                &[62, 63, 9_000_000],
            ),
            ("before 1970", &[-61, -60, -2, -1, 0, 1], &[-1, 0, 1]),
            ("equal times: the later in the list is newer", &[5, 5, 5, 5, 5], &[5, 5, 5]),
            ("out of order", &[63, 1, 61, 2, 62], &[63, 61, 2, 62]),
        ];
        for (what, given, kept) in table {
            assert_eq!(left(ALL, given), *kept, "{what}");
        }
    }

    #[test]
    fn over_the_budget_the_oldest_goes_first_and_the_newest_stays() {
        let few = |bytes_max| Retention { last: 5, hourly: 0, daily: 0, bytes_max };
        let table: &[Row] = &[
            (30, &[(1, 10), (2, 10), (3, 10)], &[1, 2, 3]),
            (29, &[(1, 10), (2, 10), (3, 10)], &[2, 3]),
            (5, &[(1, 10), (2, 10), (3, 10)], &[3]),
            (0, &[(1, 10)], &[1]),
            (0, &[(1, 0), (2, 0)], &[1, 2]),
            (25, &[(1, 1), (2, 20), (3, 10)], &[3]),
            (u64::MAX, &[(1, u64::MAX), (2, u64::MAX)], &[1, 2]),
            (100, &[(1, u64::MAX), (2, u64::MAX)], &[2]),
        ];
        for (bytes_max, given, kept) in table {
            assert_eq!(left_of(few(*bytes_max), given), *kept, "{bytes_max} bytes, {given:?}");
        }
    }

    #[test]
    fn of_hundreds_a_bounded_number_is_kept() {
        let usual = Retention { last: 10, hourly: 24, daily: 7, bytes_max: 1 << 30 };
        let minutes: Vec<i64> = (0..3000).map(|at| at * 7).collect();
        let kept = left(usual, &minutes);
        assert!(kept.len() > 30 && kept.len() <= 41, "{}", kept.len());
        assert_eq!(left(usual, &kept), kept, "what was kept once is kept while nothing is added");
    }

    #[test]
    fn made_one_by_one_the_same_are_kept_as_of_all_at_once() {
        let usual = Retention { last: 10, hourly: 24, daily: 7, bytes_max: 1 << 30 };
        let minutes: Vec<i64> = (0..2000).map(|at| at * 11).collect();
        let mut there = Vec::new();
        for minute in &minutes {
            there.push(*minute);
            there = left(usual, &there);
        }
        assert_eq!(there, left(usual, &minutes));
    }

    #[test]
    fn without_any_rule_the_newest_is_kept_all_the_same() {
        let none = Retention { last: 0, hourly: 0, daily: 0, bytes_max: 0 };
        assert_eq!(left(none, &[1, 3, 2]), [3]);
    }
}
