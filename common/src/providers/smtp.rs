//! E-mail over SMTP.

use std::{error::Error as _, time::Duration};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::Envelope,
    message::{Attachment, Mailbox, MultiPart, SinglePart, header::ContentType},
};
use secrecy::ExposeSecret;

use super::{CallError, Key, chain};
use crate::{
    config::Smtp as Settings,
    error::Error,
    types::{contacts::address, file::File},
};

const PROVIDER: &str = "SMTP";

/// Replies about our password rather than the mail: required, too weak, wrong, only over TLS (RFC
/// 4954).
const KEY_REFUSED: [u16; 4] = [530, 534, 535, 538];

/// Beginnings of replies that refuse the sender (MAIL_FROM) for any recipient: bad address or
/// domain (RFC 3463), a domain that takes no mail (RFC 7505), not ours to send as (Exchange).
const SENDER_CODES: [&str; 4] = ["5.1.7 ", "5.1.8 ", "5.7.27 ", "5.7.60 "];

/// The wording of such replies: Postfix and most others; Amazon SES.
const SENDER_WORDS: [&str; 2] = ["sender address rejected", "email address is not verified"];

/// The client. Cheap to clone; keeps a few connections.
#[derive(Clone)]
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    key: Key,
}

#[derive(Debug)]
pub struct Email {
    pub to: String,
    pub to_name: Option<String>,
    pub subject: String,
    /// Text and HTML have the same content; the reader's program shows one of them.
    pub text: String,
    pub html: String,
    /// The part of the Message-ID before the `@`: the same for every copy of the same mail.
    pub message_id: String,
    /// Pictures that the HTML shows by their Content-ID, their name.
    pub inline: Vec<File>,
    pub attachments: Vec<File>,
}

impl Smtp {
    /// A client for the server in `settings`; connects when first used.
    pub fn new(settings: &Settings) -> crate::Result<Self> {
        let transport =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(settings.url.expose_secret())
                .map_err(Error::internal)?
                .timeout(Some(Duration::from_secs(10)))
                .build();
        let from = settings.from.parse().map_err(Error::internal)?;
        Ok(Smtp { transport, from, key: Key::new(PROVIDER, "SMTP_URL or MAIL_FROM") })
    }

    /// Our user and password at the server.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Sends an e-mail. When this returns, the server has it.
    pub async fn send(&self, email: Email) -> Result<(), CallError> {
        let message = compose(self.from.clone(), email)?;
        let to = message.envelope().to().first().map(ToString::to_string).unwrap_or_default();
        self.key.permit()?;
        match self.transport.send(message).await {
            Ok(_) => {
                self.key.accepted();
                Ok(())
            }
            Err(error) if error.is_permanent() => {
                let status = error.status().map_or(0, u16::from);
                let reply = error.source().map(ToString::to_string).unwrap_or_default();
                if KEY_REFUSED.contains(&status) {
                    return Err(self.key.refused(status.to_string()));
                }
                if refuses_sender(&reply, &to) {
                    return Err(self.key.refused(format!("{status} to the sender")));
                }
                self.key.accepted();
                // The server's message may repeat the address.
                let message = "permanent refusal".into();
                Err(CallError::Refused { provider: PROVIDER, status, code: None, message })
            }
            Err(error) => Err(CallError::Failed {
                provider: PROVIDER,
                // So may a transient refusal's.
                reason: error
                    .status()
                    .map_or_else(|| chain(&error), |status| format!("status {status}")),
            }),
        }
    }
}

/// Whether a refusal is about our sender rather than this mail. The refused command does not tell:
/// lettre does not report it, and many servers refuse a sender only after they know the recipient.
/// A reply about a recipient repeats the recipient. One mail must not hold up all others, so a
/// refusal that is not plainly about the sender is about the mail.
fn refuses_sender(reply: &str, to: &str) -> bool {
    let reply = reply.to_lowercase();
    let is_said = SENDER_CODES.iter().any(|code| reply.starts_with(code))
        || SENDER_WORDS.iter().any(|words| reply.contains(words));
    is_said && !reply.contains(&to.to_lowercase())
}

/// The message; an address that none can be sent to is the only one that is its recipient's fault.
fn compose(from: Mailbox, email: Email) -> Result<Message, CallError> {
    let to = address(&email.to).ok_or_else(|| CallError::Invalid {
        provider: PROVIDER,
        reason: "the address is invalid".into(),
    })?;
    composed(from, to, email).map_err(|reason| CallError::Failed { provider: PROVIDER, reason })
}

fn composed(from: Mailbox, to: Address, email: Email) -> Result<Message, String> {
    let envelope = Envelope::new(Some(from.email.clone()), vec![to.clone()])
        .map_err(|error| error.to_string())?;
    let message_id = format!("<{}@{}>", email.message_id, from.email.domain());
    let mut html = MultiPart::related().singlepart(SinglePart::html(email.html));
    for file in email.inline {
        let part = Attachment::new_inline_with_name(file.name.clone(), file.name.clone());
        html = html.singlepart(attached(part, file)?);
    }
    let body = MultiPart::alternative().singlepart(SinglePart::plain(email.text)).multipart(html);
    let mut parts = MultiPart::mixed().multipart(body);
    for file in email.attachments {
        parts = parts.singlepart(attached(Attachment::new(file.name.clone()), file)?);
    }
    Message::builder()
        .envelope(envelope)
        .from(from)
        .to(Mailbox::new(email.to_name.as_deref().map(header_text), to))
        .subject(header_text(&email.subject))
        .message_id(Some(message_id))
        .multipart(parts)
        .map_err(|error| error.to_string())
}

