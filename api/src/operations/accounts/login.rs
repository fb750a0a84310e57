//! `POST /auth/login`

use chrono::Utc;
use nexus_common::{Error, Result, accounts::credentials};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{LoggedIn, open_session};
use crate::{
    app::App,
    auth::{
        caller::Device,
        login::{self, Opens},
    },
    http::{
        api_error::ApiError,
        fields::{Address, Field, Number, Verbatim, sent},
        solution::Solution,
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct Login {
    email: Option<Address>,
    /// Ignored if there is an e-mail address.
    phone: Option<Number>,
    #[schema(value_type = String, max_length = 4096, min_length = 1, example = "Corr3ct-horse")]
    password: Verbatim,
}

impl Login {
    /// The account that the caller wants to log in to, and the password.
    pub(crate) fn credentials(self) -> Result<(credentials::Login, String)> {
        let invalid = |problem: &str| Error::invalid(format!("Validation failed: {problem}"));
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let email = filled(sent(&self.email).and_then(Field::read));
        let phone = filled(sent(&self.phone).and_then(Field::read));
        let login = match (email, phone) {
            (Some(email), _) => credentials::Login::by_email(&email)
                .ok_or_else(|| invalid("Invalid email format"))?,
            (None, Some(phone)) => credentials::Login::by_phone(&phone)
                .ok_or_else(|| invalid("Invalid phone number format"))?,
            (None, None) => return Err(invalid("Email or phone number is required")),
        };
        let password =
            filled(self.password.read()).ok_or_else(|| invalid("Password is required"))?;
        Ok((login, password))
    }
}

impl Endpoint for Login {
    type Caller = (Device, Solution);
    type Response = One<LoggedIn>;

    fn spec() -> Operation {
        Operation::open("login", "Log in with a password")
            .needs_one_of(&["email", "phone"])
            .failures([Error::BadCredentials, Error::AccountSuspended])
            .puzzles()
    }

    async fn run(
        self,
        app: App,
        (device, solution): (Device, Solution),
    ) -> Result<Self::Response, ApiError> {
        let since = Utc::now();
        let (login, password) = self.credentials()?;
        let (address, opens) = (device.address, Opens::Api);
        let user = login::with_password(&app, address, &login, password, &solution, opens).await?;
        Ok(One(open_session(&app, &device, user, since, "Login successful").await?))
    }
}
