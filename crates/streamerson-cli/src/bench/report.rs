//! What was measured, as a table or as lines of JSON.

use serde::Serialize;

use super::load::Measured;
use crate::{
    failure::Failure,
    human,
    output::{Format, Output},
    progress::Progress,
    table::{Cell, Table},
};

#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    in_flight: Option<usize>,
    payload_bytes: usize,
    count: usize,
    seconds: f64,
    per_second: f64,
    p50_us: Option<u32>,
    p90_us: Option<u32>,
    p99_us: Option<u32>,
    max_us: Option<u32>,
}

pub(super) struct Report {
    output: Output,
    progress: Progress,
    payload_bytes: usize,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(output: Output, payload_bytes: usize) -> Self {
        let progress = Progress::new(&output, None);
        Self { output, progress, payload_bytes, rows: Vec::new() }
    }

    /// Says what is under way.
    pub(super) fn progress(&mut self, what: &str) {
        self.progress.say(&format!("measuring {what}"));
    }

    pub(super) fn add(
        &mut self,
        what: &'static str,
        in_flight: Option<usize>,
        measured: &Measured,
    ) -> Result<(), Failure> {
        self.progress.clear();
        let percentile = |percent| measured.percentile(percent);
        let row = Row {
            what,
            in_flight,
            payload_bytes: self.payload_bytes,
            count: measured.count,
            seconds: measured.elapsed.as_secs_f64(),
            per_second: measured.per_second(),
            p50_us: percentile(50),
            p90_us: percentile(90),
            p99_us: percentile(99),
            max_us: percentile(100),
        };
        if self.output.format == Format::Json {
            self.output.json(&row)?;
            return self.output.flush();
        }
        self.rows.push(row);
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.progress.clear();
        if self.output.format == Format::Human && !self.rows.is_empty() {
            table(&self.rows).print(&mut self.output)?;
        }
        self.output.flush()
    }
}

fn table(rows: &[Row]) -> Table<9> {
    let mut table = Table::new(["", "IN FLIGHT", "COUNT", "SECONDS", "PER SECOND", "P50", "P90", "P99", "MAX"]);
    let latency = |micros: Option<u32>| micros.map_or_else(Cell::none, |micros| Cell::text(millis(micros))).right();
    for row in rows {
        table.row([
            Cell::text(row.what).bold(),
            row.in_flight.map_or_else(Cell::none, |number| Cell::count(number as u64)).right(),
            Cell::count(row.count as u64),
            Cell::text(format!("{:.1}", row.seconds)).right(),
            Cell::text(human::rate(row.per_second)).bold().right(),
            latency(row.p50_us),
            latency(row.p90_us),
            latency(row.p99_us),
            latency(row.max_us),
        ]);
    }
    table
}

/// Microseconds as milliseconds with the digits that count.
fn millis(micros: u32) -> String {
    let millis = f64::from(micros) / 1000.0;
    match micros {
        ..10_000 => format!("{millis:.2} ms"),
        10_000..100_000 => format!("{millis:.1} ms"),
        _ => format!("{millis:.0} ms"),
    }
}
