//! Who may see the operators' pages: who has opened a session with a password and a code. A browser
//! keeps its token in a cookie that no script reads and no other site sends; requests that change
//! something also need the token that every form of ours holds. Tokens of the API open nothing here.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Form,
    extract::{FromRequest, FromRequestParts, Request, State},
    response::{IntoResponse, Redirect, Response},
};
use chrono::Utc;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use maud::Markup;
use nexus_common::{
    Error,
    accounts::{
        credentials::Login,
        login_networks,
        operators::{self, OpenSession},
        tokens,
    },
    audit::{self, Action, Operator},
    config::Limit,
    error::Kind,
    storage::postgres,
    types::ids::UserId,
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{operator::Admin, pages};
use crate::{
    app::App,
    auth::login::{self, Opens},
    budgets::Claimant,
    http::{api_error::ApiError, client_ip::ClientIp, solution::Solution},
};

/// The cookie's name. `__Host-` has browsers keep it to this host and to https, which production has.
fn cookie_name(app: &App) -> &'static str {
    if app.settings.production { "__Host-nexus_admin" } else { "nexus_admin" }
}

/// An operator who submitted one of our forms, and may act.
pub(super) struct Acting {
    pub(super) operator: Admin,
    pub(super) user: UserId,
    pub(super) fields: BTreeMap<String, String>,
}

impl Acting {
    /// As the audit log names them.
    pub(super) fn acts(&self) -> Operator {
        Operator::User(self.user)
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }

