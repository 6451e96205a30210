//! Loads that keep connections full: a mix of operations for a time, or a fill with many nodes.

use std::io;
use std::time::{Duration, Instant};

use super::engine::{Engine, Silence, Workload, open_sessions};
use super::histogram::Histogram;
use super::options::Options;
use super::process;
use super::report::Report;
use super::request::{Kind, Mix, Random, Template};
use super::setup;

/// Children that a fill gives to each parent.
const PER_PARENT: u32 = 1000;

/// A random mix; each connection creates and deletes below a parent of its own.
struct MixLoad {
    mix: Mix,
    random: Random,
    keys: u32,
    /// By [`Kind`].
    templates: Vec<Template>,
    /// Nodes that each connection has created, and how many of them, oldest first, it deleted.
    made: Vec<(u32, u32)>,
    /// Requests still to send; `u64::MAX` when time is the limit.
    left: u64,
}

impl Workload for MixLoad {
    fn next(&mut self, link: usize, xid: i32, out: &mut Vec<u8>) -> Option<Kind> {
        self.left = self.left.checked_sub(1)?;
        let random = self.random.next();
        let mut kind = self.mix.pick(random >> 16);
        let (created, deleted) = &mut self.made[link];
        if kind == Kind::Delete && created == deleted {
            kind = Kind::Create;
        }
        let template = &self.templates[kind as usize];
        match kind {
            Kind::Create => {
                template.put(out, xid, &[link as u32, *created]);
                *created += 1;
            }
            Kind::Delete => {
                template.put(out, xid, &[link as u32, *deleted]);
                *deleted += 1;
            }
            _ => template.put(out, xid, &[self.random.next() % self.keys]),
        }
        Some(kind)
    }
}

/// Runs the mix: warm-up, then the measured window, then what is still under way.
pub fn mix(options: &Options) -> io::Result<Report> {
    let run = setup::run_root(options)?;
    setup::keys(options, &run)?;
    setup::parents(options, &run, options.connections as u32)?;
    let value = vec![b'v'; options.value_size];
    let template = |kind| {
        let path = match kind {
            Kind::Create | Kind::Delete => setup::node_path(&run),
            _ => setup::key_path(&run),
        };
        Template::new(kind, &path, &value)
    };
    let mut load = MixLoad {
        mix: options.mix.clone(),
        random: Random::new(std::process::id().into()),
        keys: options.keys,
        templates: Kind::ALL.into_iter().map(template).collect(),
        made: vec![(0, 0); options.connections],
        left: options.ops.unwrap_or(u64::MAX),
    };
    let sessions = open_sessions(&options.servers, options.connections, options.session_timeout)?;
    let mut engine = Engine::new(sessions, options.outstanding)?;
    if options.ops.is_none() {
        engine.run(&mut load, Some(Instant::now() + options.warmup))?;
        engine.totals = Default::default();
    }
    let deadline = options.ops.is_none().then(|| Instant::now() + options.duration);
    let report = measure(options, &mut engine, &mut load, deadline)?;
    engine.run(&mut Silence, Some(Instant::now() + Duration::from_secs(30)))?;
    Ok(report)
}

/// Creates `--nodes` nodes, a thousand to a parent, names of 13 bytes.
pub fn fill(options: &Options) -> io::Result<Report> {
    let root = format!("{}/fill", options.root);
    setup::create_path(options, &root)?;
    setup::parents(options, &root, options.nodes.div_ceil(PER_PARENT))?;
    let template =
        Template::new(Kind::Create, &setup::node_path(&root), &vec![b'v'; options.value_size]);
    let sessions = open_sessions(&options.servers, options.connections, options.session_timeout)?;
    let mut engine = Engine::new(sessions, options.outstanding)?;
    let mut load = setup::Each::new(options.nodes, |i, xid, out| {
        template.put(out, xid, &[i / PER_PARENT, i]);
        Kind::Create
    });
    measure(options, &mut engine, &mut load, None)
}

/// Runs the engine between two looks at the processes.
fn measure(
    options: &Options,
    engine: &mut Engine,
    load: &mut impl Workload,
    deadline: Option<Instant>,
) -> io::Result<Report> {
    let me = [std::process::id()];
    let before = (process::cpu_us(&options.pids)?, process::cpu_us(&me)?, Instant::now());
    engine.run(load, deadline)?;
    let seconds = before.2.elapsed().as_secs_f64();
    let server_us = (process::cpu_us(&options.pids)? - before.0) as f64;
    let own_us = (process::cpu_us(&me)? - before.1) as f64;
    let ops = engine.totals.ops() as f64;
    let mut report = Report::default();
    report.figure("connections", engine.links() as f64);
    report.figure("outstanding", options.outstanding as f64);
    report.figure("seconds", seconds);
    report.figure("ops", ops);
    report.figure("ops_per_s", ops / seconds);
    report.figure("generator_us_per_op", own_us / ops.max(1.0));
    if !options.pids.is_empty() {
        report.figure("server_us_per_op", server_us / ops.max(1.0));
        report.figure("server_rss_mb", process::rss_kb(&options.pids)? as f64 / 1024.0);
    }
    report.figure("errors", engine.totals.errors.values().sum::<u64>() as f64);
    for (code, n) in &engine.totals.errors {
        report.figure(format!("error_{code}"), *n as f64);
    }
    let latencies = &engine.totals.latencies;
    let mut all = Histogram::default();
    latencies.iter().for_each(|h| all.merge(h));
    report.latency("all", all);
    for (kind, h) in Kind::ALL.into_iter().zip(latencies) {
        report.latency(kind.name(), h.clone());
    }
    Ok(report)
}
