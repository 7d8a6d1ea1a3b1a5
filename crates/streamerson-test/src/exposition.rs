//! A page of metrics, read by the rules of the text format of Prometheus, version 0.0.4, and by its customs.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    str::Chars,
};

/// A page of metrics that keeps to the rules.
#[derive(Debug)]
pub struct Exposition {
    /// What each metric is: `counter`, `gauge` or `histogram`.
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<Series, f64>,
}

/// A name, and labels by their names.
type Series = (String, BTreeMap<String, String>);

impl Exposition {
    /// Reads a page.
    ///
    /// # Panics
    ///
    /// When the page breaks a rule; the message says which, and where.
    #[must_use]
    #[track_caller]
    pub fn read(text: &str) -> Self {
        match Self::parse(text) {
            Ok(page) => page,
            Err(broken) => panic!("{broken} in:\n{text}"),
        }
    }

    /// The names of the metrics on it.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.kinds.keys().cloned().collect()
    }

    /// The value of the series that is written so: a name, and labels in any order.
    ///
    /// # Panics
    ///
    /// When that is no series.
    #[must_use]
    #[track_caller]
    pub fn get(&self, series: &str) -> Option<f64> {
        let (series, rest) = parse_series(series).expect("a series");
        assert_eq!(rest, "", "a series and nothing else");
        self.samples.get(&series).copied()
    }

    /// The same, summed over all series of the name that have these labels among others.
    ///
    /// # Panics
    ///
    /// When that is no series.
    #[must_use]
    #[track_caller]
    pub fn sum(&self, series: &str) -> f64 {
        let ((wanted, labels), _) = parse_series(series).expect("a series");
        let is_wanted =
            |(name, has): &Series| *name == wanted && labels.iter().all(|(label, value)| has.get(label) == Some(value));
        self.samples.iter().filter(|(series, _)| is_wanted(series)).map(|(_, value)| value).sum()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut page = Self { kinds: BTreeMap::new(), samples: BTreeMap::new() };
        let (mut described, mut current) = (BTreeSet::new(), String::new());
        if !text.ends_with('\n') {
            return Err("the last line does not end".into());
        }
        for line in text.lines() {
            let broken = |what: &str| format!("{what}: {line:?}");
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').ok_or_else(|| broken("no help"))?;
                if !is_name(name) || help.is_empty() || !described.insert(name.to_owned()) {
                    return Err(broken("help without a name, without a text, or a second time"));
                }
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| broken("no type"))?;
                if !["counter", "gauge", "histogram"].contains(&kind) || !described.contains(name) {
                    return Err(broken("an unknown type, or one without help before it"));
                }
                if kind == "counter" && !name.ends_with("_total") {
                    return Err(broken("a counter whose name does not end with _total"));
                }
                if page.kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(broken("a metric that is not in one piece"));
                }
                name.clone_into(&mut current);
            } else {
                let (series, value) = parse_series(line).ok_or_else(|| broken("no sample"))?;
                let value = value.strip_prefix(' ').and_then(|value| value.parse::<f64>().ok());
                let value = value.filter(|value| value.is_finite()).ok_or_else(|| broken("no value"))?;
                let is_histogram = page.kinds.get(&current).is_some_and(|kind| kind == "histogram");
                let suffixes: &[&str] = if is_histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
                if !suffixes.iter().any(|suffix| series.0 == format!("{current}{suffix}")) {
                    return Err(broken("a sample that is not one of the metric above it"));
                }
                if page.samples.insert(series, value).is_some() {
                    return Err(broken("the same series twice"));
                }
            }
        }
        page.check_histograms()?;
        Ok(page)
    }

    /// Buckets rise to the count, and each histogram has all of its parts.
    fn check_histograms(&self) -> Result<(), String> {
        for name in self.kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
            for ((_, labels), value) in self.samples.iter().filter(|((it, _), _)| *it == format!("{name}_bucket")) {
                let mut labels = labels.clone();
                let bound = labels.remove("le").and_then(|bound| bound.parse::<f64>().ok());
                let bound = bound.ok_or_else(|| format!("a bucket of {name} without a bound"))?;
                buckets.entry(labels).or_default().push((bound, *value));
            }
            for (labels, mut buckets) in buckets {
                buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
                let part = |part: &str| self.samples.get(&(format!("{name}_{part}"), labels.clone())).copied();
                let all = buckets.last().filter(|(bound, _)| bound.is_infinite()).map(|(_, count)| *count);
                let rises = buckets.is_sorted_by(|(_, one), (_, next)| one <= next);
                if !rises || all.is_none() || all != part("count") || part("sum").is_none() {
                    return Err(format!("{name}{labels:?} is no histogram"));
                }
            }
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// A series, and what follows it.
fn parse_series(text: &str) -> Option<(Series, &str)> {
    let end = text.find(['{', ' ']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(labels) = rest.strip_prefix('{') else {
        return is_name(name).then(|| ((name.to_owned(), BTreeMap::new()), rest));
    };
    let mut chars = labels.chars().peekable();
    let mut found = BTreeMap::new();
    loop {
        let label: String = std::iter::from_fn(|| chars.next_if(|char| *char != '=')).collect();
        if !is_name(&label) || chars.next() != Some('=') || chars.next() != Some('"') {
            return None;
        }
        if found.insert(label, label_value(&mut chars)?).is_some() {
            return None;
        }
        match chars.next()? {
            ',' => {}
            '}' => break,
            _ => return None,
        }
    }
    let rest: usize = chars.map(char::len_utf8).sum();
    is_name(name).then(|| ((name.to_owned(), found), &text[text.len() - rest..]))
}

fn label_value(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut value = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\n' => return None,
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            char => value.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = concat!(
        "# HELP seen_total What\n# TYPE seen_total counter\nseen_total{at=\"/a\\\\\\\"b\\n}\",by=\"\"} 3\nseen_total 1\n",
        "# HELP took_s How\n# TYPE took_s histogram\ntook_s_bucket{le=\"0.5\"} 1\ntook_s_bucket{le=\"+Inf\"} 2\n",
        "took_s_sum 2.5\ntook_s_count 2\n",
    );

    #[test]
    fn a_good_page_is_read() {
        let page = Exposition::read(GOOD);
        assert_eq!(page.get(r#"seen_total{by="",at="/a\\\"b\n}"}"#), Some(3.0));
        assert_eq!((page.get("seen_total"), page.get("seen_total{at=\"x\"}")), (Some(1.0), None));
        assert_eq!(page.sum("seen_total"), 4.0);
        assert_eq!(page.sum("seen_total{by=\"\"}"), 3.0);
        assert!(page.names().iter().eq(["seen_total", "took_s"]));
    }

    #[test]
    fn each_broken_rule_is_found() {
        for (good, bad) in [
            ("seen_total 1\n", "seen_total 1"),
            ("seen_total 1\n", "seen_total one\n"),
            ("seen_total 1\n", "seen_total NaN\n"),
            ("seen_total 1\n", "seen_total 1\nseen_total 1\n"),
            ("seen_total 1\n", "other_total 1\n"),
            ("seen_total 1\n", "seen_total{} 1\n"),
            ("seen_total 1\n", "seen_total{at=\"a\"b\"} 1\n"),
            ("seen_total 1\n", "seen_total{at=\"\\a\"} 1\n"),
            ("seen_total 1\n", "seen_total{at=\"a\",at=\"a\"} 1\n"),
            ("seen_total 1\n", "seen_total{1at=\"a\"} 1\n"),
            ("# HELP seen_total What\n", ""),
            ("seen_total counter", "seen_total number"),
            ("le=\"0.5\"} 1", "le=\"0.5\"} 3"),
            ("le=\"+Inf\"", "le=\"1\""),
            ("took_s_sum 2.5\n", ""),
            ("took_s_count 2", "took_s_count 3"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let text = GOOD.replacen(good, bad, 1);
            let text = if bad.ends_with("1") { text.trim_end().to_owned() } else { text };
            assert!(Exposition::parse(&text).is_err(), "{bad:?} in place of {good:?}");
        }
        let again = format!("{GOOD}# TYPE seen_total counter\nseen_total{{at=\"later\"}} 1\n");
        assert!(Exposition::parse(&again).is_err());
        assert!(Exposition::parse(&GOOD.replace("seen_total", "seen")).is_err());
    }
}
