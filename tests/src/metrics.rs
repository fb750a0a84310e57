//! The metrics of a process, as Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};

use crate::SOON;
use crate::client::http_client;
use crate::response::Response;
use crate::waiting::{eventually, seen};

/// A page of metrics, in Prometheus's text format.
#[derive(Debug, Clone)]
pub struct Metrics(pub String);

impl Metrics {
    /// Reads `http://host:port/metrics`.
    pub async fn read(url: &str) -> Result<Self, String> {
        Response::try_to(http_client().get(url)).await.map(|response| Self(response.text))
    }

    /// Waits until a page shows something.
    pub async fn until(url: &str, what: &str, shows: impl Fn(&Metrics) -> bool) -> Self {
        eventually(&format!("{url} shows {what}"), SOON, async || {
            let page = Self::read(url).await?;
            seen(shows(&page), page)
        })
        .await
    }

    /// The value of a metric with exactly these labels, as `name{label="value"}`.
    pub fn value(&self, metric: &str) -> Option<f64> {
        self.0.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
    }

    /// Every series: its name, with the suffix that a histogram's have, and the names of its
    /// labels.
    pub fn series(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in self.0.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
            let labels =
                rest.split_once('}').map_or("", |(labels, _)| labels.trim_start_matches('{'));
            let names = labels
                .split(',')
                .filter_map(|label| label.split_once('='))
                .map(|(name, _)| name.to_owned());
            series.entry(name.to_owned()).or_default().extend(names);
        }
        series
    }
}
