//! E-mail addresses, phone numbers, user names and passwords, alone and in whole registrations and
//! logins.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a property that does not hold is found by panicking"
)]

use libfuzzer_sys::fuzz_target;
use nexus_api::fuzzing;
use nexus_common::{
    accounts::credentials::{Login, Otp},
    types::{
        contacts::{Email, Phone},
        text::without_tags,
    },
};
use serde_json::json;

/// What a user has typed, a line a field.
struct Typed<'a> {
    email: &'a str,
    phone: &'a str,
    username: &'a str,
    name: &'a str,
    password: &'a str,
    city: &'a str,
    otp: &'a str,
}

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let typed = Typed {
        email: next(),
        phone: next(),
        username: next(),
        name: next(),
        password: next(),
        city: next(),
        otp: next(),
    };
    email(typed.email);
    phone(typed.phone);
    for text in [typed.email, typed.phone] {
        login(text);
    }
    registration(&typed);
    let input = json!({
        "phone": typed.phone, "otp": typed.otp, "email": typed.email, "newPassword": typed.password
    });
    if let Ok((_, otp)) = fuzzing::verification(input.clone()) {
        assert_eq!(Otp::parse(otp.as_str()).unwrap().as_str(), otp.as_str());
    }
    if let Ok(reset) = fuzzing::password_reset(input) {
        assert!((8..=128).contains(&reset.password.chars().count()));
    }
});

fn email(text: &str) {
    let Some(email) = Email::parse(text) else { return };
    let normal = email.as_str();
    assert!(normal.len() <= 254, "{normal:?} is too long");
    assert!(!normal.chars().any(|c| c.is_whitespace() || c.is_control()));
    assert_eq!(normal, normal.to_lowercase());
    assert!(normal.is_ascii());
    assert_eq!(normal.matches('@').count(), 1);
    assert_eq!(Email::parse(normal).as_ref(), Some(&email), "an address is its own normal form");
}

fn phone(text: &str) {
    let Some(phone) = Phone::parse(text) else { return };
    let digits = phone.as_str().strip_prefix('+').unwrap();
    assert!((7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(!digits.starts_with('0'));
    assert_eq!(
        Phone::parse(phone.as_str()).as_ref(),
        Some(&phone),
        "a number is its own normal form"
    );
    let spaced: String = phone.as_str().chars().flat_map(|c| [c, ' ']).collect();
    assert_eq!(Phone::parse(&spaced), Some(phone), "spaces are no digits");
}

fn login(text: &str) {
    let email = Email::parse(text.trim()).map(|email| email.as_str().to_owned());
    let registered = email.or_else(|| Phone::parse(text).map(|phone| phone.as_str().to_owned()));
    let login = Login::of(text);
    // An account that can be registered can log in; so can one that older rules accepted.
    assert!(registered.is_none() || login.map(|login| login.as_str().to_owned()) == registered);
}

fn registration(typed: &Typed) {
    let input = json!({
        "email": typed.email, "phone": typed.phone, "username": typed.username, "name": typed.name,
        "password": typed.password, "city": typed.city
    });
    let Ok(new) = fuzzing::registration(input) else { return };
    assert!(new.email.is_some() || new.phone.is_some());
    assert!((8..=128).contains(&new.password.chars().count()));
    let username = new.username.unwrap();
    assert!((3..=30).contains(&username.len()));
    assert!(username.starts_with(|c: char| c.is_ascii_lowercase()));
    assert_eq!(username, username.trim().to_lowercase());
    let name = new.name.unwrap();
    assert!((2..=100).contains(&name.chars().count()));
    assert!(new.city.is_none_or(|city| (1..=100).contains(&city.chars().count())));
    assert!(!name.contains('\0'));
    // Removing tags once leaves none for a second pass to find.
    assert_eq!(without_tags(&name).as_deref(), Some(name.as_str()), "tags are gone at once");
}
