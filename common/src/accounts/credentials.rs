//! What a person registers and logs in with: the rules and the messages of
//! docs/contract.md#accounts. No SQL here.

use crate::{
    error::{Error, Result},
    types::{
        contacts::{Email, LONGEST_ADDRESS, Phone, international},
        input::{Input, without_tags},
    },
};

/// A one-time password as typed: 4 to 6 digits.
#[derive(Clone)]
pub struct Otp(String);

impl Otp {
    /// Reads the `otp` field of a request.
    fn of(input: &Input, missing: &str) -> Result<Self> {
        let otp =
            input.get("otp").filter(|otp| **otp != "").ok_or_else(|| Error::invalid(missing))?;
        otp.as_str()
            .and_then(Otp::parse)
            .ok_or_else(|| Error::invalid("Invalid OTP format. OTP must be 4-6 digits."))
    }

    /// Reads the code.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (4..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| Otp(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads `phone` and `otp`, as verify-otp and reset-password take them.
pub fn phone_and_otp(input: &Input) -> Result<(Phone, Otp)> {
    const MISSING: &str = "Phone number and OTP are required";
    if input.get("otp").is_none() {
        return Err(Error::invalid(MISSING));
    }
    Ok((Phone::of(input, MISSING)?, Otp::of(input, MISSING)?))
}

/// A new password for whoever has the phone.
pub struct PasswordReset {
    /// Whose password.
    pub phone: Phone,
    /// Proves it.
    pub otp: Otp,
    /// The new password.
    pub password: String,
}

impl PasswordReset {
    /// Reads a request. Unlike a registration's, the password need only be long enough, as it has
    /// always been.
    pub fn parse(input: &Input) -> Result<Self> {
        let password = input.text("newPassword").unwrap_or("");
        match password.chars().count() {
            0..8 => return Err(Error::invalid("Password must be at least 8 characters long")),
            8..=LONGEST_PASSWORD => {}
            _ => return Err(Error::invalid(PASSWORD_TOO_LONG)),
        }
        let otp = Otp::of(input, "OTP is required for password reset")?;
        let given = |field: &str| input.get(field).is_some_and(|value| *value != "");
        if given("email") && !given("phone") {
            return Err(Error::invalid(
                "Email-based password reset requires phone OTP verification. Please provide phone number.",
            ));
        }
        let phone = Phone::of(input, "Email or phone number is required")?;
        Ok(PasswordReset { phone, otp, password: password.to_owned() })
    }
}

/// How somebody says who they are when logging in: by e-mail address or phone number. Accounts that
/// were made under older rules are found by what was stored then, even if nobody could register
/// with it today.
#[derive(Clone, Debug)]
pub struct Login {
    /// The same for every spelling.
    name: String,
    emails: Vec<String>,
    phones: Vec<String>,
}

impl Login {
    /// Reads an e-mail address or a phone number.
    pub fn of(text: &str) -> Option<Self> {
        Self::by_email(text.trim()).or_else(|| Self::by_phone(text))
    }

    /// Reads an e-mail address without spaces around it.
    pub fn by_email(text: &str) -> Option<Self> {
        let typed = Some(text.to_lowercase()).filter(|address| was_an_address(address));
        let today = Email::parse(text).map(|email| email.spellings()).unwrap_or_default();
        let name = today.first().or(typed.as_ref())?.clone();
        let older = typed.into_iter().filter(|address| !today.contains(address));
        let emails = older.chain(today.clone()).collect();
        Some(Login { name, emails, phones: vec![] })
    }

    /// Reads a phone number.
    pub fn by_phone(text: &str) -> Option<Self> {
        let typed = international(text)?;
        let name =
            Phone::parse(text).map_or_else(|| typed.clone(), |phone| phone.as_str().to_owned());
        let mut phones = vec![typed, name.clone()];
        phones.dedup();
        Some(Login { name, emails: vec![], phones })
    }

    /// The address or the number.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What `email` or `phone` of its row is; the first counts where several have a row.
    pub(super) fn columns(&self) -> (&[String], &[String]) {
        (&self.emails, &self.phones)
    }

