//! Who may see the operators' pages. A browser keeps the access token in a cookie that no script
//! reads and no other site sends; requests that change something also need the token that every
//! form of ours holds.

use std::collections::BTreeMap;

use axum::{
    Form,
    extract::{FromRequest, FromRequestParts, Request, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use maud::Markup;
use nexus_common::{
    Error,
    accounts::{credentials::Login, login_networks, roles, sessions, tokens},
    audit::Operator,
    error::Kind,
    types::ids::UserId,
};

use super::{operator::Admin, pages};
use crate::{
    app::App,
    auth::caller::bearer,
    auth::{login, revocations},
    http::{api_error::ApiError, client_ip::ClientIp},
};

const COOKIE: &str = "nexus_admin";

/// An admin who submitted one of our forms.
pub(super) struct Acting {
    pub(super) user: UserId,
    pub(super) fields: BTreeMap<String, String>,
}

impl Acting {
    /// As the audit log names them.
    pub(super) fn acts(&self) -> Operator {
        Operator::User(self.user)
    }
}

impl FromRequest<App> for Acting {
    type Rejection = NotAdmin;

    async fn from_request(request: Request, app: &App) -> Result<Self, NotAdmin> {
        let (mut parts, body) = request.into_parts();
        let admin = Admin::from_request_parts(&mut parts, app).await?;
        let form =
            Form::<BTreeMap<String, String>>::from_request(Request::from_parts(parts, body), app);
        // A body that is not a form has no fields.
        let fields = form.await.map(|Form(fields)| fields).unwrap_or_default();
        match &admin.form_token {
            Some(token) if fields.get("token") != Some(token) => Err(NotAdmin::Forged),
            _ => Ok(Acting { user: admin.user, fields }),
        }
    }
}

/// Why a caller is not let in.
pub(super) enum NotAdmin {
    /// Not logged in, or not an admin: may log in as one.
    LogIn,
    /// The request cannot be checked.
    Failed(ApiError),
    /// The form comes from another site, or was rendered for another session.
    Forged,
}

impl FromRequestParts<App> for Admin {
    type Rejection = NotAdmin;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, NotAdmin> {
        let (token, form_token) = match (bearer(&parts.headers), cookie(&parts.headers)) {
            (Some(token), _) => (token, None),
            (None, Some(token))
                if parts.method == Method::GET || is_same_origin(&parts.headers) =>
            {
                (token, Some(tokens::form_token(token)))
            }
            (None, Some(_)) => return Err(NotAdmin::Forged),
            (None, None) => return Err(NotAdmin::LogIn),
        };
        match allowed(app, token).await {
            Ok(user) => Ok(Admin { user, form_token }),
            Err(error) if matches!(error.kind(), Kind::Unauthenticated | Kind::Forbidden) => {
                Err(NotAdmin::LogIn)
            }
            Err(error) => Err(NotAdmin::Failed(error.into())),
        }
    }
}

impl IntoResponse for NotAdmin {
    fn into_response(self) -> Response {
        match self {
            NotAdmin::LogIn => Redirect::to("/admin/login").into_response(),
            NotAdmin::Failed(failure) => failure.into_response(),
            NotAdmin::Forged => {
                let why = "This form comes from elsewhere, or is older than your login. Load the page again.";
                (StatusCode::FORBIDDEN, pages::refusal(why)).into_response()
            }
        }
    }
}

async fn allowed(app: &App, token: &str) -> nexus_common::Result<UserId> {
    let user = app.authenticate(token).await?;
    roles::require_admin(&mut *app.db.acquire().await?, user).await?;
    Ok(user)
}

/// The access token of an operator's browser.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
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

/// `POST /admin/login`
pub(super) async fn log_in(
    State(app): State<App>,
    address: ClientIp,
    form: Form<BTreeMap<String, String>>,
) -> Response {
    match open(&app, address, &form).await {
        Ok(token) => {
            let secure = if app.settings.production { "; Secure" } else { "" };
            let seconds = tokens::ACCESS_VALID.as_secs();
            let cookie = format!(
                "{COOKIE}={token}; Path=/admin; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
            );
            ([(header::SET_COOKIE, cookie)], Redirect::to("/admin")).into_response()
        }
        Err(error)
            if matches!(
                error.kind(),
                Kind::Unauthenticated | Kind::Forbidden | Kind::Validation
            ) =>
        {
            let page =
                pages::log_in(Some("This is no operator's e-mail address or phone and password."));
            (StatusCode::UNAUTHORIZED, page).into_response()
        }
        Err(Error::RateLimited(usage)) => {
            let wait = [(header::RETRY_AFTER, usage.seconds_until_room().to_string())];
            let page = pages::log_in(Some("Too many attempts. Please try again later."));
            (StatusCode::TOO_MANY_REQUESTS, wait, page).into_response()
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

async fn open(
    app: &App,
    address: ClientIp,
    form: &BTreeMap<String, String>,
) -> nexus_common::Result<String> {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let login = Login::of(field("login")).ok_or(Error::BadCredentials)?;
    let user = login::with_password(app, address, &login, field("password").to_owned()).await?.id;
    let mut conn = app.db.acquire().await?;
    roles::require_admin(&mut conn, user).await?;
    login_networks::remember(&mut conn, user, &address.to_string()).await?;
    tracing::info!(operator = %user, "an operator has logged in");
    app.signer.access(user, None)
}

/// `POST /admin/logout`: revokes the token, as any logout does.
pub(super) async fn log_out(
    State(app): State<App>,
    headers: HeaderMap,
    operator: Acting,
) -> Result<Response, ApiError> {
    if let Some(token) = cookie(&headers) {
        let expires_at = app.signer.verify_access(token)?.expires_at;
        let (mut conn, storage) = (app.db.acquire().await?, app.settings.token_storage);
        sessions::revoke_access_token(&mut conn, operator.user, token, storage, expires_at).await?;
        drop(conn);
        app.tokens.revoke(token, tokens::ACCESS_VALID).await;
        revocations::revoked(&app, operator.user).await;
    }
    let gone = format!("{COOKIE}=; Path=/admin; Max-Age=0; HttpOnly; SameSite=Strict");
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/admin/login")).into_response())
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
        let found = |text| cookie(&headers(&[(header::COOKIE, text)])).map(str::to_owned);
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
