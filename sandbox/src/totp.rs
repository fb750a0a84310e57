//! An authenticator app: the code for a secret (RFC 6238).

use anyhow::{Context, Result};
use chrono::Utc;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The code that an authenticator with that secret, in base32, shows now.
pub fn code(secret: &str) -> Result<String> {
    let secret = secret.trim().to_uppercase();
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).context("this is no base32")?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&secret)?;
    mac.update(&(Utc::now().timestamp() / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 0xf);
    let word = digest[at..at + 4].iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    Ok(format!("{:06}", (word & 0x7fff_ffff) % 1_000_000))
}
