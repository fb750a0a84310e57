//! E-mail addresses and phone numbers: how they are read, and which count as equal.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use lettre::Address;

/// A lower-case e-mail address that mail can be sent to, an internationalised domain in punycode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads an address without spaces around it.
    pub fn parse(text: &str) -> Option<Self> {
        let address = address(&text.to_lowercase())?.to_string();
        (address.len() <= LONGEST_ADDRESS).then_some(Email(address))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The forms in which accounts may have the address: before punycode, domains were stored as
    /// typed.
    pub(crate) fn spellings(&self) -> Vec<String> {
        let mut spellings = vec![self.0.clone()];
        if let Some((user, domain)) = self.0.rsplit_once('@') {
            let shown = format!("{user}@{}", idna::domain_to_unicode(domain).0);
            if shown != self.0 {
                spellings.push(shown);
            }
        }
        spellings
    }
}

pub(crate) const LONGEST_ADDRESS: usize = 254;

/// A phone number in E.164.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone(String);

impl Phone {
    /// Reads an Indian number in any of its usual spellings, or an international one with `+` and 7
    /// to 15 digits.
    pub fn parse(text: &str) -> Option<Self> {
        // "+44 (0)20 …" is how people write a 0 that is dialled within the country only.
        let abroad = text.trim_start().starts_with('+').then(|| text.replacen("(0)", "", 1));
        let text = abroad.as_deref().unwrap_or(text);
        match international(text)?.strip_prefix("+91") {
            // Within India people dial a 0 first, and some write it behind +91, too.
            Some(national) => {
                let national = national.strip_prefix('0').unwrap_or(national);
                (national.len() == 10 && !national.starts_with('0'))
                    .then(|| Phone(format!("+91{national}")))
            }
            None => international(text).map(Phone),
        }
    }

    /// `+` and digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The calling code of its country; all of North America has one (ITU-T E.164).
    pub fn calling_code(&self) -> &str {
        let digits = self.0.trim_start_matches('+');
        let length = match digits.as_bytes() {
            [b'1' | b'7', ..] => 1,
            [b'2', b'0' | b'7', ..]
            | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
            | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
            | [b'5', b'1'..=b'8', ..]
            | [b'6', b'0'..=b'6', ..]
            | [b'8', b'1' | b'2' | b'4' | b'6', ..]
            | [b'9', b'0'..=b'5' | b'8', ..] => 2,
            _ => 3,
        };
        digits.get(..length).unwrap_or(digits)
    }
}

/// `+` and 7 to 15 digits, as every release has read numbers; accounts may have one that is not a
/// real number.
pub(crate) fn international(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect();
    let (plus, digits) = match compact.strip_prefix('+') {
        Some(digits) => (true, digits),
        None => (false, compact.as_str()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mobile = digits.strip_prefix('0').filter(|_| digits.len() == 11).unwrap_or(digits);
    match (plus, digits.len()) {
        (true, 7..=15) if !digits.starts_with('0') => Some(format!("+{digits}")),
        (false, 10 | 11) if mobile.len() == 10 && mobile.starts_with(['6', '7', '8', '9']) => {
            Some(format!("+91{mobile}"))
        }
        (false, 12) if digits.starts_with("91") => Some(format!("+{digits}")),
        _ => None,
    }
}

/// Reads an address that any server accepts: in ASCII, with the domain as DNS knows it
/// (internationalised ones in punycode), a name and not an IP address. An address that cannot be
/// read here gets no mail.
pub fn address(text: &str) -> Option<Address> {
    let (user, domain) = text.rsplit_once('@')?;
    let domain = Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .ok()?;
    let (_, top) = domain.rsplit_once('.')?;
    let is_plain = |c: char| c.is_ascii_graphic() && c != '@';
    if !user.chars().all(is_plain) || top.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Address::new(user, domain).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".*") {
            if let Some(email) = Email::parse(&text) { prop_assert_eq!(Email::parse(email.as_str()), Some(email)); }
            if let Some(phone) = Phone::parse(&text) { prop_assert_eq!(Phone::parse(phone.as_str()), Some(phone)); }
        }
    }
}
