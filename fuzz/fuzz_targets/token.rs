//! Tokens: only text that our key signed, for this purpose, and that is still valid is accepted.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a property that does not hold is found by panicking"
)]

use arbitrary::Arbitrary;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use nexus_common::{
    accounts::tokens::{Signer, Verified},
    config::Tokens,
    types::ids::{SessionId, UserId},
};
use serde_json::{Map, Value, json};
use sha2::{Sha256, Sha384, Sha512};

const ACCESS: &str = "the secret of the access tokens, long enough";
const REFRESH: &str = "the secret of the refresh tokens, long enough";

#[derive(Arbitrary, Debug)]
enum Attempt<'a> {
    Text(&'a str),
    Made { key: Key, algorithm: Algorithm, header: Header<'a>, claims: Claims<'a> },
    Changed { user: i32, refresh: bool, at: usize, by: u8 },
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq)]
enum Key {
    Access,
    Refresh,
    Empty,
    Known,
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq)]
enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    None,
}

#[derive(Arbitrary, Debug, PartialEq)]
enum Header<'a> {
    Honest,
    Algorithm(&'a str),
    None,
    Rs256,
    Json(&'a str),
}

#[derive(Arbitrary, Debug)]
struct Claims<'a> {
    user: Field<'a>,
    purpose: Field<'a>,
    issued: Field<'a>,
    expires: Field<'a>,
    id: Field<'a>,
}

/// A claim, as it ought to be or anything else.
#[derive(Arbitrary, Debug)]
enum Field<'a> {
    Right,
    Missing,
    Number(i64),
    Fraction(f64),
    Text(&'a str),
    Json(&'a str),
}

fuzz_target!(|attempt: Attempt| {
    let tokens = Tokens { access: vec![ACCESS.into()], refresh: vec![REFRESH.into()] };
    let signer = Signer::new(&tokens).expect("a signer");
    match attempt {
        Attempt::Text(text) => {
            assert!(signer.verify_access(text).is_err());
            assert!(signer.verify_refresh(text).is_err());
        }
        Attempt::Changed { user, refresh, at, by } => {
            changed(&signer, UserId(user), refresh, at, by)
        }
        Attempt::Made { key, algorithm, header, claims } => {
            let claims = claims.json();
            let token = make(key, algorithm, &header, &claims);
            let honest = header.is_hs256() && algorithm == Algorithm::Hs256;
            let access = signer.verify_access(&token).ok();
            let refresh = signer.verify_refresh(&token).ok();
            assert!(
                access.is_none() || (honest && key == Key::Access),
                "{token} was not signed with our key"
            );
            assert!(
                refresh.is_none() || (honest && key == Key::Refresh),
                "{token} was not signed with our key"
            );
            for (verified, purpose) in [(access, "access"), (refresh, "refresh")] {
                if let Some(verified) = verified {
                    says_so(&verified, &claims, purpose);
                }
            }
        }
    }
});

/// A verified token says what its claims say.
fn says_so(verified: &Verified, claims: &Value, purpose: &str) {
    assert_eq!(claims["type"], purpose);
    assert_eq!(claims["userId"], verified.user.0);
    assert_eq!(claims["exp"].as_f64(), Some(verified.expires_at.timestamp() as f64));
    assert!(verified.expires_at.timestamp() >= now() - 5, "an expired token was accepted");
}

/// Our own tokens are accepted for their purpose, and refused with a single character changed.
fn changed(signer: &Signer, user: UserId, refresh: bool, at: usize, by: u8) {
    let session: SessionId =
        serde_json::from_value(json!("01a229e3-6cd6-738a-8eb8-6584ea9fc3d8")).unwrap();
    let token =
        if refresh { signer.refresh(user, session) } else { signer.access(user, Some(session)) };
    let token = token.unwrap();
    let (access, refreshed) = (signer.verify_access(&token), signer.verify_refresh(&token));
    assert_eq!(access.is_ok(), !refresh);
    assert_eq!(refreshed.is_ok(), refresh);
    assert_eq!(access.or(refreshed).unwrap().user, user);

    let mut forged = token.clone().into_bytes();
    let at = at % forged.len();
    forged[at] ^= by;
    if let Ok(forged) = String::from_utf8(forged)
        && forged != token
    {
        assert!(signer.verify_access(&forged).is_err(), "{forged} is not {token}");
        assert!(signer.verify_refresh(&forged).is_err(), "{forged} is not {token}");
    }
}

fn make(key: Key, algorithm: Algorithm, header: &Header, claims: &Value) -> String {
    let signed = format!(
        "{}.{}",
        BASE64.encode(header.json().to_string()),
        BASE64.encode(claims.to_string())
    );
    let key = match key {
        Key::Access => ACCESS,
        Key::Refresh => REFRESH,
        Key::Empty => "",
        Key::Known => "your-secret-key",
    };
    let signature = match algorithm {
        Algorithm::Hs256 => tag::<Hmac<Sha256>>(key, &signed),
        Algorithm::Hs384 => tag::<Hmac<Sha384>>(key, &signed),
        Algorithm::Hs512 => tag::<Hmac<Sha512>>(key, &signed),
        Algorithm::None => vec![],
    };
    format!("{signed}.{}", BASE64.encode(signature))
}

fn tag<M: Mac + KeyInit>(key: &str, text: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

impl Header<'_> {
    fn json(&self) -> Value {
        match self {
            Header::Honest => json!({ "alg": "HS256", "typ": "JWT" }),
            Header::Algorithm(name) => json!({ "alg": name }),
            Header::None => json!({ "alg": "none" }),
            Header::Rs256 => json!({ "alg": "RS256", "typ": "JWT" }),
            Header::Json(text) => any_json(text),
        }
    }

    fn is_hs256(&self) -> bool {
        self.json()["alg"] == "HS256"
    }
}

impl Claims<'_> {
    fn json(&self) -> Value {
        let fields = [
            ("userId", &self.user, json!(7)),
            ("type", &self.purpose, json!("access")),
            ("iat", &self.issued, json!(now())),
            ("exp", &self.expires, json!(now() + 600)),
            ("jti", &self.id, json!("01a20000-0000-7000-8000-000000000000")),
        ];
        let given = fields.into_iter().filter_map(|(name, field, right)| {
            let value = match field {
                Field::Right => right,
                Field::Missing => return None,
                Field::Number(number) => json!(number),
                Field::Fraction(number) => json!(number),
                Field::Text(text) => json!(text),
                Field::Json(text) => any_json(text),
            };
            Some((name.to_owned(), value))
        });
        Value::Object(given.collect::<Map<_, _>>())
    }
}

fn any_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64
}
