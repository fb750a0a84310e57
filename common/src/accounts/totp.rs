//! Codes of authenticator apps (RFC 6238), as all of them know them: SHA-1, six digits, thirty
//! seconds.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// How long a code is shown.
const PERIOD: i64 = 30;

/// What an authenticator and we have in common.
pub struct TotpSecret(SecretBox<[u8; 20]>);

impl TotpSecret {
    /// A new one.
    pub fn generate() -> Self {
        TotpSecret(SecretBox::new(Box::new(rand::random())))
    }

    /// One that was stored; `None` for what is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(TotpSecret(SecretBox::new(Box::new(bytes.try_into().ok()?))))
    }

    /// As it is stored.
    pub fn bytes(&self) -> &[u8] {
        &self.0.expose_secret()[..]
    }

    /// As people type it.
    pub fn base32(&self) -> String {
        BASE32_NOPAD.encode(self.bytes())
    }

    /// As authenticators read it. `account` needs no escapes.
    pub fn uri(&self, account: &str) -> String {
        format!("otpauth://totp/Nexus:{account}?secret={}&issuer=Nexus", self.base32())
    }

    /// The step whose code this is, if that is the one of `now` or its neighbour: clocks differ.
    pub fn step_of(&self, code: &str, now: i64) -> Result<Option<i64>> {
        let mut found = None;
        // All of them, so that the time does not tell which.
        for step in now / PERIOD - 1..=now / PERIOD + 1 {
            if bool::from(self.code(step)?.as_bytes().ct_eq(code.as_bytes())) {
                found = Some(step);
            }
        }
        Ok(found)
    }

    fn code(&self, step: i64) -> Result<String> {
        let mac = Hmac::<Sha1>::new_from_slice(self.bytes()).map_err(Error::internal)?;
        let digest = mac.chain_update(step.to_be_bytes()).finalize().into_bytes();
        let at = usize::from(digest[19] & 0xf);
        let word = u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
        Ok(format!("{:06}", (word & 0x7fff_ffff) % 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B; of its eight digits the last six.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890").unwrap();
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret.code(time / PERIOD).unwrap(), code);
        }
    }

    #[test]
    fn a_code_is_good_for_a_minute_and_a_half() {
        let secret = TotpSecret::generate();
        let code = secret.code(100).unwrap();
        let found = |now| secret.step_of(&code, now).unwrap();
        assert_eq!([found(2_970), found(3_000), found(3_059)], [Some(100); 3]);
        assert_eq!([found(2_969), found(3_060)], [None, None]);
        assert_eq!(secret.step_of("", 3_000).unwrap(), None);
    }

    #[test]
    fn a_secret_is_shown_to_authenticators_in_their_form() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890").unwrap();
        let uri = "otpauth://totp/Nexus:7?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Nexus";
        assert_eq!(secret.uri("7"), uri);
    }
}
