//! Counts of requests and their responses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use nexus_tests::Response;

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// A response that says that something is wrong, or none.
pub(crate) struct Failure {
    pub(crate) began: f64,
    pub(crate) ended: f64,
    /// 0 for no response.
    pub(crate) status: u16,
    pub(crate) what: String,
}

/// Every response, counted.
#[derive(Default)]
pub(crate) struct Record {
    /// By what was asked: successes, refusals (4xx), and failures.
    pub(crate) responses: RefCell<BTreeMap<&'static str, [u64; 3]>>,
    pub(crate) failures: RefCell<Vec<Failure>>,
    pub(crate) slowest: RefCell<(Duration, &'static str)>,
}

impl Record {
    pub(crate) fn add(&self, what: &'static str, began: f64, response: &Result<Response, String>) {
        let took = Duration::try_from_secs_f64(now() - began).unwrap_or_default();
        let column = match response {
            Ok(response) if response.status < 400 => 0,
            Ok(response) if response.status < 500 => 1,
            _ => 2,
        };
        self.responses.borrow_mut().entry(what).or_default()[column] += 1;
        if took > self.slowest.borrow().0 {
            *self.slowest.borrow_mut() = (took, what);
        }
        if column == 2 {
            let (status, what) = match response {
                Ok(response) => (response.status, response.to_string()),
                Err(error) => (0, error.clone()),
            };
            self.failures.borrow_mut().push(Failure { began, ended: now(), status, what });
        }
    }

    /// Counts something that is no response.
    pub(crate) fn note(&self, what: &'static str) {
        self.responses.borrow_mut().entry(what).or_default()[0] += 1;
    }

    pub(crate) fn successes(&self, what: &str) -> u64 {
        self.responses.borrow().get(what).map_or(0, |counts| counts[0])
    }
}
