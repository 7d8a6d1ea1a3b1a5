//! What is counted, as text.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use super::number::{Counter, Gauge, Histogram};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A number that only rises; its name ends with `_total`.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// Numbers of values below bounds.
    Histogram,
}

/// A metric: all samples of one name.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name: `[a-z_]`, with the unit last.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says, in a sentence.
    pub help: &'static str,
}

impl Metric {
    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help }
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help }
    }

    /// A histogram.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, help }
    }
}

/// Names and values of labels, in the order in which they are shown.
pub type Labels<'a> = [(&'a str, &'a str)];

/// A page in the text format of Prometheus, version 0.0.4. Samples of one metric stand together, whoever adds them.
#[derive(Debug, Default)]
pub struct Page(BTreeMap<&'static str, Family>);

#[derive(Debug)]
struct Family {
    metric: Metric,
    samples: String,
}

impl Page {
    /// Adds a counter.
    pub fn counter(&mut self, metric: &Metric, labels: &Labels<'_>, counter: &Counter) {
        self.sample(metric, labels, counter.get());
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, metric: &Metric, labels: &Labels<'_>, gauge: &Gauge) {
        self.sample(metric, labels, gauge.get());
    }

    /// Adds a number that is known some other way.
    pub fn sample(&mut self, metric: &Metric, labels: &Labels<'_>, value: impl fmt::Display) {
        let labels = written(labels);
        self.family(metric).line("", &labels, value);
    }

    /// Adds a histogram.
    pub fn histogram(&mut self, metric: &Metric, labels: &Labels<'_>, histogram: &Histogram) {
        let labels = written(labels);
        let comma = if labels.is_empty() { "" } else { "," };
        let family = self.family(metric);
        let mut count = 0;
        for (bound, so_far) in histogram.so_far() {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            family.line("_bucket", &format!("{labels}{comma}le=\"{bound}\""), so_far);
            count = so_far;
        }
        family.line("_sum", &labels, histogram.sum());
        // The same as that of the last bucket, although more may be counted meanwhile.
        family.line("_count", &labels, count);
    }

    fn family(&mut self, metric: &Metric) -> &mut Family {
        self.0.entry(metric.name).or_insert_with(|| Family { metric: *metric, samples: String::new() })
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Family { metric, samples }) in &self.0 {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let help = metric.help.replace('\\', r"\\").replace('\n', r"\n");
            write!(f, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}")?;
        }
        Ok(())
    }
}

impl Family {
    fn line(&mut self, suffix: &str, labels: &str, value: impl fmt::Display) {
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        // Writing to a string does not fail.
        _ = writeln!(self.samples, "{}{suffix}{open}{labels}{close} {value}", self.metric.name);
    }
}

/// Labels as the format wants them, without the braces.
fn written(labels: &Labels<'_>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let comma = if text.is_empty() { "" } else { "," };
        _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Buckets;

    #[test]
    fn samples_of_a_metric_stand_together_and_labels_are_escaped() {
        const SEEN: Metric = Metric::counter("seen_total", "What was seen.");
        const TOOK: Metric = Metric::histogram("took_seconds", "How long\nit took.");
        const THERE: Metric = Metric::gauge("there", "Who is there.");
        let (seen, there) = (Counter::new(), Gauge::new());
        let took = Histogram::new(Buckets::of_nanos(&[500_000_000, 10_000_000_000]));
        seen.add(3);
        took.observe(500_000_000);
        took.observe(20_000_000_000);
        let mut page = Page::default();
        page.counter(&SEEN, &[("at", "/a\\\"b\n"), ("by", "")], &seen);
        page.histogram(&TOOK, &[], &took);
        page.gauge(&THERE, &[], &there);
        page.counter(&SEEN, &[("at", "here")], &seen);
        page.histogram(&TOOK, &[("at", "here")], &Histogram::new(Buckets::of_nanos(&[])));
        let expected = concat!(
            "# HELP seen_total What was seen.\n# TYPE seen_total counter\n",
            "seen_total{at=\"/a\\\\\\\"b\\n\",by=\"\"} 3\nseen_total{at=\"here\"} 3\n",
            "# HELP there Who is there.\n# TYPE there gauge\nthere 0\n",
            "# HELP took_seconds How long\\nit took.\n# TYPE took_seconds histogram\n",
            "took_seconds_bucket{le=\"0.5\"} 1\ntook_seconds_bucket{le=\"10\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 2\n",
            "took_seconds_sum 20.5\ntook_seconds_count 2\n",
            "took_seconds_bucket{at=\"here\",le=\"+Inf\"} 0\ntook_seconds_sum{at=\"here\"} 0\n",
            "took_seconds_count{at=\"here\"} 0\n",
        );
        assert_eq!(page.to_string(), expected);
    }
}
