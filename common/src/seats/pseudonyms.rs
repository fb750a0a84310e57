//! Numbers that stand for users in what others hear of their locks. Within an event a user has one,
//! so that clients can show which seats belong together; in another event it is another, so that
//! nobody can follow a user from event to event. Who has no key can neither make one nor find out
//! whose it is.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

use crate::{
    config::Tokens,
    error::{Error, Result},
    types::ids::{EventId, UserId},
};

/// The way to make them. Every API process has the same key: it comes of the one that signs access
/// tokens (`JWT_SECRET`), and changes with it.
pub struct Pseudonyms(SecretBox<[u8; 32]>);

/// Rows of `users` have lower numbers, and these, too, fit into an `int`.
const FIRST: u32 = 1 << 30;

impl Pseudonyms {
    pub fn new(tokens: &Tokens) -> Result<Self> {
        let secret = tokens.access.first().ok_or_else(|| Error::internal("there is no key"))?;
        let key = mac(secret.expose_secret().as_bytes(), &[b"seat lock pseudonyms"])?;
        Ok(Pseudonyms(SecretBox::new(Box::new(key))))
    }

    /// The number of a user in an event.
    pub fn of(&self, user: UserId, event: EventId) -> UserId {
        let parts: [&[u8]; 2] = [&event.0.to_be_bytes(), &user.0.to_be_bytes()];
        // A key of 32 bytes is one of any length.
        let [a, b, c, d, ..] = mac(self.0.expose_secret(), &parts).unwrap_or_default();
        let number = FIRST | (u32::from_be_bytes([a, b, c, d]) >> 2);
        UserId(number.cast_signed())
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pseudonyms(secret: &str) -> Pseudonyms {
        let access = vec![secret.to_owned().into()];
        Pseudonyms::new(&Tokens { access, refresh: vec![] }).unwrap()
    }

    #[test]
    fn a_user_has_one_in_an_event_another_in_another_and_no_users_id() {
        let (one, other) = (pseudonyms("a secret"), pseudonyms("another secret"));
        let of = |user, event| one.of(UserId(user), EventId(event));
        assert_eq!(of(7, 1), pseudonyms("a secret").of(UserId(7), EventId(1)));
        assert_ne!(of(7, 1), other.of(UserId(7), EventId(1)));
        let all: HashSet<UserId> =
            (1..50).flat_map(|n| [of(n, 1), of(n, 2), of(7, n + 2)]).collect();
        assert_eq!(all.len(), 3 * 49);
        assert!(all.iter().all(|number| number.0 >= FIRST.cast_signed()));
    }
}
