//! The text in a ticket's QR code: only the owner of `TICKET_SIGNING_KEY` can make it, and anyone
//! with the public key can check it without asking a server. Nothing here uses a database, a clock
//! or the operating system, so that it can be built for WebAssembly (docs/tickets.md has the format
//! for other programs). Signing is not done here.
//!
//! The text is `NX1-` and, in base32 without padding, 84 bytes: key id (4), event (4), ticket (4),
//! nonce (8), signature (64). Letters and digits of one case are what QR codes hold best: 139
//! characters fit into 53 modules with error correction H.

use std::{fmt, str::FromStr};

use data_encoding::{BASE32_NOPAD, BASE64};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

/// Says that this is a ticket, and in which form. It is signed with the rest, so that a text cannot
/// be turned into another form.
const FORM: &str = "NX1-";
/// Key id, event, ticket and nonce.
const CLAIM: usize = 4 + 4 + 4 + 8;

/// What a text claims; the signature covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The event that the ticket is for: `events.id`.
    pub event: i32,
    /// `tickets.id`
    pub ticket: i32,
    /// `tickets.qr_nonce`: a reissued ticket has another, so its older texts are no longer valid.
    pub nonce: i64,
}

impl Claim {
    /// What `sign`, with the key whose id is `key`, says to it.
    pub fn signature(self, key: KeyId, sign: impl FnOnce(&[u8]) -> Signature) -> Signature {
        sign(&covered(&self.bytes(key)))
    }

    /// The text, with this signature by the key whose id is `key`.
    pub fn signed(self, key: KeyId, signature: Signature) -> String {
        let mut bytes = self.bytes(key);
        bytes.extend(signature.to_bytes());
        format!("{FORM}{}", BASE32_NOPAD.encode(&bytes))
    }

    fn bytes(self, key: KeyId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CLAIM + Signature::BYTE_SIZE);
        bytes.extend(key.0);
        bytes.extend(self.event.to_be_bytes());
        bytes.extend(self.ticket.to_be_bytes());
        bytes.extend(self.nonce.to_be_bytes());
        bytes
    }
}

/// Which key has signed: the first bytes of the SHA-256 of its public half, so that operators need
/// not number keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The text is not that of a key's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's id is eight hexadecimal digits")]
pub struct NoKeyId;

impl FromStr for KeyId {
    type Err = NoKeyId;

    fn from_str(text: &str) -> Result<Self, NoKeyId> {
        let is_one = text.len() == 8 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let id = is_one.then(|| u32::from_str_radix(text, 16).ok()).flatten();
        id.map(|id| KeyId(id.to_be_bytes())).ok_or(NoKeyId)
    }
}

/// Checks texts. Shown in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of these 32 bytes; `None` if no key is like that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes.try_into().ok()?).ok().map(PublicKey)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Reads what [`Display`](fmt::Display) shows.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(&BASE64.decode(text.as_bytes()).ok()?)
    }

    /// The id that its texts use for it.
    pub fn id(&self) -> KeyId {
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        KeyId([a, b, c, d])
    }

    /// Whether this key has signed exactly these bytes.
    pub fn has_signed(&self, bytes: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(bytes, signature).is_ok()
    }
}

impl From<VerifyingKey> for PublicKey {
    fn from(key: VerifyingKey) -> Self {
        PublicKey(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0.as_bytes()))
    }
}

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not in the form of a ticket.
    #[error("this is not the text of a ticket")]
    Unreadable,
    /// The signature is missing, or made with a key that is not among those given.
    #[error("no known key has signed this ticket ({0})")]
    UnknownKey(KeyId),
    /// The text was changed, or made without the key.
    #[error("this ticket is forged")]
    Forged,
}

/// What a text claims, if one of `keys` has signed it, and which one: the current key, or an earlier
/// one whose tickets are still good. The caller must check that the ticket still has this nonce and
/// has not been used.
pub fn verify(text: &str, keys: &[PublicKey]) -> Result<(Claim, KeyId), Refusal> {
    let encoded = text.strip_prefix(FORM).ok_or(Refusal::Unreadable)?;
    let bytes = BASE32_NOPAD.decode(encoded.as_bytes()).map_err(|_| Refusal::Unreadable)?;
    let (claim, signature) = bytes.split_first_chunk::<CLAIM>().ok_or(Refusal::Unreadable)?;
    let signature = Signature::from_slice(signature).map_err(|_| Refusal::Unreadable)?;
    let [k0, k1, k2, k3, e0, e1, e2, e3, t0, t1, t2, t3, nonce @ ..] = *claim;
    let id = KeyId([k0, k1, k2, k3]);
    let key = keys.iter().find(|key| key.id() == id).ok_or(Refusal::UnknownKey(id))?;
    if !key.has_signed(&covered(claim), &signature) {
        return Err(Refusal::Forged);
    }
    let claim = Claim {
        event: i32::from_be_bytes([e0, e1, e2, e3]),
        ticket: i32::from_be_bytes([t0, t1, t2, t3]),
        nonce: i64::from_be_bytes(nonce),
    };
    Ok((claim, id))
}

