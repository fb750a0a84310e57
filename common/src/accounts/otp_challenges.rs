//! Challenges: what a client that asks for a one-time password gets besides the SMS, so that its
//! wrong guesses are counted as its own. A challenge is signed and stored nowhere. [`OtpHints`] has
//! what Redis remembers of those who do not send theirs back.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    config::Tokens,
    error::{Error, Result},
    providers::twilio::Service,
    storage::Cache,
    types::{contacts::Phone, text_enum::text_enum},
};

/// How long a code, and so a challenge, is valid (docs/providers.md#twilio).
pub const VALID: Duration = Duration::from_secs(600);

text_enum! {
    /// What a code is good for.
    pub enum OtpPurpose {
        /// A login, or another phone number of the account.
        Login = "login",
        ResetPassword = "reset_password",
    }
}

/// A challenge that was issued for a phone and is valid; the text identifies it.
#[derive(Debug)]
pub struct Challenge(String);

impl Challenge {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Issues and verifies challenges.
pub struct Challenges {
    /// The one that signs, and its predecessors.
    keys: Vec<Hmac<Sha256>>,
}

const ID: usize = 16;
const PURPOSE: usize = ID;
const BODY: usize = PURPOSE + 1;
const TAG: usize = 16;

impl Challenges {
    /// Signs with the keys of access tokens.
    pub fn new(settings: &Tokens) -> Result<Self> {
        let key = |secret: &secrecy::SecretString| {
            let key = Hmac::new_from_slice(secret.expose_secret().as_bytes());
            key.map(|key: Hmac<Sha256>| key.chain_update("otp challenge ")).map_err(Error::internal)
        };
        Ok(Challenges { keys: settings.access.iter().map(key).collect::<Result<_>>()? })
    }

    /// A new challenge for a code to this phone; without a purpose it is good for each.
    pub fn issue(&self, phone: &Phone, purpose: Option<OtpPurpose>) -> Result<String> {
        let newest = self.keys.first().ok_or_else(|| Error::internal("no key signs challenges"))?;
        // Its id holds the time.
        let mut challenge = Uuid::now_v7().as_bytes().to_vec();
        challenge.push(purpose.map_or(0, number));
        let tag = newest.clone().chain_update(&challenge).chain_update(phone.as_str());
        challenge.extend_from_slice(&tag.finalize().into_bytes()[..TAG]);
        Ok(BASE64_URL_SAFE_NO_PAD.encode(challenge))
    }

    /// The challenge, if it was issued for this phone and purpose in the last ten minutes.
    pub fn verify(&self, text: &str, phone: &Phone, purpose: OtpPurpose) -> Option<Challenge> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY).filter(|(_, tag)| tag.len() == TAG)?;
        let is_ours = self.keys.iter().any(|key| {
            let computed = key.clone().chain_update(body).chain_update(phone.as_str());
            computed.verify_truncated_left(tag).is_ok()
        });
        let is_for_this = body[PURPOSE] == 0 || body[PURPOSE] == number(purpose);
        let (seconds, nanos) = Uuid::from_slice(&body[..ID]).ok()?.get_timestamp()?.to_unix();
        let issued = DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)?;
        let is_valid = (Utc::now() - issued).to_std().is_ok_and(|age| age < VALID);
        // Whatever way it is written, it is one challenge.
        (is_ours && is_for_this && is_valid)
            .then(|| Challenge(BASE64_URL_SAFE_NO_PAD.encode(&body[..ID])))
    }
}

fn number(purpose: OtpPurpose) -> u8 {
    match purpose {
        OtpPurpose::Login => 1,
        OtpPurpose::ResetPassword => 2,
    }
}

/// What Redis remembers of codes, for as long as they are valid.
#[derive(Clone)]
pub struct OtpHints {
    cache: Cache,
}

impl OtpHints {
    pub fn new(cache: Cache) -> Self {
        OtpHints { cache }
    }

    /// Remembers that a code for this phone was asked for in this network.
    pub async fn asked(&self, phone: &Phone, network: &str) {
        let command = redis::Cmd::set_ex(asked(phone, network), "1", VALID.as_secs());
        self.cache.command::<()>(&command).await;
    }

    /// Whether a code for this phone was asked for in this network; true when Redis does not
    /// answer.
    pub async fn was_asked(&self, phone: &Phone, network: &str) -> bool {
        self.cache.command(&redis::Cmd::exists(asked(phone, network))).await.unwrap_or(true)
    }

