//! The simulator: whole servers – the node, the log worker, recovery and the tree of production –
//! in one thread over a simulated network, disk and clock, with everything going wrong that can.
//! One number, the seed, is one history: it happens again in exactly the same way.
//!
//! `cargo test --test sim`                       as many histories as CI has time for
//! `SIM_SEED=17 cargo test --test sim`           one history, with its trace
//! `SIM_SEEDS=5000 SIM_FROM=1000000 cargo test --test sim`
//! `SIM_LONG=1 cargo test --test sim`            50,000 histories: before a release
//!
//! What it has found: TRACK_RECORD.md.

mod checks;
mod clients;
mod coverage;
mod faults;
mod knobs;
mod network;
mod reconfig;
mod rng;
mod server;
mod trace;
mod world;

use std::cell::RefCell;
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use coverage::Coverage;
use knobs::Knobs;
use world::World;

/// Finds a bug that 0.14 % of histories show with 99.9 % probability (ln 0.001 / ln 0.9986).
const HISTORIES: u64 = 5_000;
const HISTORIES_LONG: u64 = 50_000;

/// Lines of a failed history's trace that are shown.
const TRACE_LINES: usize = 250;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps a panic's message for the report, instead of printing it.
fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        PANIC.with(|text| *text.borrow_mut() = info.to_string());
    }));
}

/// One history; an error says what did not hold.
fn history(seed: u64, limit: impl Fn(&mut Knobs)) -> Result<Coverage, String> {
    let run = panic::AssertUnwindSafe(|| {
        let mut world = World::new(seed, &limit);
        world.history();
        world.coverage
    });
    panic::catch_unwind(run).map_err(|_| PANIC.with(|text| text.borrow().clone()))
}

/// Takes away from a failing history what it fails without.
fn shrink(seed: u64) -> Knobs {
    let mut least = None;
    let _ = history(seed, |knobs| {
        // Only to see what it draws.
        let _ = LAST.lock().map(|mut last| *last = Some(knobs.clone()));
    });
    if let Ok(mut last) = LAST.lock() {
        least = last.take();
    }
    let mut least = least.expect("a history draws its knobs");
    let fails = |knobs: &Knobs| history(seed, |k| *k = knobs.clone()).is_err();
    for fault in knobs::FAULTS {
        let mut less = least.clone();
        less.faults.retain(|f| *f != fault);
        if !less.faults.is_empty() && less.faults != least.faults && fails(&less) {
            least = less;
        }
    }
    for change in [
        |k: &mut Knobs| k.final_blackout = false,
        |k: &mut Knobs| (k.reconfig, k.spares) = (false, 0),
        |k: &mut Knobs| k.spares = 0,
        |k: &mut Knobs| k.observers = 0,
        |k: &mut Knobs| k.clients = 1,
        |k: &mut Knobs| k.depth = 1,
        |k: &mut Knobs| k.skew = 0,
        |k: &mut Knobs| k.chaos /= 2,
        |k: &mut Knobs| k.chaos /= 2,
    ] {
        let mut less = least.clone();
        change(&mut less);
        if fails(&less) {
            least = less;
        }
    }
    least
}

static LAST: Mutex<Option<Knobs>> = Mutex::new(None);

/// Everything there is to say about a seed that fails.
fn explain(seed: u64, error: &str) -> String {
    let knobs = shrink(seed);
    trace::start();
    let shrunk = history(seed, |k| *k = knobs.clone()).err().unwrap_or_default();
    let lines = trace::take();
    let tail = lines[lines.len().saturating_sub(TRACE_LINES)..].join("\n");
    if let Ok(path) = std::env::var("SIM_TRACE") {
        let _ = std::fs::write(path, lines.join("\n"));
    }
    format!(
        "seed {seed}: {error}\n\nshrunk to {knobs:?}\nwhich fails with: {shrunk}\n\n{tail}\n\n\
         to run it again: SIM_SEED={seed} cargo test --test sim  (SIM_TRACE=file: whole trace)"
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn histories() {
    quiet_panics();
    trace::capture_logs();
    let one = number("SIM_SEED");
    let from = one.or(number("SIM_FROM")).unwrap_or(0);
    let most = if std::env::var("SIM_LONG").is_ok() { HISTORIES_LONG } else { HISTORIES };
    let count = one.map_or_else(|| number("SIM_SEEDS").unwrap_or(most), |_| 1);
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
    let total: Mutex<Coverage> = Mutex::default();
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= from + count || stop.load(Relaxed) {
                        return;
                    }
                    let begun = Instant::now();
                    let result = history(seed, |_| {});
                    if std::env::var("SIM_TIMES").is_ok() {
                        println!("seed {seed}: {:.2} s", begun.elapsed().as_secs_f64());
                    }
                    match result {
                        Ok(coverage) => *total.lock().unwrap() += coverage,
                        Err(error) => {
                            failures.lock().unwrap().push((seed, error));
                            stop.store(std::env::var("SIM_ALL").is_err(), Relaxed);
                        }
                    }
                }
            });
        }
    });
    let coverage = *total.lock().unwrap();
    println!("{count} histories in {:.1} s\n{coverage}", started.elapsed().as_secs_f64());
    let failures = failures.into_inner().unwrap();
    for (seed, error) in &failures {
        println!("FAILED seed {seed}: {}", error.lines().collect::<Vec<_>>().join(" | "));
    }
    if let Some((seed, error)) = failures.first() {
        let explanation = explain(*seed, error);
        let _ = panic::take_hook();
        panic!("{explanation}");
    }
    if count >= 100 {
        assert_eq!(coverage.lacking(count), Vec::<String>::new(), "too little was seen");
    }
}
