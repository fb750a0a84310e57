//! Random identifiers and secrets in the forms that the providers and Nexus use.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &[u8] = b"0123456789abcdef";

/// `length` letters and digits, as in `order_DBJOWzybf0sJbb`.
pub(crate) fn alphanumeric(length: usize) -> String {
    pick(ALPHANUMERIC, length)
}

/// `length` lower-case hexadecimal digits, as in `VA1d41…`.
pub(crate) fn hex(length: usize) -> String {
    pick(HEX, length)
}

/// `length` decimal digits: a one-time password.
pub(crate) fn digits(length: usize) -> String {
    pick(b"0123456789", length)
}

/// 32 bytes in base64, as `openssl rand -base64 32` makes them: what signs tickets.
pub fn signing_key() -> String {
    BASE64_STANDARD.encode(rand::random::<[u8; 32]>())
}

fn pick(alphabet: &[u8], length: usize) -> String {
    (0..length).map(|_| char::from(alphabet[rand::random_range(0..alphabet.len())])).collect()
}
