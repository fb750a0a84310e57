//! Deadlines instead of sleeps.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until `look` succeeds, and returns what it found; panics at the deadline
/// with the last thing seen.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(last) if started.elapsed() >= deadline => {
                panic!("within {deadline:?} this did not happen: {what}\nlast seen: {last}")
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// For [`eventually`]: what was seen, if `holds`, else its description.
pub fn seen<T: Debug>(holds: bool, what: T) -> Result<T, String> {
    if holds { Ok(what) } else { Err(format!("{what:?}")) }
}
