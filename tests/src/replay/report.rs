//! How many exchanges equal the recording, how many differ by which rule, and which differ without
//! one.

use std::fmt::{Display, Formatter, Result};

use super::recording::Exchange;
use super::rule::Rule;

/// The result of a replay.
pub struct Report<'a> {
    rules: &'a [Rule],
    cases: Vec<Judged<'a>>,
}

struct Judged<'a> {
    exchange: &'a Exchange,
    /// Indices into the rules.
    applied: Vec<usize>,
    differences: Vec<String>,
}

impl<'a> Report<'a> {
    /// Nothing has been replayed yet.
    pub fn new(rules: &'a [Rule]) -> Self {
        Self { rules, cases: Vec::new() }
    }

    /// One more exchange: the rules that changed what is expected of it, and what was different
    /// nevertheless.
    pub fn add(&mut self, exchange: &'a Exchange, applied: Vec<usize>, differences: Vec<String>) {
        self.cases.push(Judged { exchange, applied, differences });
    }

    /// Differences that no rule explains.
    pub fn unexplained(&self) -> usize {
        self.cases.iter().filter(|case| !case.differences.is_empty()).count()
    }

    /// Rules that have changed nothing where they should have.
    pub fn idle(&self) -> Vec<String> {
        let idle = self.rules.iter().enumerate().filter_map(|(index, rule)| {
            let used = self.numbers(index);
            let missed: Vec<u32> = rule.named().filter(|seq| !used.contains(seq)).collect();
            (used.is_empty() || !missed.is_empty()).then(|| {
                format!("{} {:?}: nothing to change in {missed:?}", rule.source, rule.what)
            })
        });
        idle.collect()
    }

    fn numbers(&self, rule: usize) -> Vec<u32> {
        self.cases
            .iter()
            .filter(|case| case.applied.contains(&rule))
            .map(|case| case.exchange.seq)
            .collect()
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let explained = |case: &&Judged| case.differences.is_empty();
        let exact =
            self.cases.iter().filter(explained).filter(|case| case.applied.is_empty()).count();
        let ruled = self.cases.iter().filter(explained).count() - exact;
        writeln!(f, "# The recording, replayed\n")?;
        writeln!(f, "| {} exchanges | |\n|---|---|", self.cases.len())?;
        writeln!(f, "| exactly as recorded | {exact} |")?;
        writeln!(f, "| different on purpose, as a rule says | {ruled} |")?;
        writeln!(f, "| different | {} |\n", self.unexplained())?;
        writeln!(f, "| Source | Rule | Exchanges | |\n|---|---|---|---|")?;
        for (index, rule) in self.rules.iter().enumerate() {
            let numbers = self.numbers(index);
            writeln!(
                f,
                "| {} | {} | {} | {} |",
                rule.source,
                rule.what,
                numbers.len(),
                ranges(&numbers)
            )?;
        }
        for case in self.cases.iter().filter(|case| !case.differences.is_empty()) {
            writeln!(f, "\n## {} {}\n", case.exchange.seq, case.exchange.name)?;
            for rule in &case.applied {
                writeln!(f, "({}: {})", self.rules[*rule].source, self.rules[*rule].what)?;
            }
            for difference in &case.differences {
                writeln!(f, "- {difference}")?;
            }
        }
        Ok(())
    }
}

/// `1, 4–6`
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let texts = runs.map(|run| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}–{last}"),
        [] => String::new(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::replay::recording::Request;
    use crate::replay::rule::{Case, Truth, rule};

    fn exchange(seq: u32, outcome: Value) -> Exchange {
        Exchange { seq, name: format!("number {seq}"), request: Request::Observation, outcome }
    }

    /// Applies the rules to these exchanges, whose live outcomes equal the recorded ones.
    fn report<'a>(rules: &'a [Rule], exchanges: &'a [Exchange]) -> Report<'a> {
        let mut report = Report::new(rules);
        for exchange in exchanges {
            let case = Case { exchange, recording: exchanges, truth: &Truth::default() };
            let mut expected = exchange.outcome.clone();
            let applied = (0..rules.len())
                .filter(|&index| rules[index].apply(&case, &mut expected))
                .collect();
            let different = expected != exchange.outcome;
            report.add(exchange, applied, if different { vec!["/a".to_owned()] } else { vec![] });
        }
        report
    }

    #[test]
    fn a_rule_expects_the_difference_that_it_names() {
        let exchanges = [exchange(1, json!({"a": 1})), exchange(2, json!({"a": 1}))];
        let rules = [rule("1", "a is two").says(2, json!({"a": 2}))];
        let report = report(&rules, &exchanges);
        assert_eq!((report.unexplained(), report.idle()), (1, vec![]));
        assert!(report.to_string().contains("| exactly as recorded | 1 |"), "{report}");
        assert!(report.to_string().contains("## 2 number 2\n\n(1: a is two)\n- /a\n"), "{report}");
    }

    #[test]
    fn a_rule_that_has_nothing_to_do_is_named() {
        let exchanges = [exchange(1, json!({"a": 1})), exchange(2, json!({"a": 1}))];
        let rules = [
            rule("1", "a is one").says(1, json!({"a": 1})),
            rule("2", "a is two, twice").says(1, json!({"a": 2})).says(3, json!({"a": 2})),
            rule("3", "b is gone").everywhere(|_, outcome| {
                drop(outcome.as_object_mut().and_then(|outcome| outcome.remove("b")))
            }),
        ];
        let expected = [
            "1 \"a is one\": nothing to change in [1]",
            "2 \"a is two, twice\": nothing to change in [3]",
            "3 \"b is gone\": nothing to change in []",
        ];
        assert_eq!(report(&rules, &exchanges).idle(), expected);
    }

    #[test]
    fn neighbours_are_listed_as_a_range() {
        assert_eq!(ranges(&[1, 4, 5, 6, 8, 9]), "1, 4–6, 8–9");
    }
}