fn attached(part: Attachment, file: File) -> Result<SinglePart, String> {
    // Outlook takes the name from here, and where it is missing calls the file ATT00001.
    let media_type = format!("{}; name=\"{}\"", file.media_type, file.name);
    let media_type = ContentType::parse(&media_type).map_err(|error| error.to_string())?;
    Ok(part.body(file.content, media_type))
}

/// Text that a header can hold: lettre panics on control characters, which old rows may have.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn email(to: &str, name: &str) -> Email {
        Email {
            to: to.to_owned(),
            to_name: Some(name.to_owned()),
            subject: format!("Your tickets for {name}"),
            text: format!("Hello {name}"),
            html: format!("<p>Hello {name}</p>"),
            message_id: "tickets-1".into(),
            inline: vec![picture("1")],
            attachments: vec![picture("TKT-1.png")],
        }
    }

    fn picture(name: &str) -> File {
        File { name: name.to_owned(), media_type: "image/png", content: vec![0] }
    }

    fn from() -> Mailbox {
        "Nexus <tickets@nexus.example>".parse().unwrap()
    }

    #[test]
    fn a_refused_sender_is_told_from_a_refused_recipient() {
        let refused = |reply: &str| refuses_sender(reply, "asha@example.com");
        for reply in [
            "5.7.1 <tickets@nexus.example>: Sender address rejected: not owned by user shop",
            "5.1.8 Bad sender's system address",
            "Email address is not verified. The following identities failed the check: Tickets@Nexus.example",
            "5.7.60 SMTP; Client does not have permissions to send as this sender",
        ] {
            assert!(refused(reply), "{reply}");
        }
        for reply in [
            "5.1.1 <asha@example.com>: Recipient address rejected: User unknown",
            "5.7.1 <asha@example.com> does not take mail from tickets@nexus.example",
            "5.7.1 tickets@nexus.example is not allowed to post to this group",
            "5.7.1 Client host [15.1.8.30] blocked, see RFC 5.1.8",
            "5.3.4 Message too big",
            "",
        ] {
            assert!(!refused(reply), "{reply}");
        }
    }

    #[test]
    fn an_address_is_one_that_any_server_takes() {
        for (text, read) in [
            ("asha.rao+x@example.com", "asha.rao+x@example.com"),
            ("user@ex\u{e4}mple.de", "user@xn--exmple-cua.de"),
            ("user@exa\u{308}mple.de", "user@xn--exmple-cua.de"),
            ("user@xn--exmple-cua.de", "user@xn--exmple-cua.de"),
            ("\"taro..yamada\"@example.com", "\"taro..yamada\"@example.com"),
            (
                "user@\u{92d}\u{93e}\u{930}\u{924}.\u{92d}\u{93e}\u{930}\u{924}",
                "user@xn--h2brj9c.xn--h2brj9c",
            ),
        ] {
            assert_eq!(
                address(text).map(|address| address.to_string()).as_deref(),
                Some(read),
                "{text}"
            );
        }
        for text in [
            "taro..yamada@example.com",
            "name.@example.com",
            "name@mail.example,",
            "<a@b.example>",
            "x@[127.0.0.1]",
            "x@127.0.0.1",
            "a@x;y",
            "a@x;y.example",
            "a@b",
            "a@b.",
            "a@.b",
            "a@-b.example",
            "a@b..example",
            "@b.example",
            "a@@b.example",
            "\"a@b\"@c.example",
            "\"a b\"@c.example",
            "\u{e4}@b.example",
            "a b@c.example",
            "a@xn--.example",
            "a\n@b.example",
            "",
            "a",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_a_mail_is_composed_in_ascii_or_refused(name in "[\\PC\\p{Cc}]*", to in "[a-z.\"\u{e4}@ ]{0,20}") {
            if let Ok(message) = compose(from(), email(&to, &name)) {
                prop_assert!(address(&to).is_some());
                prop_assert!(message.formatted().is_ascii());
                prop_assert_eq!(message.envelope().to().len(), 1);
            } else {
                prop_assert_eq!(address(&to), None);
            }
        }

        #[test]
        fn every_address_is_its_own_normal_form_and_gets_mail(
            user in "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~\"\\\\(),:;<>-]{1,12}", domain in "[a-z\u{e4}\u{3b1}\u{92d}-]{1,8}\\.[a-z\u{e4}]{2,4}"
        ) {
            if let Some(read) = address(&format!("{user}@{domain}")) {
                prop_assert!(read.to_string().is_ascii());
                prop_assert_eq!(address(read.as_ref()), Some(read.clone()));
                prop_assert!(compose(from(), email(read.as_ref(), "Asha")).is_ok());
            }
        }
    }
}
