//! What the mails say: each is a [`Letter`], and has two templates of its name, `<name>.txt`, which
//! begins with the subject, and `<name>.html`, which escapes what people have written. The
//! installation may replace any of them (TEMPLATES_DIR, docs/delivery.md#templates).

use std::{
    fmt::{self, Write},
    fs,
    io::ErrorKind,
    path::Path,
};

use minijinja::{
    AutoEscape, Environment, Output, UndefinedBehavior, escape_formatter, syntax::SyntaxConfig,
    value::Serde,
};
use nexus_common::{Error, types::text};
use serde::Serialize;

/// A mail, with everything that its templates can say.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Letter<'a> {
    Tickets {
        name: Option<&'a str>,
        /// Whether whoever gets it has booked them; otherwise they were transferred.
        is_own: bool,
        reference: &'a str,
        event: EventWords,
        tickets: Vec<TicketWords<'a>>,
        /// Whether passes for Apple Wallet are attached.
        has_passes: bool,
    },
    Cancellation {
        name: Option<&'a str>,
        /// As for tickets.
        is_own: bool,
        reference: &'a str,
        event_name: String,
        /// When it would have started.
        when: String,
        reason: Option<&'a str>,
        /// What goes back, with its currency.
        refund: Option<String>,
    },
    Change {
        name: Option<&'a str>,
        reference: &'a str,
        /// As it is now.
        event: EventWords,
        was: EventWords,
    },
    Reminder {
        name: Option<&'a str>,
        reference: &'a str,
        event: EventWords,
    },
    Refund {
        name: Option<&'a str>,
        /// `your payment of ₹200.00 for booking BKG-… goes back to you: …`
        sentence: &'a str,
        /// What goes back, with its currency, and whether it is a part of the payment.
        amount: &'a str,
        is_part: bool,
        event_name: Option<&'a str>,
        payment_id: &'a str,
    },
    /// A ticket is offered to whoever has an address.
    Offer {
        from_name: Option<&'a str>,
        event: EventWords,
        seat: &'a str,
        seat_type: &'a str,
    },
    /// A ticket is somebody else's now.
    Transferred {
        name: Option<&'a str>,
        to_name: Option<&'a str>,
        reference: &'a str,
        event: EventWords,
        seat: &'a str,
        seat_type: &'a str,
        number: &'a str,
    },
    VerifyEmail {
        code: &'a str,
        link: Option<&'a str>,
    },
    RecoverPassword {
        name: Option<&'a str>,
        link: &'a str,
    },
    AccountNotice {
        subject: &'a str,
        what: &'a str,
        at: &'a str,
    },
    EmailReplaced {},
    AccountErased {},
}

/// An event in words.
#[derive(Debug, Serialize)]
pub(crate) struct EventWords {
    name: String,
    /// When it starts, in its time zone.
    when: String,
    /// The venue, if there is one, and the location.
    place: String,
}

impl EventWords {
    /// Each is one line: a second one of a name would not be part of the subject.
    pub(crate) fn new(name: &str, when: String, place: &str) -> Self {
        EventWords { name: text::one_line(name), when, place: text::one_line(place) }
    }
}

/// A ticket in words.
#[derive(Debug, Serialize)]
pub(crate) struct TicketWords<'a> {
    pub(crate) number: &'a str,
    pub(crate) seat: &'a str,
    pub(crate) seat_type: &'a str,
    /// With its currency.
    pub(crate) price: String,
    /// Who comes in with it, where its owner has named somebody.
    pub(crate) holder: Option<&'a str>,
    /// The Content-ID of the picture of its code.
    pub(crate) picture: String,
    /// Puts it into Google Wallet.
    pub(crate) google: Option<String>,
}

