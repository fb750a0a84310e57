//! What a person registers and logs in with: the rules and the messages of
//! docs/contract.md#accounts. No SQL here.

use crate::types::contacts::{Email, LONGEST_ADDRESS, Phone, international};

/// A one-time password as typed: 4 to 6 digits.
#[derive(Clone)]
pub struct Otp(String);

impl Otp {
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (4..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| Otp(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request to set another password, from the owner of a phone.
pub struct PasswordReset {
    pub phone: Phone,
    pub otp: Otp,
    pub password: String,
}

/// How a user identifies themselves when logging in: by e-mail address or phone number. Accounts
/// that were made under older rules are found by what was stored then, even if it could not be
/// registered today.
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

    /// The values of `email` or `phone` that its row may have; if several match a row, the first
    /// counts.
    pub(super) fn columns(&self) -> (&[String], &[String]) {
        (&self.emails, &self.phones)
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

/// Whether registration ever accepted this as an address.
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

/// A new account; every rule is checked.
#[derive(Debug)]
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

/// The rules of a username that is trimmed and lower-cased, in the contract's words.
pub fn username_rules(username: &str) -> Result<(), &'static str> {
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

/// The most characters in a password.
const LONGEST_PASSWORD: usize = 128;

/// The message for a longer one.
const PASSWORD_TOO_LONG: &str = "Password must be less than 128 characters";

/// The rules of a new account's password, in the contract's words.
pub fn password_rules(password: &str) -> Result<(), &'static str> {
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

/// The rules of any other password, which need not have every kind of character.
pub fn new_password_rules(password: &str) -> Result<(), &'static str> {
    match password.chars().count() {
        0..8 => Err("Password must be at least 8 characters long"),
        8..=LONGEST_PASSWORD => Ok(()),
        _ => Err(PASSWORD_TOO_LONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
