//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::console::say;

/// A token that is cancelled by the first signal.
pub(crate) fn on_signal() -> Result<CancellationToken> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if stop.is_cancelled() {
                // The kernel takes the children along.
                std::process::exit(130);
            }
            say("stopping; once more to stop at once");
            stop.cancel();
        }
    });
    Ok(token)
}
