//! What a benchmark prints: for people, or with `--json` one object on one line. Pure.

use std::fmt::Write;

use super::histogram::Histogram;

/// Percentiles that are shown.
const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)];

/// Figures by name, in the order in which they were found, then latencies.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<(String, f64)>,
    latencies: Vec<(&'static str, Histogram)>,
}

impl Report {
    pub fn figure(&mut self, name: impl Into<String>, value: f64) {
        self.figures.push((name.into(), value));
    }

    /// Adds a row of latencies unless it is empty.
    pub fn latency(&mut self, name: &'static str, histogram: Histogram) {
        if histogram.count() > 0 {
            self.latencies.push((name, histogram));
        }
    }

    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (name, value) in &self.figures {
            let _ = write!(out, "\"{name}\":{},", round(*value));
        }
        out.push_str("\"latency_us\":{");
        for (i, (name, h)) in self.latencies.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{name}\":{{\"count\":{}", h.count());
            for (label, us) in columns(h) {
                let _ = write!(out, ",\"{label}\":{us}");
            }
            out.push('}');
        }
        out.push_str("}}");
        out
    }

    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.figures {
            let _ = writeln!(out, "{name:<24} {:>14}", round(*value));
        }
        if let Some((_, first)) = self.latencies.first() {
            let _ = write!(out, "{:<10} {:>12}", "latency µs", "count");
            for (label, _) in columns(first) {
                let _ = write!(out, " {label:>10}");
            }
            out.push('\n');
        }
        for (name, h) in &self.latencies {
            let _ = write!(out, "{name:<10} {:>12}", h.count());
            for (_, us) in columns(h) {
                let _ = write!(out, " {us:>10}");
            }
            out.push('\n');
        }
        out
    }
}

fn columns(h: &Histogram) -> Vec<(&'static str, f64)> {
    let us = |ns: u64| round(ns as f64 / 1000.0);
    let mut columns: Vec<_> = SHARES.iter().map(|&(l, s)| (l, us(h.percentile(s)))).collect();
    columns.extend([("max", us(h.max())), ("mean", us(h.mean()))]);
    columns
}

/// Three digits after the point are enough for any figure here.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let mut report = Report::default();
        report.figure("ops_per_s", 99_000.123_45);
        let mut h = Histogram::default();
        h.record(1500);
        report.latency("read", h);
        report.latency("set", Histogram::default());
        assert_eq!(
            report.to_json(),
            "{\"ops_per_s\":99000.123,\"latency_us\":{\"read\":{\"count\":1,\"p50\":1.5,\
             \"p99\":1.5,\"p999\":1.5,\"max\":1.5,\"mean\":1.5}}}"
        );
        let text = report.to_text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("ops_per_s                     99000.123\n"), "{text}");
    }
}
