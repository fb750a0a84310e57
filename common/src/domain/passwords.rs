//! Password hashing: Argon2id for new hashes, bcrypt for those of the Node service (CONTRACT.md, section 11). Always off the async threads, and
//! only a few at once, because each takes a core and 19 MiB.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

type Work = Box<dyn FnOnce() + Send>;

/// To the threads that hash, one a core. They are not the runtime's, of which there are many: the allocator keeps the 19 MiB for each thread
/// that ever needed them.
static HASHERS: LazyLock<Sender<Work>> = LazyLock::new(|| {
    let (works, inbox) = channel::<Work>();
    let inbox = Arc::new(Mutex::new(inbox));
    for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
        let inbox = inbox.clone();
        thread::spawn(move || {
            loop {
                let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(work) = next else { return };
                // A panic ends the work, not the thread; whoever waits is told.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        });
    }
    works
});

/// Hash of a password that nobody has: what unknown accounts are compared with, so that the time does not tell them apart.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| argon2_hash("nobody has this password").unwrap_or_default());

/// The result of comparing a password.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the password.
    Wrong,
    /// It is, and the stored hash is as we make it.
    Right,
    /// It is; the stored hash is bcrypt and should be replaced by this one.
    RightRehash(String),
}

/// An Argon2id hash of `password` with OWASP's parameters (19 MiB, 2 passes, 1 lane), as a PHC string.
pub async fn hash(password: String) -> Result<String> {
    off_thread(move || argon2_hash(&password)).await?
}

/// Compares `password` with a stored hash, or with nobody's when there is none.
pub async fn verify(password: String, stored: Option<String>) -> Result<Verdict> {
    off_thread(move || {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| NOBODY.clone());
        let (matches, is_bcrypt) = if stored.starts_with("$2") {
            // bcrypt looks at 72 bytes; npm's bcrypt cuts off, too.
            (bcrypt::verify(&password.as_bytes()[..password.len().min(72)], &stored).unwrap_or(false), true)
        } else {
            let hash = PasswordHash::new(&stored);
            (
                hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
                false,
            )
        };
        Ok(match (matches && known, is_bcrypt) {
            (false, _) => Verdict::Wrong,
            (true, false) => Verdict::Right,
            (true, true) => Verdict::RightRehash(argon2_hash(&password)?),
        })
    })
    .await?
}

fn argon2_hash(password: &str) -> Result<String> {
    // The crate's defaults are OWASP's parameters; the salt comes from the operating system.
    let hash =
        Argon2::default().hash_password(password.as_bytes()).map_err(|e| Error::internal(e.to_string()))?;
    Ok(hash.to_string())
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (answer, answered) = oneshot::channel();
    let work = move || {
        // Nobody may be waiting any more.
        if !answer.is_closed() {
            let _ = answer.send(work());
        }
    };
    HASHERS.send(Box::new(work)).map_err(|_| Error::internal("there are no threads to hash"))?;
    answered.await.map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bcrypt_hash_verifies_and_is_replaced() {
        let old = bcrypt::hash("Passw0rd!", 4).unwrap();
        let Verdict::RightRehash(new) = verify("Passw0rd!".into(), Some(old.clone())).await.unwrap() else {
            panic!("a bcrypt hash must be replaced")
        };
        assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
        assert_eq!(verify("Passw0rd!".into(), Some(new)).await.unwrap(), Verdict::Right);
        assert_eq!(verify("passw0rd!".into(), Some(old)).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn nobody_can_log_in_without_a_password() {
        assert_eq!(verify("nobody has this password".into(), None).await.unwrap(), Verdict::Wrong);
    }
}
