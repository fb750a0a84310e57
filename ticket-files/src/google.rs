//! Links for Google Wallet. A link is a signed JWT that describes an event and a ticket. Google
//! makes both of it when somebody follows the link, so that nothing needs to be sent there before.

use std::fmt;

use chrono::{DateTime, Utc};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::rsa::{self, Key};
use crate::{Event, Ticket, local, plain};

const SAVE: &str = "https://pay.google.com/gp/v/save/";

/// Why there is no link. Nothing of the key is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the issuer's id is not a number")]
    Issuer,
    #[error("the key file of the service account is not JSON with client_email and private_key")]
    Account,
    #[error(transparent)]
    Key(#[from] rsa::Error),
}

/// Who issues passes of Google Wallet.
pub struct Issuer {
    id: String,
    email: String,
    key: Key,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer {{ {}, {} }}", self.id, self.email)
    }
}

impl Issuer {
    /// `id` is the issuer's in the Google Pay & Wallet Console, `account` the key file of a service
    /// account that may act for it.
    pub fn new(id: &str, account: &SecretString) -> Result<Self, Error> {
        if id.is_empty() || !id.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Error::Issuer);
        }
        // What serde says of a wrong file might quote it.
        let account: Value =
            serde_json::from_str(account.expose_secret()).map_err(|_| Error::Account)?;
        let text = |name: &str| account[name].as_str().ok_or(Error::Account);
        let key = Key::from_pem(&text("private_key")?.into())?;
        Ok(Self { id: id.to_owned(), email: text("client_email")?.to_owned(), key })
    }

    /// The link that puts a ticket into its buyer's wallet.
    ///
    /// Google calls a JWT of up to 1800 characters safe in every browser. Browsers of today take
    /// several times as many, which long texts, and those that are not in Latin letters, need.
    /// So a link is for one ticket, and has nothing twice: the booking's reference is part of the
    /// ticket's number, and Google puts a ticket away by itself when its event is over.
    pub fn link(
        &self,
        event: &Event,
        ticket: &Ticket,
        now: DateTime<Utc>,
    ) -> Result<String, Error> {
        let venue = event.venue.as_ref().unwrap_or(&event.location);
        let class = json!({
            "issuerName": event.organizer.as_ref().unwrap_or(&event.name),
            "reviewStatus": "UNDER_REVIEW",
            "eventName": text(&event.name),
            // Google takes no venue without both.
            "venue": { "name": text(venue), "address": text(&event.location) },
            "dateTime": { "start": local(event.starts), "end": local(event.ends) },
        });
        let class = self.identified(&format!("event-{}", event.id), class);
        let mut object = json!({
            "classId": class["id"],
            "state": "ACTIVE",
            "barcode": {
                "type": "QR_CODE",
                "value": ticket.code,
                "alternateText": ticket.number,
            },
            "seatInfo": { "seat": text(&format!("{} ({})", ticket.seat, ticket.seat_type)) },
        });
        if let Some(holder) = &ticket.holder {
            object["ticketHolderName"] = holder.as_str().into();
        }
        let object = self.identified(&plain(&ticket.number), object);
        self.signed(&json!({
            "iss": self.email,
            "aud": "google",
            "typ": "savetowallet",
            "iat": now.timestamp(),
            "origins": [],
            "payload": { "eventTicketClasses": [class], "eventTicketObjects": [object] },
        }))
    }

    /// Google keeps what it has once seen under an id. Events are put off, and a reissued ticket
    /// has another code: what has changed needs another id.
    fn identified(&self, name: &str, mut value: Value) -> Value {
        let hash = digest(&SHA256, value.to_string().as_bytes());
        let version = HEXLOWER.encode(&hash.as_ref()[..4]);
        value["id"] = format!("{}.{name}-{version}", self.id).into();
        value
    }

    /// A JWT with RS256, as a link.
    fn signed(&self, claims: &Value) -> Result<String, Error> {
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"RS256","typ":"JWT"}"#);
        let claims = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
        let message = format!("{header}.{claims}");
        let signature = BASE64URL_NOPAD.encode(&self.key.sign(message.as_bytes())?);
        Ok(format!("{SAVE}{message}.{signature}"))
    }
}

/// A text that is the same in every language.
fn text(value: &str) -> Value {
    json!({ "defaultValue": { "language": "en", "value": value } })
}