/// A letter as it is sent.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// The templates of all letters.
#[derive(Debug, Default)]
pub(crate) struct Templates(Environment<'static>);

macro_rules! built_in {
    ($($name:literal),*) => {
        [$(
            (concat!($name, ".txt"), include_str!(concat!("../templates/", $name, ".txt"))),
            (concat!($name, ".html"), include_str!(concat!("../templates/", $name, ".html"))),
        )*]
    };
}

/// The templates that are used where the installation has none of its own.
const BUILT_IN: [(&str, &str); 24] = built_in!(
    "tickets",
    "cancellation",
    "change",
    "reminder",
    "refund",
    "offer",
    "transferred",
    "verify_email",
    "recover_password",
    "account_notice",
    "email_replaced",
    "account_erased"
);

/// What all HTML templates extend.
const LAYOUT: (&str, &str) = ("layout.html", include_str!("../templates/layout.html"));

impl Templates {
    /// The built-in templates, and in their place those of the same names in a folder. The error
    /// says which of those cannot be used, and why: every one is tried with made-up letters.
    pub(crate) fn new(folder: Option<&Path>) -> Result<Self, String> {
        for name in folder.into_iter().flat_map(names) {
            let is_known = |(known, _): &(&str, &str)| *known == name;
            if !BUILT_IN.iter().chain([&LAYOUT]).any(is_known) && name != "terms.txt" {
                return Err(format!("there is no template {name}"));
            }
        }
        Self::with(|name| {
            let Some(path) = folder.map(|folder| folder.join(name)) else { return Ok(None) };
            match fs::read_to_string(&path) {
                Ok(source) => Ok(Some(source)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
            }
        })
    }

    /// The built-in templates, and in their place what `own` has under their names.
    fn with(own: impl Fn(&str) -> Result<Option<String>, String>) -> Result<Self, String> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        templates.set_syntax(syntax.map_err(|error| error.to_string())?);
        templates.set_formatter(|out, state, value| match (state.auto_escape(), value.as_str()) {
            // MiniJinja's own turns the slashes of links into entities, too.
            (AutoEscape::Html, Some(text)) if !value.is_safe() => Ok(escaped(out, text)?),
            _ => escape_formatter(out, state, value),
        });
        templates.add_filter("without_links", |text: String| text::without_links(&text));
        for (name, built_in) in BUILT_IN.into_iter().chain([LAYOUT]) {
            let source = own(name)?.unwrap_or_else(|| built_in.to_owned());
            templates
                .add_template_owned(name, source)
                .map_err(|error| format!("the template {name} is wrong: {error:#}"))?;
        }
        let templates = Templates(templates);
        for letter in samples() {
            templates.written(&letter)?;
        }
        Ok(templates)
    }

    /// Writes a letter.
    pub(crate) fn write(&self, letter: &Letter) -> Result<Written, Error> {
        self.written(letter).map_err(Error::internal)
    }

    fn written(&self, letter: &Letter) -> Result<Written, String> {
        let render = |extension| {
            let name = format!("{}.{extension}", letter.name());
            let template = self.0.get_template(&name);
            template
                .and_then(|template| template.render(Serde(letter)))
                .map_err(|error| format!("the template {name} is wrong: {error:#}"))
        };
        let (text, html) = (render("txt")?, render("html")?);
        let subject = text.strip_prefix("Subject: ").and_then(|text| text.split_once('\n'));
        let (subject, text) = subject.ok_or_else(|| {
            format!("the template {}.txt does not begin with `Subject: `", letter.name())
        })?;
        Ok(Written { subject: subject.trim().to_owned(), text: text.trim_start().to_owned(), html })
    }
}

/// The names of the templates in a folder.
fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".txt") || name.ends_with(".html")).collect()
}

/// A text as HTML.
fn escaped(out: &mut Output, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '&' => out.write_str("&amp;"),
        '<' => out.write_str("&lt;"),
        '>' => out.write_str("&gt;"),
        '"' => out.write_str("&quot;"),
        '\'' => out.write_str("&#39;"),
        c => out.write_char(c),
    })
}

impl Letter<'_> {
    /// Of its templates.
    fn name(&self) -> &'static str {
        match self {
            Letter::Tickets { .. } => "tickets",
            Letter::Cancellation { .. } => "cancellation",
            Letter::Change { .. } => "change",
            Letter::Reminder { .. } => "reminder",
            Letter::Refund { .. } => "refund",
            Letter::Offer { .. } => "offer",
            Letter::Transferred { .. } => "transferred",
            Letter::VerifyEmail { .. } => "verify_email",
            Letter::RecoverPassword { .. } => "recover_password",
            Letter::AccountNotice { .. } => "account_notice",
            Letter::EmailReplaced {} => "email_replaced",
            Letter::AccountErased {} => "account_erased",
        }
    }
}