    /// For what concerns many at once: unless the operator has given a code a moment ago, or gives
    /// one with the form, the page that asks for it. The cookie alone does not do.
    pub(super) async fn asked_for_code(
        &self,
        app: &App,
        address: ClientIp,
        action: &str,
    ) -> Result<Option<Response>, ApiError> {
        let ask = |problem| pages::ask_for_code(&self.operator, action, &self.fields, problem);
        let code = self.field("code");
        if self.operator.is_fresh {
            return Ok(None);
        }
        if code.is_empty() {
            return Ok(Some((StatusCode::FORBIDDEN, ask(None)).into_response()));
        }
        match check_code(app, address, self.user, code).await {
            Ok(()) => {
                let mut conn = app.db.acquire().await.map_err(Error::from)?;
                operators::prove(&mut conn, &self.operator.token).await?;
                Ok(None)
            }
            Err(Error::OtpWrong) => {
                let page = ask(Some("This is not the code that the authenticator shows now."));
                Ok(Some((StatusCode::FORBIDDEN, page).into_response()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl FromRequest<App> for Acting {
    type Rejection = NotAdmin;

    async fn from_request(request: Request, app: &App) -> Result<Self, NotAdmin> {
        let (operator, fields) = submitted(request, app).await?;
        if !operator.may_act() {
            return Err(NotAdmin::Looking);
        }
        Ok(Acting { user: operator.user, operator, fields })
    }
}

/// The operator who submitted one of our forms, and what they have filled in.
async fn submitted(
    request: Request,
    app: &App,
) -> Result<(Admin, BTreeMap<String, String>), NotAdmin> {
    let (mut parts, body) = request.into_parts();
    let operator = Admin::from_request_parts(&mut parts, app).await?;
    let form =
        Form::<BTreeMap<String, String>>::from_request(Request::from_parts(parts, body), app);
    // A body that is not a form has no fields.
    let fields = form.await.map(|Form(fields)| fields).unwrap_or_default();
    match fields.get("token") == Some(&operator.form_token) {
        true => Ok((operator, fields)),
        false => Err(NotAdmin::Forged),
    }
}

/// Why a caller is not let in.
pub(super) enum NotAdmin {
    /// Not logged in.
    LogIn,
    /// The request cannot be checked.
    Failed(ApiError),
    /// The form comes from another site, or was rendered for another session.
    Forged,
    /// May look, and not act.
    Looking,
}

/// What is known of the cookie of a request.
#[derive(Clone)]
pub(crate) struct Looked(pub(crate) Result<Option<OpenSession>, ApiError>);

/// The session of a request's cookie, if it is open.
pub(crate) async fn look(app: &App, parts: &Parts) -> nexus_common::Result<Option<OpenSession>> {
    let Some(token) = cookie(&parts.headers, cookie_name(app)) else { return Ok(None) };
    let by_itself = parts.uri.query() == Some(pages::BY_ITSELF);
    operators::look(&mut *app.db.acquire().await?, token, by_itself).await
}

impl FromRequestParts<App> for Admin {
    type Rejection = NotAdmin;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, NotAdmin> {
        let token = cookie(&parts.headers, cookie_name(app)).ok_or(NotAdmin::LogIn)?.to_owned();
        if parts.method != Method::GET && !is_same_origin(&parts.headers) {
            return Err(NotAdmin::Forged);
        }
        // Looked up where the request was counted.
        let session = match parts.extensions.get::<Looked>() {
            Some(Looked(Ok(Some(session)))) => *session,
            Some(Looked(Err(error))) => return Err(NotAdmin::Failed(error.clone())),
            Some(Looked(Ok(None))) | None => return Err(NotAdmin::LogIn),
        };
        let OpenSession { user, role, is_fresh } = session;
        let form_token = tokens::form_token(&token);
        Ok(Admin { user, role, is_fresh, token, form_token })
    }
}

impl IntoResponse for NotAdmin {
    fn into_response(self) -> Response {
        let refuse = |why| (StatusCode::FORBIDDEN, pages::refusal(why)).into_response();
        match self {
            NotAdmin::LogIn => Redirect::to("/admin/login").into_response(),
            NotAdmin::Failed(failure) => failure.into_response(),
            NotAdmin::Forged => refuse(
                "This form comes from elsewhere, or is older than your login. Load the page again.",
            ),
            NotAdmin::Looking => refuse("An auditor may look at everything, and change nothing."),
        }
    }
}

/// The cookie of that name.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether one of our pages sent the request; in browsers that know SameSite, the cookie ensures
/// that, too.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.split("://").nth(1) == Some(host),
        _ => false,
    }
}

/// `GET /admin/login`
pub(super) async fn ask() -> Markup {
    pages::log_in(None)
}

/// When whoever is not let in is told so: later than all of it takes, so that the time does not say
/// how far they have come.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

/// `POST /admin/login`
pub(super) async fn log_in(
    State(app): State<App>,
    address: ClientIp,
    form: Form<BTreeMap<String, String>>,
) -> Response {
    let began = Instant::now();
    let opened = open(&app, address, &form).await;
    if opened.is_err() {
        // A wrong password costs another time than a wrong code.
        sleep_until(began + REFUSED_AFTER).await;
    }
    match opened {
        Ok(token) => {
            let seconds = operators::LONGEST.as_secs();
            ([(header::SET_COOKIE, set_cookie(&app, &token, seconds))], Redirect::to("/admin"))
                .into_response()
        }
        Err(error)
            if matches!(
                error.kind(),
                Kind::Unauthenticated | Kind::Forbidden | Kind::Validation
            ) =>
        {
            let page = pages::log_in(Some(
                "This is no operator's e-mail address or phone, password and code.",
            ));
            (StatusCode::UNAUTHORIZED, page).into_response()
        }
        // The form solves no puzzles.
        Err(Error::RateLimited(usage) | Error::WorkNeeded { usage, .. }) => {
            let wait = [(header::RETRY_AFTER, usage.seconds_until_room().to_string())];
            let page = pages::log_in(Some("Too many attempts. Please try again later."));
            (StatusCode::TOO_MANY_REQUESTS, wait, page).into_response()
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

fn set_cookie(app: &App, token: &str, seconds: u64) -> String {
    let (name, secure) = (cookie_name(app), if app.settings.production { "; Secure" } else { "" });
    format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

async fn open(
    app: &App,
    address: ClientIp,
    form: &BTreeMap<String, String>,
) -> nexus_common::Result<String> {
    let since = Utc::now();
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let login = Login::of(field("login")).ok_or(Error::BadCredentials)?;
    let password = field("password").to_owned();
    let none = Solution::default();
    let user = login::with_password(app, address, &login, password, &none, Opens::Pages).await?.id;
    check_code(app, address, user, field("code")).await?;
    let token = operators::new_token();
    let mut tx = postgres::begin(&app.db).await?;
    operators::open(&mut tx, user, &token, since).await?;
    login_networks::remember(&mut tx, user, &address.to_string()).await?;
    tx.commit().await?;
    tracing::info!(operator = %user, "an operator has logged in");
    Ok(token)
}

/// Checks a code of somebody who has shown to know the password, or has the cookie.
async fn check_code(
    app: &App,
    address: ClientIp,
    user: UserId,
    code: &str,
) -> nexus_common::Result<()> {
    let at_home = {
        let mut conn = app.db.acquire().await?;
        login_networks::knows(&mut conn, user, &address.to_string()).await?
    };
    let taken = app.budgets.operator_code(Claimant { address, at_home }, user).await?;
    let mut conn = app.db.acquire().await?;
    // People type the gap that their app shows.
    let code: String = code.split_whitespace().collect();
    if operators::check_code(&mut conn, user, &code).await? {
        drop(conn);
        app.budgets.give_back(&taken, &[Limit::LoginFailures]).await;
        return Ok(());
    }
    audit::record(&mut conn, Action::OperatorSignInFailed, None, user, json!({})).await?;
    Err(Error::OtpWrong)
}

/// `POST /admin/logout`
pub(super) async fn log_out(
    State(app): State<App>,
    operator: Leaving,
) -> Result<Response, ApiError> {
    let Leaving(Admin { user, token, .. }) = operator;
    let mut tx = postgres::begin(&app.db).await?;
    operators::close(&mut tx, user, &token).await?;
    tx.commit().await.map_err(Error::from)?;
    let gone = set_cookie(&app, "", 0);
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/admin/login")).into_response())
}

/// An operator who logs out, which an auditor may do, too.
pub(super) struct Leaving(Admin);

impl FromRequest<App> for Leaving {
    type Rejection = NotAdmin;

    async fn from_request(request: Request, app: &App) -> Result<Self, NotAdmin> {
        submitted(request, app).await.map(|(operator, _)| Leaving(operator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let found =
            |text| cookie(&headers(&[(header::COOKIE, text)]), "nexus_admin").map(str::to_owned);
        assert_eq!(found("a=1; nexus_admin=token; b=2").as_deref(), Some("token"));
        assert_eq!(found("nexus_administrator=token"), None);
    }

    #[test]
    fn another_sites_page_has_another_origin() {
        let from = |origin| {
            is_same_origin(&headers(&[(header::ORIGIN, origin), (header::HOST, "a.example:80")]))
        };
        assert!(from("http://a.example:80"));
        assert!(!from("http://b.example"));
        assert!(!from("null"));
        assert!(!is_same_origin(&headers(&[(header::HOST, "a.example")])));
    }
}
