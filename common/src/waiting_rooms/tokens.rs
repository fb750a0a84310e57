//! Admission tokens: that an account may buy an event's seats, until a time. JSON Web Tokens, signed
//! with Ed25519, which whoever knows the public key can check without asking us: a page or a proxy
//! before the API. Those of outside systems, whose keys an operator has named, count as a call of
//! ours does.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use chrono::Utc;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use nexus_ticket_code::PublicKey;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{
    config::Tokens,
    error::{Error, Result},
    types::{
        ids::{EventId, UserId},
        time::Timestamp,
    },
};

/// No token is longer.
pub const LONGEST: usize = 2_048;
/// No token of an outside system is good for longer.
const LONGEST_VALID: i64 = 24 * 3_600;

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    /// The account's id.
    sub: String,
    /// `event:` and the event's id.
    aud: String,
    /// In seconds since 1970.
    exp: i64,
}

fn audience(event: EventId) -> String {
    format!("event:{event}")
}

/// Signs ours, with a key that follows from the one that signs access tokens, and knows those of
/// outside systems.
#[derive(Debug)]
pub struct AdmissionKeys {
    own: SigningKey,
    outside: Vec<PublicKey>,
}

impl AdmissionKeys {
    pub fn new(tokens: &Tokens, outside: Vec<PublicKey>) -> Result<Self> {
        let newest = tokens.access.first().ok_or_else(|| Error::internal("no key signs tokens"))?;
        let mac = Hmac::<Sha256>::new_from_slice(newest.expose_secret().as_bytes());
        let mac = mac.map_err(Error::internal)?.chain_update("waiting room admissions");
        let seed: [u8; 32] = mac.finalize().into_bytes().into();
        Ok(AdmissionKeys { own: SigningKey::from_bytes(&seed), outside })
    }

    /// The key that checks ours, in base64.
    pub fn public(&self) -> String {
        PublicKey::from(self.own.verifying_key()).to_string()
    }

    /// A token for an account that has been called.
    pub fn sign(&self, event: EventId, user: UserId, until: Timestamp) -> Result<String> {
        let header = Header { alg: "EdDSA".to_owned() };
        let claims =
            Claims { sub: user.to_string(), aud: audience(event), exp: until.0.timestamp() };
        let signed = format!("{}.{}", part(&header)?, part(&claims)?);
        let signature = BASE64_URL.encode(self.own.sign(signed.as_bytes()).to_bytes());
        Ok(format!("{signed}.{signature}"))
    }

    /// Whether an outside system lets the account buy now.
    pub fn is_admitted_outside(&self, token: &str, event: EventId, user: UserId) -> bool {
        if self.outside.is_empty() || token.len() > LONGEST {
            return false;
        }
        claims(token, &self.outside).is_some_and(|claims| {
            let left = claims.exp - Utc::now().timestamp();
            claims.sub == user.to_string()
                && claims.aud == audience(event)
                && (1..=LONGEST_VALID).contains(&left)
        })
    }
}

fn part(content: &impl Serialize) -> Result<String> {
    Ok(BASE64_URL.encode(serde_json::to_vec(content).map_err(Error::internal)?))
}

fn read<T: for<'a> Deserialize<'a>>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL.decode(part).ok()?).ok()
}

/// What a token says that one of these keys has signed.
fn claims(token: &str, keys: &[PublicKey]) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    if read::<Header>(header)?.alg != "EdDSA" {
        return None;
    }
    let signature = Signature::from_slice(&BASE64_URL.decode(signature).ok()?).ok()?;
    let is_good = keys.iter().any(|key| key.has_signed(signed.as_bytes(), &signature));
    if is_good { read(claims) } else { None }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const EVENT: EventId = EventId(7);
    const USER: UserId = UserId(8);

    fn keys(secret: &str, outside: Vec<PublicKey>) -> AdmissionKeys {
        let tokens =
            Tokens { access: vec![secret.repeat(32).into()], refresh: vec!["r".repeat(32).into()] };
        AdmissionKeys::new(&tokens, outside).unwrap()
    }

    fn outside_and_ours() -> (AdmissionKeys, AdmissionKeys) {
        let outside = keys("o", vec![]);
        let ours = keys("n", vec![outside.own.verifying_key().into()]);
        (outside, ours)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(Utc::now() + TimeDelta::seconds(seconds))
    }

    #[test]
    fn a_token_is_for_one_account_one_event_and_a_while() {
        let (outside, ours) = outside_and_ours();
        let token = outside.sign(EVENT, USER, at(60)).unwrap();
        assert!(ours.is_admitted_outside(&token, EVENT, USER));
        assert!(!ours.is_admitted_outside(&token, EventId(9), USER));
        assert!(!ours.is_admitted_outside(&token, EVENT, UserId(9)));
        for seconds in [-1, 0, LONGEST_VALID + 10] {
            let token = outside.sign(EVENT, USER, at(seconds)).unwrap();
            assert!(!ours.is_admitted_outside(&token, EVENT, USER), "{seconds}");
        }
    }

    #[test]
    fn only_the_keys_that_an_operator_has_named_count() {
        let (outside, ours) = outside_and_ours();
        let token = ours.sign(EVENT, USER, at(60)).unwrap();
        assert!(!ours.is_admitted_outside(&token, EVENT, USER), "asked of PostgreSQL instead");
        let token = outside.sign(EVENT, USER, at(60)).unwrap();
        assert!(!keys("n", vec![]).is_admitted_outside(&token, EVENT, USER));
    }

    proptest! {
        #[test]
        fn no_changed_token_counts(position in 0..200_usize, other in "[A-Za-z0-9_.-]") {
            let (outside, ours) = outside_and_ours();
            let token = outside.sign(EVENT, USER, at(60)).unwrap();
            let position = position % token.len();
            let changed = format!("{}{other}{}", &token[..position], &token[position + 1..]);
            // The last character of a part may have bits that nothing reads.
            prop_assume!(changed != token && BASE64_URL.decode(changed.rsplit('.').next().unwrap()).is_ok());
            prop_assert!(!ours.is_admitted_outside(&changed, EVENT, USER));
        }
    }
}