/// The bytes that the signature covers.
fn covered(claim: &[u8]) -> Vec<u8> {
    [FORM.as_bytes(), claim].concat()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    use super::*;

    fn key(seed: [u8; 32]) -> SigningKey {
        SigningKey::from_bytes(&seed)
    }

    fn public(seed: [u8; 32]) -> PublicKey {
        key(seed).verifying_key().into()
    }

    fn text(seed: [u8; 32], claim: Claim) -> String {
        let id = public(seed).id();
        claim.signed(id, claim.signature(id, |bytes| key(seed).sign(bytes)))
    }

    fn claims() -> impl Strategy<Value = Claim> {
        (any::<i32>(), any::<i32>(), any::<i64>()).prop_map(|(event, ticket, nonce)| Claim {
            event,
            ticket,
            nonce,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..Default::default() })]

        #[test]
        fn what_is_signed_is_read_back_also_with_a_retired_key(seed: [u8; 32], next: [u8; 32], claim in claims()) {
            let text = text(seed, claim);
            prop_assert_eq!(verify(&text, &[public(next), public(seed)]), Ok((claim, public(seed).id())));
            let unknown = verify(&text, &[public(next)]);
            prop_assert_eq!(unknown, Err(Refusal::UnknownKey(public(seed).id())));
        }

        #[test]
        fn any_other_character_anywhere_is_refused(seed: [u8; 32], claim in claims(), other in any::<u8>()) {
            let text = text(seed, claim);
            for place in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                // Mostly another character of the alphabet, now and then any other byte.
                let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
                changed[place] = if place % 8 == 0 { other } else { alphabet[usize::from(other) % 32] };
                let changed = String::from_utf8_lossy(&changed).into_owned();
                prop_assert!(changed == text || verify(&changed, &[public(seed)]).is_err(), "{}", changed);
            }
        }

        #[test]
        fn any_changed_byte_is_refused(seed: [u8; 32], claim in claims(), flip in 1..=u8::MAX) {
            let text = text(seed, claim);
            let bytes = BASE32_NOPAD.decode(&text.as_bytes()[FORM.len()..]).unwrap();
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= flip;
                let changed = format!("{FORM}{}", BASE32_NOPAD.encode(&changed));
                prop_assert!(verify(&changed, &[public(seed)]).is_err());
            }
        }

        #[test]
        fn anything_else_is_no_ticket(text in ".{0,200}", seed: [u8; 32]) {
            prop_assert!(verify(&text, &[public(seed)]).is_err());
            let almost = format!("{FORM}{text}");
            prop_assert!(verify(&almost, &[public(seed)]).is_err());
        }
    }

    const PRINTED: &str = "NX1-3PBJQJIAAAAAOAAAAAU7777777777776QBLV4LO5AWY4UJW2LBGA56JKVG43XGLQ47BZOIARG743LSNXPN2VTO2ES26T2MUN6ERIAC24LOQZPSG7NRH42YQZXRFICO55YQF6UAI";

    #[test]
    fn a_text_is_short_and_never_changes_its_form() {
        let text = text([9; 32], Claim { event: 7, ticket: 41, nonce: -2 });
        assert_eq!(text.len(), 139);
        // Made once, and fixed: programs at the door read what was printed long ago.
        assert_eq!(text, PRINTED);
        for shorter in 0..text.len() {
            assert_eq!(verify(&text[..shorter], &[public([9; 32])]), Err(Refusal::Unreadable));
        }
        assert!(verify(&text.to_lowercase(), &[public([9; 32])]).is_err());
        assert!(verify(&format!("{text}A"), &[public([9; 32])]).is_err());
    }

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        let key = public([171; 32]);
        assert_eq!(key.to_string().len(), 44);
        assert_eq!(PublicKey::parse(&key.to_string()), Some(key));
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        for no_id in ["", "1", "+abcdef0", "0123456g"] {
            assert_eq!(no_id.parse::<KeyId>(), Err(NoKeyId));
        }
        for no_key in ["", "AAAA", "no base64"] {
            assert_eq!(PublicKey::parse(no_key), None);
        }
    }
}
