//! `POST /auth/register`

use chrono::Utc;
use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{Login, Registration, password_rules, username_rules},
        email_proofs, passwords,
        users::{self, User},
    },
    audit::{self, Action},
    jobs::wakeups,
    storage::postgres,
    types::{
        contacts::{Email as EmailAddress, Phone as PhoneNumber},
        text::{is_unfit, one_line, without_tags},
    },
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{LoggedIn, open_session, require_unknown};
use crate::{
    admission::away,
    app::App,
    auth::{caller::Device, login},
    budgets::Claimant,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Email, Field, Password, Phone, Text, any_text, sent},
        solution::Solution,
        texts::{WrittenText, text},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct Register {
    password: Password,
    email: Option<Email>,
    phone: Option<Phone>,
    /// Letters, digits, and single `_` and `-`, starting with a letter; unique regardless of case.
    #[schema(
        value_type = Option<String>,
        min_length = 3,
        max_length = 30,
        pattern = "^[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*[_-]?$",
        example = "asha"
    )]
    username: Option<Text>,
    /// At least two letters, once HTML tags are removed.
    #[schema(
        value_type = Option<String>,
        max_length = 100,
        pattern = r"^(?![\s\S]*[\u202a-\u202e\u2066-\u2069])[^<>\s\x00-\x1f\x7f-\x9f\u200b\u2060\ufeff][^<>]*[^<>\s\x00-\x1f\x7f-\x9f\u200b\u2060\ufeff]",
        example = "Asha Rao"
    )]
    name: Option<Text>,
    address: Option<StreetAddress>,
    city: Option<City>,
    state: Option<State>,
    zip: Option<Zip>,
    country: Option<Country>,
}

text!(StreetAddress = "address", at most 500, cleaned by one_line, any_text("1 Park Street"));
text!(City = "city", at most 100, cleaned by one_line, any_text("Mumbai"));
text!(State = "state", at most 100, cleaned by one_line, any_text("Maharashtra"));
text!(Zip = "zip", at most 20, cleaned by one_line, any_text("400001"));
text!(Country = "country", at most 100, cleaned by one_line, any_text("India"));

/// As much of a part of the address as is kept. Nobody else is shown it, so no more is asked of it.
fn kept<F: WrittenText>(field: &Option<F>) -> Option<String> {
    let text = sent(field).and_then(Field::read)?;
    Some(without_tags(&text)?.chars().take(F::LONGEST).collect())
}

/// Lists every problem, in the contract's order.
impl TryFrom<Register> for Registration {
    type Error = Error;

    fn try_from(request: Register) -> Result<Self> {
        let mut problems = Vec::new();
        let mut check = |problem: Option<&'static str>| problems.extend(problem);

        let username = sent(&request.username)
            .map(|username| username.read().unwrap_or_default().trim().to_lowercase());
        check(username.as_deref().and_then(|username| username_rules(username).err()));

        let given = sent(&request.email).filter(|email| email.get().is_some_and(|text| text != ""));
        let email = given.and_then(Field::read).and_then(|text| EmailAddress::parse(text.trim()));
        let has_email = given.is_some();
        check((has_email && email.is_none()).then_some("Invalid email format"));

        let given = sent(&request.phone).filter(|phone| phone.get().is_some_and(|text| text != ""));
        let phone = given.and_then(Field::read).and_then(|text| PhoneNumber::parse(&text));
        let has_phone = given.is_some();
        check((has_phone && phone.is_none()).then_some("Invalid phone number format"));
        check((!has_email && !has_phone).then_some("Either email or phone number is required"));

        let password = request.password.read().unwrap_or_default();
        check(password_rules(&password).err());

        let name = sent(&request.name)
            .map(|name| name.read().as_deref().and_then(without_tags).unwrap_or_default());
        let is_name = |name: &String| (2..=100).contains(&name.chars().count());
        check(
            name.as_ref()
                .is_some_and(|name| !is_name(name))
                .then_some("Name must be between 2 and 100 characters"),
        );

        let unfit = name.as_deref().is_some_and(is_unfit);
        let unfit =
            unfit.then_some("Name must not contain characters that change the order of text");
        check(unfit);

        let registration = Registration {
            username,
            name,
            email,
            phone,
            password,
            address: kept(&request.address),
            city: kept(&request.city),
            state: kept(&request.state),
            zip: kept(&request.zip),
            country: kept(&request.country),
        };
        if problems.is_empty() {
            Ok(registration)
        } else {
            Err(Error::invalid(format!("Validation failed: {}", problems.join(", "))))
        }
    }
}

impl Endpoint for Register {
    type Caller = (Device, Solution);
    type Response = One<LoggedIn>;

    fn spec() -> Operation {
        Operation::open("register", "Create an account and log in")
            .needs_one_of(&["email", "phone"])
            .failures([Error::UserExists, Error::PasswordGuessable])
            .puzzles()
    }

    async fn run(
        self,
        app: App,
        (device, solution): (Device, Solution),
    ) -> Result<Self::Response, ApiError> {
        let since = Utc::now();
        let new = Registration::try_from(self)?;
        let about = [&new.username, &new.name].into_iter().flatten().cloned();
        let contacts = [
            new.email.as_ref().map(|email| email.as_str().to_owned()),
            new.phone.as_ref().map(|phone| phone.as_str().to_owned()),
        ];
        let about = about.chain(contacts.into_iter().flatten()).collect();
        require_unknown(&app, &new.password, about).await?;
        app.budgets.registration(device.address, &solution).await?;
        // Hashed before a connection is taken, because it takes a while.
        let hash = away(passwords::hash(new.password.clone())).await?;
        let user = create(&app, device.address, &new, &hash).await?;
        Ok(One(open_session(&app, &device, user, since, "User registered successfully").await?))
    }
}

/// Creates the account, and has a mail sent to its address, as far as limits allow.
async fn create(app: &App, address: ClientIp, new: &Registration, hash: &str) -> Result<User> {
    let login = new.email.as_ref().and_then(|email| Login::by_email(email.as_str()));
    let mails = match (&new.email, login) {
        (Some(email), Some(login)) => {
            let claimant = Claimant::find(&app.db, address, &login).await?;
            match app.budgets.welcome_mail(claimant, email).await {
                Err(Error::RateLimited(_)) => false,
                taken => taken.map(|_| true)?,
            }
        }
        _ => false,
    };
    // Again if somebody claims the same contacts at the same moment: it may be a second click.
    for _ in 0..5 {
        let newest = users::newest_claimant(&mut *app.db.acquire().await?, new).await?;
        if newest.is_some() && login::has_registered(app, address, new).await? {
            return Err(Error::UserExists);
        }
        let mut tx = postgres::begin(&app.db).await?;
        let Some(user) = users::register(&mut tx, new, hash, newest).await? else { continue };
        if let Some(email) = new.email.as_ref().filter(|_| mails) {
            email_proofs::begin(&mut tx, user.id, email.as_str()).await?;
        }
        audit::record(&mut tx, Action::Registered, Some(user.id), user.id, json!({})).await?;
        tx.commit().await?;
        wakeups::committed();
        return Ok(user);
    }
    Err(Error::UserExists)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn registration(value: Value) -> Result<Registration> {
        serde_json::from_value::<Register>(value).unwrap().try_into()
    }

    #[test]
    fn every_problem_is_listed_in_order() {
        let request = json!({"email": "bad", "phone": "1", "password": "x", "username": "_"});
        assert_eq!(
            registration(request).unwrap_err().to_string(),
            "Validation failed: Username must be at least 3 characters long, Invalid email format, Invalid phone number format, Password must be at least 8 characters long"
        );
    }
}
