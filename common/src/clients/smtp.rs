//! E-mail over SMTP.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Attachment, Mailbox, MultiPart, SinglePart, header::ContentType},
};
use secrecy::ExposeSecret;

use super::{CallError, Key, chain};
use crate::{config::Smtp as Settings, error::Error};

const PROVIDER: &str = "SMTP";

/// Replies that are about our password rather than the mail: required, too weak, wrong, only over TLS (RFC 4954).
const KEY_REFUSED: [u16; 4] = [530, 534, 535, 538];

/// The client. Cheap to clone; keeps a few connections.
#[derive(Clone)]
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    key: Key,
}

/// One e-mail.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Email {
    pub to: String,
    pub to_name: Option<String>,
    pub subject: String,
    pub text: String,
    /// The part of the Message-ID before the `@`: the same for every copy of the same mail.
    pub message_id: String,
    /// File name and PNG.
    pub images: Vec<(String, Vec<u8>)>,
}

impl Smtp {
    /// A client for the server in `settings`; connects when first used.
    pub fn new(settings: &Settings) -> crate::Result<Self> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(settings.url.expose_secret())
            .map_err(Error::internal)?
            .timeout(Some(Duration::from_secs(10)))
            .build();
        let from = settings.from.parse().map_err(Error::internal)?;
        Ok(Smtp { transport, from, key: Key::new(PROVIDER, "SMTP_URL") })
    }

    /// Our user and password there.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Hands an e-mail to the server. When this returns, the server has it.
    pub async fn send(&self, email: Email) -> Result<(), CallError> {
        let message = self.compose(email).map_err(|reason| CallError::Refused {
            provider: PROVIDER,
            status: 0,
            code: None,
            message: reason,
        })?;
        self.key.permit()?;
        match self.transport.send(message).await {
            Ok(_) => {
                self.key.accepted();
                Ok(())
            }
            Err(error) if error.is_permanent() => {
                let status = error.status().map_or(0, u16::from);
                if KEY_REFUSED.contains(&status) {
                    return Err(self.key.refused(status));
                }
                self.key.accepted();
                // The server's words may repeat the address.
                let message = "permanent refusal".into();
                Err(CallError::Refused { provider: PROVIDER, status, code: None, message })
            }
            Err(error) => Err(CallError::Failed {
                provider: PROVIDER,
                // The same goes for a refusal that may pass.
                reason: error.status().map_or_else(|| chain(&error), |status| format!("status {status}")),
            }),
        }
    }

    fn compose(&self, email: Email) -> Result<Message, String> {
        let address = email.to.parse().map_err(|_| "the address is invalid".to_owned())?;
        let mut parts = MultiPart::mixed().singlepart(SinglePart::plain(email.text));
        let png = ContentType::parse("image/png").map_err(|error| error.to_string())?;
        for (name, image) in email.images {
            parts = parts.singlepart(Attachment::new(name).body(image, png.clone()));
        }
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(email.to_name, address))
            .subject(email.subject)
            .message_id(Some(format!("<{}@{}>", email.message_id, self.from.email.domain())))
            .multipart(parts)
            .map_err(|error| error.to_string())
    }
}
