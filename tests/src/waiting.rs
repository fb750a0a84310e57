//! Deadlines instead of sleeps.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Each look costs processor time that the test itself waits for.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again until `look` succeeds, and returns what it found; panics at the deadline
/// with the last thing seen.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(last) if started.elapsed() >= deadline => {
                panic!("within {deadline:?} this did not happen: {what}\nlast seen: {last}")
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// For [`eventually`]: what was seen, if `holds`, else its description.
pub fn seen<T: Debug>(holds: bool, what: T) -> Result<T, String> {
    if holds { Ok(what) } else { Err(format!("{what:?}")) }
}
