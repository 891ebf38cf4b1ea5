//! How many workers it takes: partitions are packed into as few workers as can carry them.
//!
//! Consumer groups share partitions out by their number, not by their load: so a worker gets its share of the partitions at
//! most, and of two numbers of workers with the same largest share the larger one is never taken.

/// What one worker can carry besides a partition that is too much for it.
const BESIDE_HOT: f64 = 0.1;
/// Of how many times what those need on average that one worker can carry a partition must be in need, to be called hot.
const HOT: f64 = 2.0;

/// What partitions ask for that go to one worker together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Records a second.
    pub rate: f64,
    /// Whether one of the source's is among them. What waits for a retry, or behind others, is carried beside those, and takes no part of a share.
    pub is_source: bool,
}

/// How many workers it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    /// So many, and no more than are allowed.
    pub workers: u32,
    /// How many could have work, whatever is allowed.
    pub useful: u32,
    /// Whether that is enough, hot partitions aside.
    pub enough: bool,
    /// What is too much for one worker while at least half of all are not, by its place among the demands.
    pub hot: Vec<usize>,
}

/// How many workers carry these demands, of which a worker handles `speed` records a second. At most `most`.
#[must_use]
pub fn need(demands: &[Demand], speed: f64, most: u32) -> Need {
    let count = |wanted: fn(&Demand) -> bool| u32::try_from(demands.iter().filter(|demand| wanted(demand)).count()).unwrap_or(u32::MAX);
    let (partitions, with_work) = (count(|demand| demand.is_source), count(|demand| demand.rate > 0.0));
    let useful = with_work.min(partitions).max(1);
    let most = most.min(with_work).max(1);
    let load = |demand: &Demand| Demand { rate: demand.rate / speed, ..*demand };
    let mut heaviest_first: Vec<Demand> = demands.iter().map(load).filter(|load| load.rate > 0.0).collect();
    heaviest_first.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    let hot = hot(demands, speed);
    // None with less room than all of them weigh has to be tried.
    let weight: f64 = heaviest_first.iter().map(|load| weight(load.rate)).sum();
    let tried = counts(partitions).filter(|count| *count <= most && f64::from(*count) >= weight);
    match tried.into_iter().find(|count| fits(&heaviest_first, *count, share(partitions, *count))) {
        Some(workers) => {
            Need { workers, useful, enough: !hot.is_empty() || heaviest_first.first().is_none_or(|load| load.rate <= 1.0), hot }
        }
        None => Need { workers: snapped(most, partitions), useful, enough: false, hot },
    }
}

/// The most partitions that one of so many workers gets.
fn share(partitions: u32, workers: u32) -> u32 {
    partitions.max(1).div_ceil(workers.max(1))
}

/// The numbers of workers that make a difference, from one on.
fn counts(partitions: u32) -> impl Iterator<Item = u32> {
    (1..=partitions.max(1)).filter(move |count| snapped(*count, partitions) == *count)
}

/// How many workers have enough to do at least, where partitions of which so many have are shared out by number among so many workers.
#[must_use]
pub fn surely_busy(backlogged: usize, partitions: u32, workers: u32) -> u32 {
    let backlogged = u32::try_from(backlogged).unwrap_or(u32::MAX);
    backlogged.div_ceil(share(partitions, workers)).min(workers)
}

/// The next larger number of workers that makes a difference; none: there are as many as partitions.
#[must_use]
pub fn next_larger(workers: u32, partitions: u32) -> Option<u32> {
    counts(partitions).find(|count| *count > workers)
}

/// The next number of workers that makes a difference, if there are so many now; one at least.
#[must_use]
pub fn next_smaller(workers: u32, partitions: u32) -> u32 {
    let enough = snapped(workers, partitions);
    if enough < workers { enough } else { counts(partitions).take_while(|count| *count < workers).last().unwrap_or(1) }
}

/// The smallest number of workers of which none gets more partitions than with so many.
#[must_use]
pub fn snapped(workers: u32, partitions: u32) -> u32 {
    let partitions = partitions.max(1);
    partitions.div_ceil(share(partitions, workers)).min(workers)
}

/// Whether so many workers carry these loads, each as parts of what one can, if none takes more than its share of the source's.
fn fits(heaviest_first: &[Demand], workers: u32, share: u32) -> bool {
    let mut bins = vec![(0.0_f64, 0_u32, false); usize::try_from(workers).unwrap_or(usize::MAX).min(heaviest_first.len().max(1))];
    for Demand { rate, is_source } in heaviest_first {
        let is_hot = *rate > 1.0;
        let is_open = |taken: u32, has_hot: bool| (!is_source || taken < share) && !(is_hot && has_hot);
        let open = bins.iter_mut().filter(|(_, taken, has_hot)| is_open(*taken, *has_hot));
        let Some(lightest) = open.min_by(|a, b| a.0.total_cmp(&b.0)) else { return false };
        *lightest = (lightest.0 + weight(*rate), lightest.1 + u32::from(*is_source), lightest.2 || is_hot);
        if lightest.0 > 1.0 {
            return false;
        }
    }
    true
}

/// What a hot partition needs nobody can give; it takes what the others leave.
fn weight(load: f64) -> f64 {
    if load > 1.0 { 1.0 - BESIDE_HOT } else { load }
}