/// Letters of every kind, each with everything and with as little as possible.
fn samples() -> Vec<Letter<'static>> {
    let event = || {
        let when = "Thursday, 1 May 2031, 18:00 IST (Asia/Kolkata)".into();
        EventWords::new("Jazz <Night>", when, "Blue Frog, Mumbai")
    };
    let ticket = |google: Option<&str>| TicketWords {
        number: "TKT-BKG-1-A1",
        seat: "A1",
        seat_type: "VIP",
        price: "₹500.00".into(),
        holder: google.map(|_| "Ravi"),
        picture: "1".into(),
        google: google.map(str::to_owned),
    };
    let mut all = vec![
        Letter::VerifyEmail { code: "123456", link: Some("https://nexus.example/a?b&c") },
        Letter::VerifyEmail { code: "123456", link: None },
        Letter::AccountNotice { subject: "Your password was reset", what: "…", at: "…" },
        Letter::EmailReplaced {},
        Letter::AccountErased {},
    ];
    for name in [None, Some("Asha")] {
        let reference = "BKG-1";
        let tickets = match name {
            None => vec![ticket(None)],
            Some(_) => vec![ticket(Some("https://pay.example/1")), ticket(None)],
        };
        all.extend([
            Letter::Tickets {
                name,
                is_own: name.is_some(),
                reference,
                event: event(),
                tickets,
                has_passes: name.is_some(),
            },
            Letter::Cancellation {
                name,
                is_own: name.is_some(),
                reference,
                event_name: "Jazz <Night>".into(),
                when: event().when,
                reason: name.map(|_| "Ill"),
                refund: name.map(|_| "₹500.00".into()),
            },
            Letter::Offer { from_name: name, event: event(), seat: "A1", seat_type: "VIP" },
            Letter::Transferred {
                name,
                to_name: name,
                reference,
                event: event(),
                seat: "A1",
                seat_type: "VIP",
                number: "TKT-BKG-1-A1",
            },
            Letter::Change { name, reference, event: event(), was: event() },
            Letter::Reminder { name, reference, event: event() },
            Letter::Refund {
                name,
                sentence: "your payment goes back",
                amount: "₹500.00",
                is_part: name.is_some(),
                event_name: name,
                payment_id: "pay_1",
            },
            Letter::RecoverPassword { name, link: "https://nexus.example/a?b&c" },
        ]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(own: &str, text: &str) -> Result<Templates, String> {
        Templates::with(|name| Ok((name == own).then(|| text.to_owned())))
    }

    #[test]
    fn every_letter_is_written_with_the_built_in_templates() {
        let templates = Templates::new(None).unwrap();
        for letter in samples() {
            let written = templates.write(&letter).unwrap();
            assert!(
                !written.subject.is_empty() && !written.text.contains("Subject:"),
                "{written:?}"
            );
            assert!(written.html.contains("</html>") && !written.html.contains("<Night>"));
            assert!(
                !written.text.contains("\n\n\n") && !written.text.contains("&amp;"),
                "{written:?}"
            );
        }
    }

    #[test]
    fn an_installation_replaces_some_templates() {
        let own = "Subject: Soon: {{ event.name }}\n\n{{ event.when }}";
        let templates = with("reminder.txt", own).unwrap();
        let letter = samples().into_iter().find(|letter| letter.name() == "reminder").unwrap();
        let written = templates.write(&letter).unwrap();
        assert_eq!(written.subject, "Soon: Jazz <Night>");
        assert_eq!(written.text, "Thursday, 1 May 2031, 18:00 IST (Asia/Kolkata)");
        assert!(written.html.contains("Jazz &lt;Night&gt;"));
    }

    #[test]
    fn a_template_that_cannot_be_used_is_named() {
        for (text, problem) in [
            ("{{ event.name }}", "does not begin with `Subject: `"),
            ("Subject: x\n{{ event.nmae }}", "undefined value"),
            ("Subject: x\n{% if %}", "syntax error"),
        ] {
            let error = with("tickets.txt", text).unwrap_err();
            assert!(error.contains("tickets.txt") && error.contains(problem), "{error}");
        }
    }
}
