//! Ticket codes: signed, stored as a signature, and drawn when somebody wants to see them. What a
//! code says, and how it is checked, is in a crate of its own, [`nexus_ticket_code`], which gates use
//! without the rest of Nexus.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, Signer};
use nexus_ticket_code::{Claim, KeyId, PublicKey};
use nexus_ticket_files::qr;
use secrecy::{ExposeSecret, SecretBox, SecretString};

use crate::{
    error::{Error, Result},
    types::ids::{EventId, TicketId},
};

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

    /// The signature of something else, in base64.
    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64.encode(self.0.sign(bytes).to_bytes())
    }
}

/// The code of a ticket.
#[derive(Clone, Debug)]
pub struct Code {
    claim: Claim,
    key: KeyId,
    signature: Signature,
}

/// What `tickets` holds of a code; all or nothing.
#[derive(Clone, Debug)]
pub struct Stored {
    pub event: EventId,
    pub ticket: TicketId,
    pub nonce: Option<i64>,
    pub key: Option<String>,
    pub signature: Option<Vec<u8>>,
}

impl Code {
    /// A code of this ticket that there has not been.
    pub fn new(key: &SigningKey, event: EventId, ticket: TicketId) -> Self {
        // The nonce makes its text differ from earlier texts of the same ticket.
        Self::sign(key, Claim { event: event.0, ticket: ticket.0, nonce: rand::random() })
    }

    /// The code of this ticket with this nonce, which the key has signed before.
    pub fn again(key: &SigningKey, event: EventId, ticket: TicketId, nonce: i64) -> Self {
        Self::sign(key, Claim { event: event.0, ticket: ticket.0, nonce })
    }

    /// What the key says to this claim.
    pub fn sign(key: &SigningKey, claim: Claim) -> Self {
        let id = key.public().id();
        Code { claim, key: id, signature: claim.signature(id, |bytes| key.0.sign(bytes)) }
    }

    /// The code that is stored; `None` for tickets from before codes were.
    pub fn stored(stored: Stored) -> Option<Self> {
        let Stored { event, ticket, nonce, key, signature } = stored;
        let claim = Claim { event: event.0, ticket: ticket.0, nonce: nonce? };
        let signature = Signature::from_slice(&signature?).ok()?;
        Some(Code { claim, key: key?.parse().ok()?, signature })
    }

    /// `tickets.qr_nonce`
    pub fn nonce(&self) -> i64 {
        self.claim.nonce
    }

    /// `tickets.qr_signature`
    pub fn signature(&self) -> Vec<u8> {
        self.signature.to_bytes().to_vec()
    }

    /// What scanners read.
    pub fn text(&self) -> String {
        self.claim.signed(self.key, self.signature)
    }

    /// Its picture, a data URL. Occupies a core for a third of a millisecond.
    pub fn picture(&self) -> Result<String> {
        let png = qr::png(&self.text()).map_err(Error::internal)?;
        Ok(format!("data:image/png;base64,{}", BASE64.encode(png)))
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
        let code = Code::sign(&key([9; 32]), claim);
        let text = code.text();
        assert_eq!(
            verify(&text, &[key([9; 32]).public()]),
            Ok((claim, key([9; 32]).public().id()))
        );
        assert!(verify(&text, &[key([8; 32]).public()]).is_err());
        let (event, ticket) = (EventId(claim.event), TicketId(claim.ticket));
        let (nonce, signature) = (Some(code.nonce()), Some(code.signature()));
        let key = Some(key([9; 32]).public().id().to_string());
        let stored = Code::stored(Stored { event, ticket, nonce, key, signature });
        assert_eq!(stored.map(|code| code.text()), Some(text));
    }

    #[test]
    fn a_key_is_not_shown() {
        let shown = format!("{:?}", key([171; 32]));
        assert!(!shown.contains("171, 171") && !shown.to_lowercase().contains("abab"), "{shown}");
    }
}
