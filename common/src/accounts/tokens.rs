//! Access and refresh tokens: HS256 JWTs `{userId, type, iat, exp, jti, sid}`
//! (docs/contract.md#transport). Those of the Node service, which have no `jti` and no `sid`, stay
//! valid.
//!
//! A token's header names the key that signed it (`kid`), so that keys can be replaced: new tokens
//! are signed with the newest one, and those of its predecessors are good until they expire.

use std::{fmt::Write, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    decode, decode_header, encode,
    errors::ErrorKind,
    signature,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::{
    config::{TokenStorage, Tokens as Settings},
    error::{Error, Result},
    types::ids::{SessionId, UserId},
};

/// How long an access token is valid.
pub const ACCESS_VALID: Duration = Duration::from_secs(30 * 60);

/// How long a refresh token is valid.
pub const REFRESH_VALID: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The token as it is stored.
pub fn stored(token: &str, storage: TokenStorage) -> String {
    match storage {
        TokenStorage::Hashed => hashed(token),
        TokenStorage::Raw => token.to_owned(),
    }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// Proves identity for half an hour.
    Access,
    /// Buys access tokens for a week.
    Refresh,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "userId")]
    user_id: UserId,
    #[serde(rename = "type")]
    token_type: TokenType,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
}

/// A token whose signature and time are valid.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    pub user: UserId,
    /// `None` for tokens that the Node service has issued, and those of operators' pages.
    pub session: Option<SessionId>,
    /// When it was issued: to the millisecond, or to the second if the Node service did.
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

pub struct Signer {
    access: Keys,
    refresh: Keys,
}

struct Keys {
    /// The name of the one that signs.
    id: String,
    sign: EncodingKey,
    /// The one that signs, and its predecessors.
    verify: Vec<(String, DecodingKey)>,
}

impl Keys {
    /// Signs with the first secret.
    fn new(secrets: &[SecretString]) -> Result<Self> {
        let newest = secrets.first().ok_or_else(|| Error::internal("no key signs tokens"))?;
        let key = |secret: &SecretString| {
            let bytes = secret.expose_secret().as_bytes();
            Ok((key_id(bytes)?, DecodingKey::from_secret(bytes).map_err(Error::internal)?))
        };
        Ok(Keys {
            id: key_id(newest.expose_secret().as_bytes())?,
            sign: EncodingKey::from_secret(newest.expose_secret().as_bytes())
                .map_err(Error::internal)?,
            verify: secrets.iter().map(key).collect::<Result<_>>()?,
        })
    }

    /// The keys that may have signed a token: the one that it names, or all, if it names none as
    /// tokens of the Node service.
    fn candidates(&self, token: &str) -> impl Iterator<Item = &DecodingKey> {
        let named = decode_header(token).ok().and_then(|header| header.kid);
        self.verify
            .iter()
            .filter(move |(id, _)| named.as_ref().is_none_or(|named| named == id))
            .map(|(_, key)| key)
    }
}

/// A key's name, which tells nothing of it.
fn key_id(secret: &[u8]) -> Result<String> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(Error::internal)?;
    let digest = mac.chain_update("kid").finalize().into_bytes();
    Ok(BASE64_URL_SAFE_NO_PAD.encode(&digest[..6]))
}

impl Signer {
    pub fn new(settings: &Settings) -> Result<Self> {
        // The provider stays installed when there are several signers.
        let _ = PROVIDER.install_default();
        Ok(Signer { access: Keys::new(&settings.access)?, refresh: Keys::new(&settings.refresh)? })
    }

    /// A new access token for `user`.
    pub fn access(&self, user: UserId, session: Option<SessionId>) -> Result<String> {
        sign(&self.access, user, session, TokenType::Access)
    }

    /// A new refresh token for `user`.
    pub fn refresh(&self, user: UserId, session: SessionId) -> Result<String> {
        sign(&self.refresh, user, Some(session), TokenType::Refresh)
    }

