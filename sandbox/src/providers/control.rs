//! `/sandbox/…`: what people and scripts use to steer the stand-ins and to look inside. No
//! credentials needed.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::breaches;
use super::fault_injector::ActiveFault;
use super::mail::Mail;
use super::provider_state::ProviderState;
use super::razorpay::{
    Dispute, DisputeMove, OpenDispute, Order, Paid, Pay, Payment, Refund, Refusal,
};
use super::twilio::{Otp, Sms};
use super::webhooks::{Attempt, WebhookEvent};

const MAX_REPLAYS: usize = 100;

pub(crate) fn router(state: &Arc<ProviderState>) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("index.html"))))
        .route("/demo", get(async || Html(include_str!("demo.html"))))
        .route("/sandbox/pay", post(pay))
        .route("/sandbox/orders", get(orders))
        .route("/sandbox/payments", get(payments))
        .route("/sandbox/refunds", get(refunds).post(refund))
        .route("/sandbox/refunds/fail", post(fail_refunds))
        .route("/sandbox/disputes", get(disputes).post(open_dispute))
        .route("/sandbox/disputes/{id}", post(move_dispute))
        .route("/sandbox/webhooks", get(webhooks).post(send_webhook))
        .route("/sandbox/webhooks/replay", post(replay))
        .route("/sandbox/otp/{phone}", get(otp))
        .route("/sandbox/sms", get(sms))
        .route("/sandbox/mail", get(mail).delete(clear_mail))
        .route("/sandbox/breaches", post(breach))
        .route("/sandbox/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/sandbox/calls", get(calls).delete(clear_calls))
        .fallback(async || {
            Problem(StatusCode::NOT_FOUND, "no such route; GET / lists them".to_owned())
        })
        .with_state(state.clone())
}

type Sandbox = State<Arc<ProviderState>>;
type Body<T> = Result<Json<T>, JsonRejection>;
type ControlResult<T> = Result<Json<T>, Problem>;

async fn pay(State(state): Sandbox, body: Body<Pay>) -> ControlResult<Paid> {
    let Json(pay) = body?;
    Ok(Json(state.razorpay(|razorpay| razorpay.pay(&pay))?))
}

async fn orders(State(state): Sandbox) -> Json<Vec<Order>> {
    Json(state.razorpay(|razorpay| razorpay.orders()))
}

async fn payments(State(state): Sandbox) -> Json<Vec<Payment>> {
    Json(state.razorpay(|razorpay| razorpay.payments()))
}

async fn refunds(State(state): Sandbox) -> Json<Vec<Refund>> {
    Json(state.razorpay(|razorpay| razorpay.refunds()))
}

#[derive(Deserialize)]
struct FailRefunds {
    times: u32,
}

async fn fail_refunds(State(state): Sandbox, body: Body<FailRefunds>) -> ControlResult<Value> {
    let Json(FailRefunds { times }) = body?;
    state.razorpay(|razorpay| razorpay.fail_refunds(times));
    Ok(Json(json!({"failing": times})))
}

#[derive(Deserialize)]
struct ByHand {
    payment_id: String,
    amount: Option<i64>,
}

async fn refund(State(state): Sandbox, body: Body<ByHand>) -> ControlResult<Refund> {
    let Json(ByHand { payment_id, amount }) = body?;
    Ok(Json(state.refund_manually(&payment_id, amount)?))
}

async fn disputes(State(state): Sandbox) -> Json<Vec<Dispute>> {
    Json(state.razorpay(|razorpay| razorpay.disputes()))
}

async fn open_dispute(State(state): Sandbox, body: Body<OpenDispute>) -> ControlResult<Dispute> {
    let Json(open) = body?;
    Ok(Json(state.razorpay(|razorpay| razorpay.open_dispute(&open))?))
}

#[derive(Deserialize)]
struct Move {
    to: DisputeMove,
}

async fn move_dispute(
    State(state): Sandbox,
    Path(id): Path<String>,
    body: Body<Move>,
) -> ControlResult<Dispute> {
    let Json(Move { to }) = body?;
    Ok(Json(state.razorpay(|razorpay| razorpay.move_dispute(&id, to))?))
}

async fn webhooks(State(state): Sandbox) -> Json<Vec<WebhookEvent>> {
    Json(state.webhooks.list())
}

#[derive(Deserialize)]
struct OwnEvent {
    event: String,
    #[serde(default)]
    payload: Value,
}

async fn send_webhook(State(state): Sandbox, body: Body<OwnEvent>) -> ControlResult<Value> {
    let Json(OwnEvent { event, payload }) = body?;
    Ok(Json(json!({"event_id": state.emit(&event, payload)})))
}

#[derive(Deserialize)]
struct Replay {
    event_id: String,
    times: Option<usize>,
}

async fn replay(State(state): Sandbox, body: Body<Replay>) -> ControlResult<Vec<Attempt>> {
    let Json(Replay { event_id, times }) = body?;
    let times = times.unwrap_or(1).min(MAX_REPLAYS);
    let attempts = state.webhooks.replay(&state.calls, &event_id, times).await;
    attempts.map(Json).map_err(|error| Problem(StatusCode::NOT_FOUND, error.to_string()))
}

/// The plus may be missing, which is what becomes of it in careless shells and query encoders.
async fn otp(State(state): Sandbox, Path(phone): Path<String>) -> ControlResult<Otp> {
    let phone = format!("+{}", phone.trim().trim_start_matches('+'));
    let otp = state.twilio().otp(&state.config.twilio_verify_sid, &phone);
    otp.map(Json)
        .ok_or_else(|| Problem(StatusCode::NOT_FOUND, format!("no code was sent to {phone}")))
}

async fn sms(State(state): Sandbox) -> Json<Vec<Sms>> {
    Json(state.twilio().sms())
}

async fn mail(State(state): Sandbox) -> Json<Vec<Mail>> {
    Json(state.mailbox().iter().cloned().collect())
}

async fn clear_mail(State(state): Sandbox) -> StatusCode {
    state.mailbox().clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Breached {
    password: String,
}

async fn breach(State(state): Sandbox, body: Body<Breached>) -> ControlResult<Value> {
    let Json(Breached { password }) = body?;
    state.breached().push(breaches::hash(&password));
    Ok(Json(json!({"breached": state.breached().len()})))
}

async fn faults(State(state): Sandbox) -> Json<Vec<ActiveFault>> {
    Json(state.faults.list())
}

async fn add_fault(
    State(state): Sandbox,
    body: Body<ActiveFault>,
) -> ControlResult<Vec<ActiveFault>> {
    let Json(active) = body?;
    active.check().map_err(|why| Problem(StatusCode::BAD_REQUEST, why))?;
    state.faults.add(active);
    Ok(Json(state.faults.list()))
}

async fn clear_faults(State(state): Sandbox) -> StatusCode {
    state.faults.clear();
    StatusCode::NO_CONTENT
}

async fn calls(State(state): Sandbox) -> Json<Value> {
    Json(json!({"counts": state.calls.counts(), "calls": state.calls.newest()}))
}

async fn clear_calls(State(state): Sandbox) -> StatusCode {
    state.calls.clear();
    StatusCode::NO_CONTENT
}

/// A request to the sandbox itself that makes no sense.
struct Problem(StatusCode, String);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(
            StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST),
            refusal.description,
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}