    /// Reads `email` or `phone`, and `password`.
    pub fn parse(input: &Input) -> Result<(Self, String)> {
        let invalid = |problem: &str| Error::invalid(format!("Validation failed: {problem}"));
        let login = match (
            input.text("email").filter(|t| !t.is_empty()),
            input.text("phone").filter(|t| !t.is_empty()),
        ) {
            (Some(email), _) => {
                Self::by_email(email).ok_or_else(|| invalid("Invalid email format"))?
            }
            (None, Some(phone)) => {
                Self::by_phone(phone).ok_or_else(|| invalid("Invalid phone number format"))?
            }
            (None, None) => return Err(invalid("Email or phone number is required")),
        };
        let password = input
            .text("password")
            .filter(|p| !p.is_empty())
            .ok_or_else(|| invalid("Password is required"))?;
        Ok((login, password.to_owned()))
    }
}

impl From<&Phone> for Login {
    fn from(phone: &Phone) -> Self {
        Login {
            name: phone.as_str().to_owned(),
            emails: vec![],
            phones: vec![phone.as_str().to_owned()],
        }
    }
}

/// Whether registration has ever taken this for an address.
fn was_an_address(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        text.len() <= LONGEST_ADDRESS
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && !local.is_empty()
            && !local.contains('@')
            && domain.split('.').count() > 1
            && domain.split('.').all(|label| !label.is_empty())
    })
}

/// A new account, every rule checked.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `users`
pub struct Registration {
    pub username: Option<String>,
    pub name: Option<String>,
    pub email: Option<Email>,
    pub phone: Option<Phone>,
    pub password: String,
    pub address: Option<String>,
    pub city: Option<String>,
    pub state: Option<String>,
    pub zip: Option<String>,
    pub country: Option<String>,
}

impl Registration {
    /// Reads a registration, or lists every problem in the contract's order.
    pub fn parse(input: &Input) -> Result<Self> {
        let mut problems = Vec::new();
        let mut check = |result: Result<(), &'static str>| {
            if let Err(problem) = result {
                problems.push(problem);
            }
        };

        let username =
            input.get("username").map(|value| value.as_str().unwrap_or("").trim().to_lowercase());
        check(username.as_deref().map_or(Ok(()), username_rules));

        let email_text = input.get("email").filter(|value| *value != "");
        let email =
            email_text.and_then(|value| value.as_str()).and_then(|text| Email::parse(text.trim()));
        check(if email_text.is_some() && email.is_none() {
            Err("Invalid email format")
        } else {
            Ok(())
        });

        let phone_text = input.get("phone").filter(|value| *value != "");
        let phone = phone_text.and_then(|value| value.as_str()).and_then(Phone::parse);
        check(if phone_text.is_some() && phone.is_none() {
            Err("Invalid phone number format")
        } else {
            Ok(())
        });

        check(if email_text.is_none() && phone_text.is_none() {
            Err("Either email or phone number is required")
        } else {
            Ok(())
        });

        let password = input.text("password").unwrap_or("");
        check(password_rules(password));

        let name =
            input.get("name").map(|name| name.as_str().and_then(without_tags).unwrap_or_default());
        check(match &name {
            Some(name) if !(2..=100).contains(&name.chars().count()) => {
                Err("Name must be between 2 and 100 characters")
            }
            _ => Ok(()),
        });

        let field = |field: &str, longest: usize| {
            input
                .text(field)
                .and_then(without_tags)
                .map(|text| text.chars().take(longest).collect::<String>())
        };
        let registration = Registration {
            username,
            name,
            email,
            phone,
            password: password.to_owned(),
            address: field("address", 500),
            city: field("city", 100),
            state: field("state", 100),
            zip: field("zip", 20),
            country: field("country", 100),
        };
        if problems.is_empty() {
            Ok(registration)
        } else {
            Err(Error::invalid(format!("Validation failed: {}", problems.join(", "))))
        }
    }
}

fn username_rules(username: &str) -> Result<(), &'static str> {
    let length = username.chars().count();
    let pairs = username.as_bytes().windows(2);
    if length == 0 {
        Err("Username is required")
    } else if length < 3 {
        Err("Username must be at least 3 characters long")
    } else if length > 30 {
        Err("Username must be less than 30 characters")
    } else if !username.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Err("Username must start with a letter")
    } else if !username
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        Err("Username can only contain letters, numbers, underscores, and hyphens")
    } else if pairs.into_iter().any(|pair| pair.iter().all(|byte| matches!(byte, b'_' | b'-'))) {
        Err("Username cannot have consecutive underscores or hyphens")
    } else {
        Ok(())
    }
}

const LONGEST_PASSWORD: usize = 128;

const PASSWORD_TOO_LONG: &str = "Password must be less than 128 characters";

fn password_rules(password: &str) -> Result<(), &'static str> {
    let has = |class: fn(char) -> bool| password.chars().any(class);
    let length = password.chars().count();
    if length == 0 {
        Err("Password is required")
    } else if length < 8 {
        Err("Password must be at least 8 characters long")
    } else if length > LONGEST_PASSWORD {
        Err(PASSWORD_TOO_LONG)
    } else if !has(|c| c.is_uppercase()) {
        Err("Password must contain at least one uppercase letter")
    } else if !has(|c| c.is_lowercase()) {
        Err("Password must contain at least one lowercase letter")
    } else if !has(|c| c.is_numeric()) {
        Err("Password must contain at least one number")
    } else if !has(|c| !c.is_alphanumeric() && !c.is_whitespace()) {
        Err("Password must contain at least one special character")
    } else {
        Ok(())
    }
}

