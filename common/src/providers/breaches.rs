//! Passwords that have appeared in breaches, by k-anonymity (docs/providers.md#breached-passwords):
//! the service is told five of the forty digits of a password's SHA-1, answers with every hash that
//! begins so, and never learns which one was meant.

use std::{fmt::Write, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};
use unicode_normalization::UnicodeNormalization;

use super::{CallError, chain, http};

const NAME: &str = "the list of breached passwords";
/// Somebody waits for the answer, and can do without.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Digits of the hash that are told.
const TOLD: usize = 5;
/// More than any list of a range: about a thousand lines, padding included.
const LONGEST: usize = 1_000_000;

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Breaches {
    http: reqwest::Client,
    url: String,
}

impl Breaches {
    /// A client of the service whose ranges are below `url`.
    pub fn new(url: &str) -> crate::Result<Self> {
        Ok(Breaches { http: http()?, url: url.trim_end_matches('/').to_owned() })
    }

    /// Whether the password has appeared in a breach.
    pub async fn has(&self, password: &SecretString) -> Result<bool, CallError> {
        let hash = digits(password.expose_secret());
        let (told, kept) = hash.split_at(TOLD);
        let list = self.list(told);
        let list = tokio::time::timeout(TIMEOUT, list).await;
        let list = list.unwrap_or_else(|_| Err(failed("it did not answer in time")))?;
        Ok(is_in(&list, kept))
    }

    /// What is known of hashes that begin so.
    async fn list(&self, told: &str) -> Result<String, CallError> {
        // Answers of one length, so that nobody on the way can tell which one it was.
        let request = self.http.get(format!("{}/{told}", self.url)).header("add-padding", "true");
        let unread = |error: reqwest::Error| failed(&chain(&error.without_url()));
        let mut response = request.send().await.map_err(unread)?;
        if !response.status().is_success() {
            return Err(failed(&format!("status {}", response.status().as_u16())));
        }
        let mut list = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unread)? {
            list.extend_from_slice(&part);
            if list.len() > LONGEST {
                return Err(failed("its answer is too long"));
            }
        }
        String::from_utf8(list).map_err(|_| failed("its answer is no text"))
    }
}

fn failed(reason: &str) -> CallError {
    CallError::Failed { provider: NAME, reason: reason.to_owned() }
}

/// SHA-1, as the lists have it: of the password as it is compared, in upper case.
fn digits(password: &str) -> String {
    let mut digits = String::with_capacity(40);
    for byte in Sha1::digest(password.nfc().collect::<String>()) {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02X}");
    }
    digits
}

/// Whether a list has the rest of a hash. A line is that rest, a colon, and how often it was seen;
/// padding was seen never.
fn is_in(list: &str, kept: &str) -> bool {
    list.lines().filter_map(|line| line.trim().split_once(':')).any(|(rest, seen)| {
        rest.eq_ignore_ascii_case(kept) && seen.trim().parse::<u64>().is_ok_and(|seen| seen > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_found_by_its_rest_and_padding_is_none() {
        let hash = digits("password");
        assert_eq!(hash, "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8");
        let kept = &hash[TOLD..];
        assert!(is_in(&format!("{}:1\r\n{kept}:52256179\r\n", "0".repeat(35)), kept));
        assert!(!is_in(&format!("{kept}:0\r\n"), kept));
        assert!(!is_in("nothing of the kind", kept) && !is_in("", kept));
    }
}
