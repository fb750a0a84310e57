//! Whether a provider accepts our key: the credentials, and other settings on which every call
//! depends (a service, a sender). Once the provider has refused the key, it is asked only now and
//! then, by one call at a time: with a wrong key every call would be refused, and a provider may
//! shut out a client that insists.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::CallError;
use crate::types::retry_policy::RetryPolicy;

/// The pauses before the key is tried again.
const PAUSES: RetryPolicy = RetryPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
    max_attempts: i32::MAX,
};
/// No call takes longer, so no trial does.
const LOOK: Duration = Duration::from_secs(15);

/// Our key at a provider, as this process knows it. Cheap to clone; clones are the same key.
#[derive(Debug, Clone)]
pub struct Key {
    pub provider: &'static str,
    /// The variables that hold it.
    pub settings: &'static str,
    pause: Arc<Mutex<Option<Pause>>>,
    standing: Arc<watch::Sender<Option<Standing>>>,
}

/// What the provider says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The provider accepts it.
    Accepted,
    /// The provider refuses it: the status of the response, and the provider's code.
    Refused(String),
}

#[derive(Debug)]
struct Pause {
    /// How often in a row the key was refused.
    refusals: i32,
    until: Instant,
    /// A call is finding out whether the key works again.
    looking: bool,
}

impl Key {
    pub(super) fn new(provider: &'static str, settings: &'static str) -> Self {
        Key {
            provider,
            settings,
            pause: Arc::default(),
            standing: Arc::new(watch::Sender::new(None)),
        }
    }

    /// The provider's verdicts from now on: every refusal, and the first acceptance after each.
    pub fn standing(&self) -> watch::Receiver<Option<Standing>> {
        self.standing.subscribe()
    }

    /// Whether a call may be made now. The first call after a pause must report its result; if it
    /// does not, the next call is allowed a little later.
    pub(super) fn permit(&self) -> Result<(), CallError> {
        let mut pause = self.pause();
        let Some(pause) = pause.as_mut() else { return Ok(()) };
        let now = Instant::now();
        if now < pause.until {
            return Err(self.refusal(pause.until - now));
        }
        pause.until = now + LOOK;
        pause.looking = true;
        Ok(())
    }

    /// The provider has accepted the key, even if it refused the request.
    pub(super) fn accepted(&self) {
        *self.pause() = None;
        self.standing.send_if_modified(|standing| {
            let is_new = *standing != Some(Standing::Accepted);
            *standing = Some(Standing::Accepted);
            is_new
        });
    }

    /// The provider has refused the key, with this response. Calls that were under way at the same
    /// time count as one.
    pub(super) fn refused(&self, response: String) -> CallError {
        let mut pause = self.pause();
        let now = Instant::now();
        let refusals = match pause.as_ref() {
            Some(pause) if !pause.looking => {
                return self.refusal(pause.until.saturating_duration_since(now));
            }
            Some(pause) => pause.refusals.saturating_add(1),
            None => 1,
        };
        let wait = PAUSES.delay_after(refusals);
        *pause = Some(Pause { refusals, until: now + wait, looking: false });
        drop(pause);
        self.standing.send_replace(Some(Standing::Refused(response)));
        self.refusal(wait)
    }

    /// Jitter, so that waiting calls do not all come back at the same moment.
    fn refusal(&self, wait: Duration) -> CallError {
        let wait = wait.mul_f64(rand::random_range(1.0..1.25));
        CallError::KeyRefused { provider: self.provider, wait }
    }

    fn pause(&self) -> MutexGuard<'_, Option<Pause>> {
        // Nothing panics while it is locked.
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_is_tried_again_after_a_pause_that_grows_by_one_call_at_a_time() {
        let key = Key::new("Razorpay", "RAZORPAY_KEY_ID");
        assert!(key.permit().is_ok() && key.permit().is_ok());
        key.refused("401".into());
        let pause = |key: &Key| key.pause().as_ref().map(|pause| (pause.refusals, pause.looking));
        key.refused("401".into());
        assert_eq!(pause(&key), Some((1, false)), "both calls were under way");
        assert!(
            matches!(key.permit(), Err(CallError::KeyRefused { wait, .. }) if wait < 2 * PAUSES.first)
        );

        let over = |key: &Key| key.pause().as_mut().expect("a pause").until = Instant::now();
        over(&key);
        assert!(key.permit().is_ok() && key.permit().is_err(), "one looks");
        key.refused("401".into());
        assert_eq!(pause(&key), Some((2, false)));
        over(&key);
        assert!(key.permit().is_ok());
        key.accepted();
        assert!(key.permit().is_ok() && key.permit().is_ok());
    }

    #[test]
    fn every_refusal_is_told_and_the_first_acceptance_after_it() {
        let key = Key::new("Twilio", "TWILIO_AUTH_TOKEN");
        let mut standing = key.standing();
        key.accepted();
        assert!(standing.has_changed().is_ok_and(|changed| changed));
        assert_eq!(*standing.borrow_and_update(), Some(Standing::Accepted));
        key.accepted();
        assert!(standing.has_changed().is_ok_and(|changed| !changed));
        key.refused("403".into());
        assert_eq!(*standing.borrow_and_update(), Some(Standing::Refused("403".into())));
    }
}