fn hot(demands: &[Demand], speed: f64) -> Vec<usize> {
    let (hot, others): (Vec<_>, Vec<_>) = demands.iter().map(|demand| demand.rate).enumerate().partition(|(_, rate)| *rate > speed);
    if others.len() < hot.len() {
        return Vec::new();
    }
    let average = others.iter().map(|(_, rate)| rate).sum::<f64>() / others.len() as f64;
    hot.into_iter().filter(|(_, rate)| *rate > HOT * average).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(rates: &[f64], is_source: bool) -> Vec<Demand> {
        rates.iter().map(|rate| Demand { rate: *rate, is_source }).collect()
    }

    #[test]
    fn partitions_are_packed() {
        let even = |count, demand| vec![demand; count];
        for (name, rates, most, workers, enough) in [
            ("nothing to do", even(6, 0.0), 9, 1, true),
            ("one carries all", even(6, 15.0), 9, 1, true),
            ("two", even(6, 30.0), 9, 2, true),
            ("three", even(6, 50.0), 9, 3, true),
            ("four would get as many at most as three", even(6, 60.0), 9, 6, true),
            ("no more than partitions", even(6, 500.0), 9, 6, false),
            ("no more than the maximum", even(6, 90.0), 3, 3, false),
            ("five are no better than three", even(6, 90.0), 5, 3, false),
            ("no more than partitions with work", vec![90.0, 90.0, 0.0, 0.0, 0.0, 0.0], 9, 2, true),
            ("uneven", vec![90.0, 40.0, 40.0, 10.0, 10.0, 10.0], 9, 3, true),
            ("a hot one beside five light ones", vec![900.0, 8.0, 8.0, 8.0, 8.0, 8.0], 9, 3, true),
            ("a hot one alone", vec![900.0, 0.0, 0.0, 0.0, 0.0, 0.0], 9, 1, true),
            ("two hot ones beside four light ones", vec![900.0, 800.0, 8.0, 8.0, 8.0, 8.0], 9, 3, true),
            ("four that are too much for one each", vec![900.0, 800.0, 900.0, 800.0, 8.0, 8.0], 9, 6, false),
        ] {
            let need = need(&demands(&rates, true), 100.0, most);
            assert_eq!((need.workers, need.enough), (workers, enough), "{name}");
        }
    }

    #[test]
    fn what_waits_for_a_retry_is_carried_beside_the_source() {
        for (name, source, retries, workers, enough) in [
            ("a trickle of retries", vec![10.0; 6], vec![10.0; 6], 2, true),
            ("one retry", vec![10.0; 6], vec![10.0], 1, true),
            ("of one partition", vec![10.0], vec![10.0], 1, true),
            ("retries alone", vec![0.0; 6], vec![90.0, 90.0, 90.0], 3, true),
            ("no more than the source has", vec![90.0], vec![90.0], 1, false),
        ] {
            let need = need(&[demands(&source, true), demands(&retries, false)].concat(), 100.0, 9);
            assert_eq!((need.workers, need.enough), (workers, enough), "{name}");
        }
    }

    #[test]
    fn the_smallest_number_with_the_same_largest_share() {
        for (partitions, expected) in
            [(6, vec![1, 2, 3, 6]), (10, vec![1, 2, 3, 4, 5, 10]), (1, vec![1]), (0, vec![1]), (7, vec![1, 2, 3, 4, 7])]
        {
            assert_eq!(counts(partitions).collect::<Vec<_>>(), expected, "{partitions}");
        }
        for (workers, snapped_to) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3), (6, 6), (7, 6), (100, 6)] {
            assert_eq!(snapped(workers, 6), snapped_to, "{workers}");
        }
    }

    #[test]
    fn the_next_smaller_number_makes_a_difference() {
        for (workers, partitions, expected) in
            [(10, 3, 3), (3, 3, 2), (2, 3, 1), (1, 3, 1), (6, 6, 3), (5, 6, 3), (3, 6, 2), (9, 0, 1), (1, 0, 1), (10, 10, 5)]
        {
            assert_eq!(next_smaller(workers, partitions), expected, "{workers} on {partitions}");
        }
    }

    #[test]
    fn the_next_larger_number_makes_a_difference() {
        for (workers, partitions, expected) in
            [(1, 6, Some(2)), (2, 6, Some(3)), (3, 6, Some(6)), (4, 6, Some(6)), (6, 6, None), (0, 0, Some(1))]
        {
            assert_eq!(next_larger(workers, partitions), expected, "{workers} on {partitions}");
        }
    }

    #[test]
    fn partitions_with_enough_to_do_may_all_be_at_the_same_workers() {
        for (backlogged, partitions, workers, expected) in
            [(2, 6, 2, 1), (3, 6, 2, 1), (4, 6, 2, 2), (2, 6, 6, 2), (6, 6, 4, 3), (1, 6, 3, 1), (0, 6, 3, 0), (6, 6, 9, 6)]
        {
            assert_eq!(surely_busy(backlogged, partitions, workers), expected, "{backlogged} of {partitions} at {workers}");
        }
    }

    #[test]
    fn a_partition_is_hot_where_others_are_not() {
        for (rates, expected) in [
            (vec![10.0, 300.0, 10.0], &[1][..]),
            (vec![900.0, 800.0, 8.0, 8.0, 8.0, 8.0], &[0, 1]),
            (vec![8.0, 900.0, 8.0, 800.0], &[1, 3]),
            (vec![900.0, 800.0, 8.0], &[]),
            (vec![8.0, 900.0, 110.0, 90.0, 90.0, 90.0], &[1]),
            (vec![300.0, 300.0, 300.0], &[]),
            (vec![10.0, 90.0, 10.0], &[]),
            (vec![500.0, 900.0, 500.0], &[]),
            (vec![300.0], &[]),
            (vec![], &[]),
        ] {
            assert_eq!(need(&demands(&rates, true), 100.0, 9).hot, expected, "{rates:?}");
        }
    }
}
