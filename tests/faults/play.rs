//! A scenario, point by point: put back, disturbed, taken up again, judged. It refuses a scenario in which no
//! point was reached.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use serde_json::Value;

use crate::bench::{Bench, To, Work};
use crate::helpers::daemon::seed;
use crate::helpers::maildir::difference;
use crate::shim::{How, Turn};

/// Points of each scenario that `make test` takes.
const FEW: usize = 4;
/// Resumed so often at most.
const TRIES: usize = 4;

/// A scenario: what was there, what is done to it, how it is taken up again.
pub struct Scenario {
    pub name: &'static str,
    /// What the account is to do.
    pub work: Work,
    /// Where its mail goes.
    pub to: To,
    /// What is at the source, at the destination and in the store before.
    pub before: fn(&mut Bench),
    /// The run that is disturbed; whether it says that it ended well.
    pub act: fn(&mut Bench) -> bool,
    /// Takes it up again; `false`: there is nothing to compare.
    pub resume: fn(&mut Bench) -> bool,
    pub hows: &'static [How],
}

pub const ALL: &[How] = &[How::Error, How::Kill, How::Torn];

/// Runs `--once` until it ends well.
pub fn run_again(bench: &mut Bench) -> bool {
    assert!((0..TRIES).any(|_| bench.once()), "not in {TRIES} runs: {}", bench.daemon.log_tail(40));
    true
}

/// Which points are taken: number and how.
fn chosen(scenario: &Scenario, list: &[String]) -> Vec<(usize, How)> {
    let both = |number: usize| scenario.hows.iter().map(move |how| (number, *how));
    if let Ok(named) = std::env::var("MAILHAUL_FAULT") {
        let one = |text: &str| {
            let (how, number) = text.split_once(':').expect("HOW:NUMBER");
            let how = [How::Error, How::Kill, How::Torn].into_iter().find(|h| h.word() == how).unwrap();
            (number.parse().unwrap(), how)
        };
        return named.split(',').map(one).collect();
    }
    let asked = std::env::var("MAILHAUL_FAULTS").unwrap_or_else(|_| FEW.to_string());
    let step = if asked == "all" { 1 } else { list.len().div_ceil(asked.parse().unwrap()).max(1) };
    let seed = usize::try_from(seed(scenario.name)).unwrap();
    eprintln!("{}: {} points, every {step}.", scenario.name, list.len());
    let all = (1 + seed % step..=list.len()).step_by(step).flat_map(both);
    all.filter(|(number, how)| *how != How::Torn || list[number - 1].starts_with("write")).collect()
}

pub fn play(scenario: &Scenario) {
    let _turn = Turn::wait();
    let mut bench = Bench::new(scenario.work, scenario.to);
    (scenario.before)(&mut bench);
    bench.keep();

    bench.list_points();
    assert!((scenario.act)(&mut bench), "without a fault: {}", bench.daemon.log_tail(40));
    bench.leave_alone();
    let list = bench.shim.list();
    assert!(list.len() > 20, "only {} points: {list:?}", list.len());
    let expected = match bench.wanted.clone() {
        Some(wanted) => (wanted, Value::Null),
        None => (bench.seen(), bench.again()),
    };
    if (scenario.resume)(&mut bench) {
        assert_eq!(difference(&expected.0, &bench.seen()), None, "without a fault");
    }

    let begun = Instant::now();
    let mut kinds: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let (mut missed, mut idle, mut failures) = (0, 0, Vec::new());
    for (number, how) in chosen(scenario, &list) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            bench.reset();
            bench.disturb(how, number);
            let well = (scenario.act)(&mut bench);
            bench.leave_alone();
            if well && how != How::Error && bench.shim.hit().is_some() {
                return Err("it outlived a kill".to_owned());
            }
            if (!well || bench.wanted.is_some()) && !(scenario.resume)(&mut bench) {
                idle += 1;
                return Ok(());
            }
            bench.judge(&expected, how)
        }));
        let hit = bench.shim.hit();
        match &hit {
            Some(hit) => {
                *kinds.entry((how.word(), hit.split(' ').next().unwrap().to_owned())).or_default() += 1
            }
            None => missed += 1,
        }
        let words = match result {
            Ok(Ok(())) => continue,
            Ok(Err(words)) => words,
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(words) => words.clone(),
                None => "it panicked".to_owned(),
            },
        };
        let what = format!(
            "{}, MAILHAUL_FAULT={}:{number}, at {}: {words}\n{}",
            scenario.name,
            how.word(),
            hit.as_deref().unwrap_or("no point"),
            bench.daemon.log_tail(20)
        );
        eprintln!("{what}");
        failures.push(what);
    }
    let of = |how: &str| kinds.iter().filter(|((h, _), _)| *h == how).map(|(_, n)| n).sum::<usize>();
    let all: String = kinds.iter().map(|((how, kind), n)| format!(" {how} {kind} {n},")).collect();
    eprintln!(
        "{}: {} errors, {} kills, {} torn writes, {missed} not reached, {idle} over before, {} messages twice; {} failures; {:.0} s;{}",
        scenario.name,
        of("error"),
        of("kill"),
        of("torn"),
        bench.twice,
        failures.len(),
        begun.elapsed().as_secs_f64(),
        all.trim_end_matches(',')
    );
    assert!(failures.is_empty(), "{} of {} points failed", failures.len(), list.len());
    assert!(of("error") + of("kill") > 0, "no point was reached");
}
