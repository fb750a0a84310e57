//! What was asked, and what was answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use nexus_tests::Answer;

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// An answer that says that something is wrong, or none.
pub(crate) struct Failure {
    pub(crate) began: f64,
    pub(crate) ended: f64,
    /// 0 for no answer.
    pub(crate) status: u16,
    pub(crate) what: String,
}

/// Every answer, counted.
#[derive(Default)]
pub(crate) struct Record {
    /// By what was asked: successes, refusals (4xx), and failures.
    pub(crate) answers: RefCell<BTreeMap<&'static str, [u64; 3]>>,
    pub(crate) failures: RefCell<Vec<Failure>>,
    pub(crate) slowest: RefCell<(Duration, &'static str)>,
}

impl Record {
    pub(crate) fn add(&self, what: &'static str, began: f64, answer: &Result<Answer, String>) {
        let took = Duration::try_from_secs_f64(now() - began).unwrap_or_default();
        let column = match answer {
            Ok(answer) if answer.status < 400 => 0,
            Ok(answer) if answer.status < 500 => 1,
            _ => 2,
        };
        self.answers.borrow_mut().entry(what).or_default()[column] += 1;
        if took > self.slowest.borrow().0 {
            *self.slowest.borrow_mut() = (took, what);
        }
        if column == 2 {
            let (status, what) = match answer {
                Ok(answer) => (answer.status, answer.to_string()),
                Err(error) => (0, error.clone()),
            };
            self.failures.borrow_mut().push(Failure { began, ended: now(), status, what });
        }
    }

    /// Counts something that is no answer.
    pub(crate) fn note(&self, what: &'static str) {
        self.answers.borrow_mut().entry(what).or_default()[0] += 1;
    }

    pub(crate) fn successes(&self, what: &str) -> u64 {
        self.answers.borrow().get(what).map_or(0, |counts| counts[0])
    }
}