    /// The refresh token that replaces `old` in a session: always the same one for the same time
    /// and end, so that who asks twice at once gets it twice.
    pub fn successor(
        &self,
        user: UserId,
        session: SessionId,
        old: &str,
        at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
    ) -> Result<String> {
        let digest = Sha256::new().chain_update("successor ").chain_update(old).finalize();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        let millis = u64::try_from(at.timestamp_millis()).map_err(Error::internal)?;
        let claims = Claims {
            user_id: user,
            token_type: TokenType::Refresh,
            iat: at.timestamp(),
            exp: ends_at.timestamp(),
            jti: Some(Builder::from_unix_timestamp_millis(millis, &random).into_uuid()),
            sid: Some(session),
        };
        encoded(&self.refresh, &claims)
    }

    pub fn verify_access(&self, token: &str) -> Result<Verified> {
        verify(&self.access, token, TokenType::Access, Error::TokenInvalid)
    }

    pub fn verify_refresh(&self, token: &str) -> Result<Verified> {
        verify(&self.refresh, token, TokenType::Refresh, Error::RefreshInvalid)
    }
}

/// The cryptography of jsonwebtoken. The library's own providers include RSA and elliptic curves;
/// our tokens need only HMAC and SHA-256.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        Ok(Box::new(Hs256::new(*algorithm, key.family(), key.as_bytes())?))
    },
    verifier_factory: |algorithm, key| {
        Ok(Box::new(Hs256::new(*algorithm, key.family(), key.try_get_as_bytes()?)?))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(
        algorithm: Algorithm,
        family: AlgorithmFamily,
        secret: &[u8],
    ) -> jsonwebtoken::errors::Result<Self> {
        if algorithm != Algorithm::HS256 || family != AlgorithmFamily::Hmac {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        let hmac = Hmac::new_from_slice(secret).map_err(|_| ErrorKind::InvalidKeyFormat)?;
        Ok(Hs256(hmac))
    }
}

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let computed = self.0.clone().chain_update(message);
        computed.verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// The stored form of a hashed token; `retention` makes the same in SQL. A token is too random to
/// be guessed, so a fast hash is enough. No token begins with the prefix. Text that already has it
/// stays as it is.
pub fn hashed(token: &str) -> String {
    if token.starts_with(HASHED) {
        return token.to_owned();
    }
    let mut hashed = HASHED.to_owned();
    for byte in Sha256::digest(token) {
        let _ = write!(hashed, "{byte:02x}");
    }
    hashed
}

const HASHED: &str = "sha256:";

/// A token in both forms in which it may be stored, for looking it up.
pub fn either_way(token: &str) -> [String; 2] {
    [token.to_owned(), hashed(token)]
}

/// The token in forms that were rendered for the browser with this access token in a cookie: other
/// sites can make the browser send the cookie, but cannot know this.
pub fn form_token(access_token: &str) -> String {
    let digest = Sha256::new().chain_update("form ").chain_update(access_token).finalize();
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

fn sign(
    keys: &Keys,
    user_id: UserId,
    sid: Option<SessionId>,
    token_type: TokenType,
) -> Result<String> {
    let iat = Utc::now().timestamp();
    let valid = match token_type {
        TokenType::Access => ACCESS_VALID,
        TokenType::Refresh => REFRESH_VALID,
    };
    let claims = Claims {
        user_id,
        token_type,
        iat,
        exp: iat + valid.as_secs() as i64,
        jti: Some(Uuid::now_v7()),
        sid,
    };
    encoded(keys, &claims)
}

fn encoded(keys: &Keys, claims: &Claims) -> Result<String> {
    let header = Header { kid: Some(keys.id.clone()), ..Header::new(Algorithm::HS256) };
    encode(&header, claims, &keys.sign).map_err(Error::internal)
}

fn verify(keys: &Keys, token: &str, expected: TokenType, invalid: Error) -> Result<Verified> {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.leeway = 0;
    let decoded = keys.candidates(token).find_map(|key| decode::<Claims>(token, key, &rules).ok());
    let Some(claims) = decoded.map(|data| data.claims) else { return Err(invalid) };
    // The library compares whole seconds, and so accepts it for up to one more.
    let expires_at = DateTime::from_timestamp(claims.exp, 0).filter(|end| Utc::now() < *end);
    let Some(expires_at) = expires_at else { return Err(invalid) };
    let Some(issued_at) = issued_at(&claims) else { return Err(invalid) };
    if claims.token_type != expected {
        return Err(Error::TokenType);
    }
    Ok(Verified { user: claims.user_id, session: claims.sid, issued_at, expires_at })
}

/// A second is too coarse to tell the last token before a password reset from the first after it;
/// our `jti` holds milliseconds.
fn issued_at(claims: &Claims) -> Option<DateTime<Utc>> {
    match claims.jti.and_then(|jti| jti.get_timestamp()) {
        Some(time) => {
            let (seconds, nanos) = time.to_unix();
            DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
        }
        None => DateTime::from_timestamp(claims.iat, 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer() -> Signer {
        signed_with(&["a"])
    }

    /// Whose access tokens are signed with the first of these.
    fn signed_with(secrets: &[&str]) -> Signer {
        let access = secrets.iter().map(|secret| secret.repeat(32).into()).collect();
        Signer::new(&Settings { access, refresh: vec!["z".repeat(32).into()] }).unwrap()
    }

    const SESSION: SessionId = SessionId(Uuid::nil());

    #[test]
    fn two_tokens_of_one_second_differ() {
        let signer = signer();
        let access = || signer.access(UserId(1), Some(SESSION)).unwrap();
        assert_ne!(access(), access());
    }

    #[test]
    fn a_refresh_token_has_one_successor_at_a_time() {
        let signer = signer();
        let at = DateTime::from_timestamp_millis(Utc::now().timestamp_millis()).unwrap();
        let next =
            |old, at| signer.successor(UserId(7), SESSION, old, at, at + REFRESH_VALID).unwrap();
        assert_eq!(next("a", at), next("a", at));
        assert_ne!(next("a", at), next("b", at));
        assert_ne!(next("a", at), next("a", at + Duration::from_millis(1)));
        let verified = signer.verify_refresh(&next("a", at)).unwrap();
        assert_eq!((verified.session, verified.issued_at), (Some(SESSION), at));
    }

    #[test]
    fn a_token_is_what_it_was_made_for() {
        let signer = signer();
        let (access, refresh) =
            (signer.access(UserId(7), None).unwrap(), signer.refresh(UserId(7), SESSION).unwrap());
        assert_eq!(signer.verify_access(&access).unwrap().user, UserId(7));
        assert_eq!(signer.verify_refresh(&refresh).unwrap().session, Some(SESSION));
        assert!(matches!(signer.verify_access(&refresh), Err(Error::TokenInvalid)));
        assert!(matches!(signer.verify_refresh(&access), Err(Error::RefreshInvalid)));
        let disguised = sign(&signer.access, UserId(7), None, TokenType::Refresh).unwrap();
        assert!(matches!(signer.verify_access(&disguised), Err(Error::TokenType)));
    }

    #[test]
    fn keys_overlap_while_one_replaces_another() {
        let token = |signer: &Signer| signer.access(UserId(7), None).unwrap();
        let is_good = |signer: &Signer, token: &str| signer.verify_access(token).is_ok();
        let (old, both, new) = (signed_with(&["a"]), signed_with(&["b", "a"]), signed_with(&["b"]));
        assert!(is_good(&both, &token(&old)) && is_good(&both, &token(&both)));
        assert!(is_good(&new, &token(&both)) && !is_good(&new, &token(&old)));
        assert!(!is_good(&old, &token(&both)));
        // The Node service names no key.
        let unnamed = |secret: &str| {
            let now = Utc::now().timestamp();
            let claims =
                serde_json::json!({"userId": 7, "type": "access", "iat": now, "exp": now + 60});
            let key = EncodingKey::from_secret(secret.repeat(32).as_bytes()).unwrap();
            encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
        };
        assert!(is_good(&both, &unnamed("a")) && is_good(&both, &unnamed("b")));
        assert!(!is_good(&new, &unnamed("a")));
    }

    #[test]
    fn a_token_ends_with_the_second_that_it_names() {
        let signer = signer();
        let now = Utc::now().timestamp();
        let claims =
            |exp| serde_json::json!({"userId": 7, "type": "access", "iat": now - 60, "exp": exp});
        let token = |exp| {
            encode(&Header::new(Algorithm::HS256), &claims(exp), &signer.access.sign).unwrap()
        };
        assert!(signer.verify_access(&token(now)).is_err());
        assert!(signer.verify_access(&token(now + 60)).is_ok());
    }

    proptest! {
        #[test]
        fn garbage_is_no_token(text in ".*") {
            prop_assert!(signer().verify_access(&text).is_err());
        }
    }
}
