//! A CAPTCHA service, in the form that Turnstile, hCaptcha and reCAPTCHA share, under
//! `/captcha/siteverify`: a token that begins with `person` is a person's, one that begins with
//! `program` a program's, both are good once, and there are no others.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Form, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::provider_state::ProviderState;
use super::route::open_route;
use super::target::Target;

/// What the service and its customer know.
pub(crate) const SECRET: &str = "captcha-secret-of-the-sandbox";

pub(crate) fn router(state: &Arc<ProviderState>) -> Router {
    let verify = open_route(state, Target::CaptchaVerify, post(verify));
    Router::new().route("/captcha/siteverify", verify).with_state(state.clone())
}

#[derive(Deserialize)]
struct Question {
    secret: Option<String>,
    response: Option<String>,
}

async fn verify(
    State(state): State<Arc<ProviderState>>,
    Form(asked): Form<Question>,
) -> Json<Value> {
    let refused = |code: &str| Json(json!({ "success": false, "error-codes": [code] }));
    match asked.secret.as_deref() {
        None | Some("") => return refused("missing-input-secret"),
        Some(secret) if secret != SECRET => return refused("invalid-input-secret"),
        Some(_) => {}
    }
    let Some(token) = asked.response.filter(|token| !token.is_empty()) else {
        return refused("missing-input-response");
    };
    let score = match () {
        () if token.starts_with("person") => 0.9,
        () if token.starts_with("program") => 0.1,
        () => return refused("invalid-input-response"),
    };
    if !state.captchas().insert(token) {
        return refused("timeout-or-duplicate");
    }
    Json(json!({ "success": true, "score": score, "hostname": "localhost", "error-codes": [] }))
}
