//! What the processes hold: memory and open files, looked at again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_tests::Stack;
use nexus_tests::stack::QUEUES;

/// One look at a process.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    /// Seconds since the first.
    pub(crate) at: f64,
    pub(crate) megabytes: f64,
    pub(crate) files: usize,
}

/// The processes that live through the whole run.
pub(crate) struct Watch {
    begun: Instant,
    next: Instant,
    processes: Vec<(String, u32)>,
    pub(crate) looks: BTreeMap<String, Vec<Look>>,
}

const EVERY: Duration = Duration::from_secs(1);

impl Watch {
    pub(crate) async fn new(stack: &mut Stack) -> Self {
        let mut processes = vec![("nexus-api".to_owned(), stack.api(0).id().unwrap())];
        for queue in QUEUES {
            let worker = stack.worker(queue);
            worker.wait_for_log("worker ready", nexus_tests::SOON).await;
            processes.push((format!("nexus-worker-{queue}"), worker.id().unwrap()));
        }
        let mut watch =
            Self { begun: Instant::now(), next: Instant::now(), processes, looks: BTreeMap::new() };
        watch.look();
        watch
    }

    /// Looks, if it is time to.
    pub(crate) fn look(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        let at = self.begun.elapsed().as_secs_f64();
        for (name, id) in &self.processes {
            let (Some(megabytes), Some(files)) = (memory(*id), files(*id)) else { continue };
            self.looks.entry(name.clone()).or_default().push(Look { at, megabytes, files });
        }
    }

    /// Those that have ended.
    pub(crate) fn dead(&self) -> Vec<&str> {
        self.processes
            .iter()
            .filter(|(_, id)| memory(*id).is_none())
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Open files now, by process.
    pub(crate) fn files_now(&self) -> BTreeMap<&str, usize> {
        self.processes
            .iter()
            .map(|(name, id)| (name.as_str(), files(*id).unwrap_or_default()))
            .collect()
    }
}

/// Resident memory. A process that has ended has none.
fn memory(id: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1_024.0)
}

fn files(id: u32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{id}/fd")).ok()?.count())
}

/// Megabytes a minute by which a process grew after the first quarter of its looks: the slope of
/// the straight line that fits best.
pub(crate) fn slope(looks: &[Look]) -> f64 {
    let looks = &looks[looks.len() / 4..];
    let n = looks.len() as f64;
    let (mean_x, mean_y) = (
        looks.iter().map(|look| look.at).sum::<f64>() / n,
        looks.iter().map(|look| look.megabytes).sum::<f64>() / n,
    );
    let (above, below) = looks.iter().fold((0.0, 0.0), |(above, below), look| {
        let x = look.at - mean_x;
        (above + x * (look.megabytes - mean_y), below + x * x)
    });
    if below == 0.0 { 0.0 } else { above / below * 60.0 }
}
