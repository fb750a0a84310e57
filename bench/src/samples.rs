//! The measurements of several rounds.

use std::fmt;

/// One number a round.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// One more round.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; not a number without any.
    pub fn median(&self) -> f64 {
        percentile(&self.0, 0.5)
    }
}

/// `1,234 (1,000–1,500)`: the median, the least and the most.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else {
            return f.write_str("–");
        };
        write!(f, "**{}** ({}–{})", number(self.median()), number(*least), number(*most))
    }
}

/// The value below which that share of the sorted values lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Three digits that mean something, thousands apart.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "–".into(),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99)), (100.0, 198.0));
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn samples_show_median_and_range() {
        let mut samples = Samples::default();
        [1500.0, 1000.4, 12345.6].into_iter().for_each(|value| samples.add(value));
        assert_eq!(samples.to_string(), "**1,500** (1,000–12,346)");
        assert_eq!([number(0.123), number(45.67), number(f64::NAN)], ["0.12", "45.7", "–"]);
    }
}