    /// Remembers Twilio's id of a verification of which a wrong code was checked.
    pub async fn guessed(&self, phone: &Phone, service: Service, verification: &str) {
        let key = guessed(phone, service);
        self.cache.command::<()>(&redis::Cmd::set_ex(key, verification, VALID.as_secs())).await;
    }

    /// The verification of which a wrong code was checked, if one is remembered.
    pub async fn was_guessed(&self, phone: &Phone, service: Service) -> Option<String> {
        self.cache.command(&redis::Cmd::get(guessed(phone, service))).await.flatten()
    }

    /// Forgets that verification, because another one takes its place.
    pub async fn forget_guessed(&self, phone: &Phone, service: Service) {
        self.cache.command::<()>(&redis::Cmd::del(guessed(phone, service))).await;
    }
}

fn asked(phone: &Phone, network: &str) -> String {
    key("asked", &format!("{} {network}", phone.as_str()))
}

fn guessed(phone: &Phone, service: Service) -> String {
    key("guessed", &format!("{} {service}", phone.as_str()))
}

/// Names neither the phone nor the network.
fn key(what: &str, whose: &str) -> String {
    let digest = Sha256::digest(whose);
    format!("otp:{what}:{}", BASE64_URL_SAFE_NO_PAD.encode(&digest[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed_with(secrets: &[&str]) -> Challenges {
        let access = secrets.iter().map(|secret| secret.repeat(32).into()).collect();
        Challenges::new(&Tokens { access, refresh: vec![] }).unwrap()
    }

    fn phone(text: &str) -> Phone {
        Phone::parse(text).unwrap()
    }

    const ASHA: &str = "+919812345678";

    #[test]
    fn a_challenge_is_good_for_its_phone_and_purpose_only() {
        let challenges = signed_with(&["a"]);
        let issue = |purpose| challenges.issue(&phone(ASHA), purpose).unwrap();
        let is_good = |text: &str, number, purpose| {
            challenges.verify(text, &phone(number), purpose).is_some()
        };
        for purpose in OtpPurpose::ALL {
            assert!(is_good(&issue(None), ASHA, purpose));
            assert!(is_good(&issue(Some(purpose)), ASHA, purpose));
            assert!(!is_good(&issue(None), "+919812345679", purpose));
        }
        assert!(!is_good(&issue(Some(OtpPurpose::Login)), ASHA, OtpPurpose::ResetPassword));
        assert!(!is_good(&issue(Some(OtpPurpose::ResetPassword)), ASHA, OtpPurpose::Login));
    }

    #[test]
    fn a_changed_or_made_up_challenge_is_none() {
        let challenges = signed_with(&["a"]);
        let good = challenges.issue(&phone(ASHA), None).unwrap();
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&good).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = BASE64_URL_SAFE_NO_PAD.encode(&changed);
            assert!(challenges.verify(&text, &phone(ASHA), OtpPurpose::Login).is_none(), "{bit}");
        }
        for text in ["", "x", "é", &good[..good.len() - 4], &format!("{good}AAAA")] {
            assert!(challenges.verify(text, &phone(ASHA), OtpPurpose::Login).is_none(), "{text}");
        }
    }

    #[test]
    fn a_challenge_ends_with_its_code() {
        let challenges = signed_with(&["a"]);
        let issued_at = |age: u64| {
            let now = u64::try_from(Utc::now().timestamp()).unwrap();
            let time = uuid::Timestamp::from_unix(uuid::NoContext, now - age, 0);
            let mut challenge = Uuid::new_v7(time).as_bytes().to_vec();
            challenge.push(0);
            let tag = challenges.keys[0].clone().chain_update(&challenge).chain_update(ASHA);
            challenge.extend_from_slice(&tag.finalize().into_bytes()[..TAG]);
            BASE64_URL_SAFE_NO_PAD.encode(challenge)
        };
        let is_good =
            |text: &str| challenges.verify(text, &phone(ASHA), OtpPurpose::Login).is_some();
        assert!(is_good(&issued_at(500)) && !is_good(&issued_at(601)));
    }

    #[test]
    fn challenges_outlive_the_replacement_of_their_key() {
        let old = signed_with(&["a"]).issue(&phone(ASHA), None).unwrap();
        let is_good = |secrets: &[&str]| {
            signed_with(secrets).verify(&old, &phone(ASHA), OtpPurpose::Login).is_some()
        };
        assert!(is_good(&["b", "a"]) && !is_good(&["b"]));
    }
}
