//! What the mail server received, parsed for people and tests.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mail_parser::{MessageParser, MimeHeaders};
use serde::Serialize;

use crate::random;

/// Tickets come with images, so mail is large: keep fewer than of anything else.
pub(crate) const LIMIT: usize = 1_000;

/// A mail whose delivery was acknowledged.
#[derive(Debug, Clone, Serialize)]
pub struct Mail {
    /// The stand-in's own id, also in its answer to the client.
    pub id: String,
    /// Envelope sender.
    pub from: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// Decoded subject.
    pub subject: String,
    /// `Message-ID`, without the angle brackets.
    pub message_id: Option<String>,
    /// `Date`, in RFC 3339.
    pub date: Option<String>,
    /// The text body; an HTML one is turned into text.
    pub text: String,
    /// The HTML body; a text one is turned into HTML.
    pub html: String,
    /// Attached and inline files.
    pub attachments: Vec<Attachment>,
    /// The message as it came over the wire, without the dots that SMTP adds.
    pub raw: String,
}

/// One attached file.
#[derive(Debug, Clone, Serialize)]
pub struct Attachment {
    /// Its name, empty if it has none.
    pub filename: String,
    /// `image/png`, …
    pub content_type: String,
    /// Bytes.
    pub size: usize,
    pub content_base64: String,
}

impl Attachment {
    /// The decoded content.
    pub fn content(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.content_base64).unwrap_or_default()
    }
}

impl Mail {
    pub(crate) fn parse(from: String, to: Vec<String>, raw: &[u8]) -> Self {
        let message = MessageParser::default().parse(raw).unwrap_or_default();
        Self {
            id: random::hex(16),
            from,
            to,
            subject: message.subject().unwrap_or_default().to_owned(),
            message_id: message.message_id().map(str::to_owned),
            date: message.date().map(mail_parser::DateTime::to_rfc3339),
            text: message.body_text(0).unwrap_or_default().into_owned(),
            html: message.body_html(0).unwrap_or_default().into_owned(),
            attachments: message.attachments().map(attachment).collect(),
            raw: String::from_utf8_lossy(raw).into_owned(),
        }
    }
}

fn attachment(part: &mail_parser::MessagePart<'_>) -> Attachment {
    let content_type = part.content_type().map_or_else(
        || "application/octet-stream".to_owned(),
        |found| format!("{}/{}", found.ctype(), found.subtype().unwrap_or("octet-stream")),
    );
    Attachment {
        filename: part.attachment_name().unwrap_or_default().to_owned(),
        content_type,
        size: part.contents().len(),
        content_base64: BASE64_STANDARD.encode(part.contents()),
    }
}
