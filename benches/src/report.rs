//! The figures of all rounds: medians, and ratios of what ran in the same round.

use std::{io, time::Duration};

use serde::Serialize;

use crate::{contender::Contender, measure::Sample, workload::Workload};

/// The rounds of one workload.
pub(crate) struct Report {
    workload: Workload,
    ops: usize,
    /// In the order in which they are shown.
    runs: Vec<(Contender, Vec<Sample>)>,
}

/// What is known of one contender: medians over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    workload: String,
    contender: String,
    ops: usize,
    rounds: usize,
    per_second: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    client_cpu_seconds: f64,
    redis_cpu_seconds: Option<f64>,
    /// Throughput as a multiple of the bare client's, and of the raw loop's.
    of_bare: Option<f64>,
    of_raw: Option<f64>,
}

impl Report {
    pub(crate) fn new(workload: Workload, ops: usize, contenders: &[Contender]) -> Self {
        let runs = contenders.iter().map(|&contender| (contender, Vec::new())).collect();
        Self { workload, ops, runs }
    }

    pub(crate) fn add(&mut self, contender: Contender, sample: Sample) {
        let of_contender = self.runs.iter_mut().filter(|(other, _)| *other == contender);
        of_contender.map(|(_, samples)| samples).next().expect("a contender that takes part").push(sample);
    }

    /// One JSON object for each contender, each on a line.
    pub(crate) fn print_json(&self) -> io::Result<()> {
        for row in self.rows() {
            println!("{}", serde_json::to_string(&row)?);
        }
        Ok(())
    }

    /// A table in Markdown.
    pub(crate) fn print_table(&self) {
        println!("\n{}\n", self.workload);
        println!("| | k/s | p50 ms | p99 ms | client CPU µs | Redis CPU µs | of bare | of raw |");
        println!("|---|---|---|---|---|---|---|---|");
        for row in self.rows() {
            let per_op = |seconds: f64| seconds * 1e6 / self.ops as f64;
            println!(
                "| {} | {:.1} | {} | {} | {:.1} | {} | {} | {} |",
                row.contender,
                row.per_second / 1e3,
                shown(row.p50_us.map(|micros| micros / 1e3), 2),
                shown(row.p99_us.map(|micros| micros / 1e3), 2),
                per_op(row.client_cpu_seconds),
                shown(row.redis_cpu_seconds.map(per_op), 1),
                shown(row.of_bare, 2),
                shown(row.of_raw, 2),
            );
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row> {
        self.runs.iter().filter(|(_, samples)| !samples.is_empty()).map(|(contender, samples)| {
            let of = |value: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(value));
            Row {
                workload: self.workload.to_string(),
                contender: contender.to_string(),
                ops: self.ops,
                rounds: samples.len(),
                per_second: of(|sample| Some(sample.per_second())).unwrap_or_default(),
                p50_us: of(|sample| sample.percentile(50).map(micros)),
                p99_us: of(|sample| sample.percentile(99).map(micros)),
                client_cpu_seconds: of(|sample| Some(sample.client_cpu.as_secs_f64())).unwrap_or_default(),
                redis_cpu_seconds: of(|sample| sample.redis_cpu.map(|time| time.as_secs_f64())),
                of_bare: self.ratio(samples, Contender::Bare),
                of_raw: self.ratio(samples, Contender::Raw),
            }
        })
    }

    /// The median of the rounds' ratios: what slows a whole round down cancels out in each.
    fn ratio(&self, samples: &[Sample], to: Contender) -> Option<f64> {
        let (_, others) = self.runs.iter().find(|(contender, _)| *contender == to)?;
        median(samples.iter().zip(others).map(|(sample, other)| sample.per_second() / other.per_second()))
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// The value in the middle, or halfway between the two there.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(f64::midpoint(values[last / 2], values[last.div_ceil(2)]))
}
