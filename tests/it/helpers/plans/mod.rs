//! Plans made by chance, tried several at a time: all of them are tried, and those that do not hold are told with their
//! seeds. `MAILHAUL_SEED`, `MAILHAUL_ROUNDS` and `MAILHAUL_WORKERS` choose others. It refuses to know what a plan is.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::helpers::daemon::seed;

/// Words, if something does not hold.
pub fn demand(holds: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words()) }
}

/// Tries plans.
#[track_caller]
pub fn all_hold<P: Debug>(
    plan: impl Fn(&mut StdRng) -> P + Sync,
    holds: impl Fn(&P) -> Result<(), String> + Sync,
) {
    let (first, rounds) = (seed("plans"), number("MAILHAUL_ROUNDS", 24));
    let (next, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let round = next.fetch_add(1, Ordering::SeqCst);
            if round >= rounds {
                return;
            }
            let (seed, begun) = (first.wrapping_add(round as u64), Instant::now());
            let plan = plan(&mut StdRng::seed_from_u64(seed));
            let ended = catch_unwind(AssertUnwindSafe(|| holds(&plan)));
            let ended = ended.unwrap_or_else(|_| Err("it panicked".to_owned()));
            eprintln!("{:.1?} {seed}: {plan:?}", begun.elapsed());
            if let Err(words) = ended {
                eprintln!("FAULT {seed} {plan:?}: {words}\n");
                bad.lock().unwrap().push(format!("{seed} {plan:?}: {words}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..number("MAILHAUL_WORKERS", 6).min(rounds) {
            scope.spawn(work);
        }
    });
    let bad = bad.into_inner().unwrap();
    assert!(bad.is_empty(), "{} of {rounds} plans:\n{}", bad.len(), bad.join("\n\n"));
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}
