//! Signing what is in a ticket's QR code. What it says, and how it is checked, is in a crate of its
//! own, [`nexus_ticket_code`], which gates use without the rest of Nexus.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::Signer;
use nexus_ticket_code::{Claim, PublicKey};
use secrecy::{ExposeSecret, SecretBox, SecretString};

/// Signs texts. Its `Debug` shows the public half only.
#[derive(Debug, Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Another key than there ever was, and the 32 bytes to make it from again, in base64.
    pub fn generate() -> (Self, SecretString) {
        let seed = SecretBox::new(Box::new(rand::random()));
        let text = BASE64.encode(seed.expose_secret());
        (Self::new(&seed), text.into())
    }

    /// The key from 32 random bytes.
    pub fn new(seed: &SecretBox<[u8; 32]>) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed.expose_secret()))
    }

    /// The key that checks its texts.
    pub fn public(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    /// The text for a ticket.
    pub fn ticket(&self, claim: Claim) -> String {
        claim.signed(self.public().id(), |bytes| self.0.sign(bytes))
    }

    /// The signature of something else, in base64.
    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64.encode(self.0.sign(bytes).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use nexus_ticket_code::verify;

    use super::*;

    fn key(seed: [u8; 32]) -> SigningKey {
        SigningKey::new(&SecretBox::new(Box::new(seed)))
    }

    #[test]
    fn what_is_signed_is_what_gates_read() {
        let claim = Claim { event: 7, ticket: 41, nonce: -2 };
        let text = key([9; 32]).ticket(claim);
        assert_eq!(
            verify(&text, &[key([9; 32]).public()]),
            Ok((claim, key([9; 32]).public().id()))
        );
        assert!(verify(&text, &[key([8; 32]).public()]).is_err());
    }

    #[test]
    fn a_key_is_not_shown() {
        let shown = format!("{:?}", key([171; 32]));
        assert!(!shown.contains("171, 171") && !shown.to_lowercase().contains("abab"), "{shown}");
    }
}