/// A username as it is compared: trimmed and lower-cased.
pub fn normalised_username(input: &Input) -> Result<String> {
    match input.get("username").map(|value| value.as_str()) {
        Some(Some(text)) if !text.trim().is_empty() => Ok(text.trim().to_lowercase()),
        _ => Err(Error::invalid("Username is required")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_is_listed_in_order() {
        let input =
            Input::from(json!({"email": "bad", "phone": "1", "password": "x", "username": "_"}));
        assert_eq!(
            Registration::parse(&input).unwrap_err().to_string(),
            "Validation failed: Username must be at least 3 characters long, Invalid email format, Invalid phone number format, Password must be at least 8 characters long"
        );
    }

    #[test]
    fn phones_are_normalised() {
        for text in [
            "98765 43210",
            "919876543210",
            "+91 98765-43210",
            "(987) 654-3210",
            "098765 43210",
            "0-98765-43210",
            "+91 0 98765 43210",
            "+91 (0) 98765 43210",
        ] {
            assert_eq!(
                Phone::parse(text).map(|phone| phone.as_str().to_owned()).as_deref(),
                Some("+919876543210"),
                "{text}"
            );
        }
        for (text, read) in [
            ("+14155550100", "+14155550100"),
            ("+44 20 7946 0958", "+442079460958"),
            (" +44 (0)20 7946 0958", "+442079460958"),
            ("+39 06 698 12345", "+390669812345"),
            ("+91 22 2778 2183", "+912227782183"),
            ("912227782183", "+912227782183"),
            ("+1234567", "+1234567"),
        ] {
            assert_eq!(
                Phone::parse(text).map(|phone| phone.as_str().to_owned()).as_deref(),
                Some(read),
                "{text}"
            );
        }
        for text in [
            "123",
            "",
            "+",
            "0123456789",
            "98765x3210",
            "+1234567890123456",
            "+0123456789",
            "+91987654321",
            "+9198765432101",
            "+91 0 9876 5432",
            "+91 00 98765 43210",
            "910987654321",
            "0 5876 543210",
            "00919876543210",
            "00 98765 43210",
            "+91",
            "5876543210",
        ] {
            assert_eq!(Phone::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_account_is_found_by_what_was_stored_under_older_rules() {
        let spellings = |text| {
            let login = Login::of(text).unwrap();
            (login.as_str().to_owned(), [login.emails, login.phones].concat())
        };
        let found = |name: &str, spellings: &[&str]| {
            (name.to_owned(), spellings.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            spellings("Asha@Nexus.example"),
            found("asha@nexus.example", &["asha@nexus.example"])
        );
        let both = ["user@ex\u{e4}mple.de", "user@xn--exmple-cua.de"];
        assert_eq!(spellings("User@EX\u{c4}MPLE.de"), found(both[1], &[both[1], both[0]]));
        assert_eq!(spellings(both[1]), found(both[1], &[both[1], both[0]]));
        assert_eq!(
            spellings("name.@example.com"),
            found("name.@example.com", &["name.@example.com"])
        );
        assert_eq!(
            spellings("+91 0 98765 43210"),
            found("+919876543210", &["+9109876543210", "+919876543210"])
        );
        assert_eq!(spellings("+91 98765 4321"), found("+91987654321", &["+91987654321"]));
        assert_eq!(spellings("098765 43210"), found("+919876543210", &["+919876543210"]));
        assert!(Login::of("no address").is_none());
    }

    #[test]
    fn passwords_and_usernames_obey_their_rules() {
        assert_eq!(password_rules("Passw0rd!"), Ok(()));
        assert_eq!(
            password_rules(&format!("Aa1!{}", "a".repeat(125))),
            Err("Password must be less than 128 characters")
        );
        assert_eq!(username_rules("orga_one"), Ok(()));
        assert_eq!(
            username_rules("ab_-cd"),
            Err("Username cannot have consecutive underscores or hyphens")
        );
        assert_eq!(username_rules("1abc"), Err("Username must start with a letter"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".*") {
            if let Some(email) = Email::parse(&text) { prop_assert_eq!(Email::parse(email.as_str()), Some(email)); }
            if let Some(phone) = Phone::parse(&text) { prop_assert_eq!(Phone::parse(phone.as_str()), Some(phone)); }
        }
    }
}
