//! Twilio's HTTP routes: Verify under `/twilio-verify`, messages under `/twilio`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Form, FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use super::{Failure, OTHER_VERIFY_SID};
use crate::providers::provider_state::ProviderState;
use crate::providers::route::route;
use crate::providers::target::Target;

pub(crate) fn router(state: &Arc<ProviderState>) -> Router {
    let verifications = route(state, Target::TwilioVerify, post(send_code));
    let updates = route(state, Target::TwilioVerify, post(update));
    let checks = route(state, Target::TwilioCheck, post(check_code));
    let messages = route(state, Target::TwilioSms, post(send_message));
    Router::new()
        .route("/twilio-verify/v2/Services/{service}/Verifications", verifications)
        .route("/twilio-verify/v2/Services/{service}/Verifications/{sid}", updates)
        .route("/twilio-verify/v2/Services/{service}/VerificationCheck", checks)
        .route("/twilio/2010-04-01/Accounts/{account}/Messages.json", messages)
        .with_state(state.clone())
}

async fn send_code(
    State(state): State<Arc<ProviderState>>,
    Path(service): Path<String>,
    fields: Fields,
) -> Result<Created, Failure> {
    expect_service(&state, &service)?;
    let answer = state.twilio().send_code(&service, fields.get("To"), fields.get("Channel"))?;
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn update(
    State(state): State<Arc<ProviderState>>,
    Path((service, sid)): Path<(String, String)>,
    fields: Fields,
) -> Result<Json<Value>, Failure> {
    expect_service(&state, &service)?;
    state.twilio().update(&service, &sid, fields.get("Status")).map(Json)
}

async fn check_code(
    State(state): State<Arc<ProviderState>>,
    Path(service): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, Failure> {
    expect_service(&state, &service)?;
    state.twilio().check_code(&service, fields.get("To"), fields.get("Code")).map(Json)
}

async fn send_message(
    State(state): State<Arc<ProviderState>>,
    Path(account): Path<String>,
    fields: Fields,
) -> Result<Created, Failure> {
    expect_sid(&account, &state.config.twilio_account_sid, "Accounts")?;
    let from = [fields.get("MessagingServiceSid"), fields.get("From")]
        .into_iter()
        .find(|from| !from.is_empty());
    let answer =
        state.twilio().send_message(fields.get("To"), from.unwrap_or(""), fields.get("Body"))?;
    Ok((StatusCode::CREATED, Json(answer)))
}

type Created = (StatusCode, Json<Value>);

/// A form's fields; an absent one is empty.
struct Fields(HashMap<String, String>);

impl Fields {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Form(fields) =
            Form::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        Ok(Self(fields))
    }
}

fn expect_service(state: &ProviderState, found: &str) -> Result<(), Failure> {
    match found {
        OTHER_VERIFY_SID => Ok(()),
        _ => expect_sid(found, &state.config.twilio_verify_sid, "Services"),
    }
}

fn expect_sid(found: &str, ours: &str, kind: &str) -> Result<(), Failure> {
    if found == ours { Ok(()) } else { Err(Failure::not_found(&format!("/{kind}/{found}"))) }
}
