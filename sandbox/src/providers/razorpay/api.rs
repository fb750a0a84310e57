//! Razorpay's HTTP routes, under `/razorpay`. The rules behind them are in the parent module.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Dispute, DisputeMove, Order, Payment, Refund, Refusal};
use crate::providers::provider_state::ProviderState;
use crate::providers::route::{faulty, observed, route};
use crate::providers::target::Target;

type ApiResult<T> = Result<Json<T>, Refusal>;

pub(crate) fn router(state: &Arc<ProviderState>) -> Router {
    use Target::{
        RazorpayCapture, RazorpayList, RazorpayOrderFetch, RazorpayOrders, RazorpayPaymentFetch,
        RazorpayRefund, RazorpayRefundFetch,
    };
    let one_at_a_time = from_fn_with_state(state.clone(), one_refund_per_key_at_a_time);
    let refund = faulty(state, RazorpayRefund, post(create_refund)).layer(one_at_a_time);
    Router::new()
        .route("/razorpay/v1/orders", route(state, RazorpayOrders, post(create_order)))
        .route("/razorpay/v1/orders", route(state, RazorpayOrderFetch, get(find_orders)))
        .route("/razorpay/v1/orders/{id}", route(state, RazorpayOrderFetch, get(fetch_order)))
        .route(
            "/razorpay/v1/orders/{id}/payments",
            route(state, RazorpayOrderFetch, get(order_payments)),
        )
        .route("/razorpay/v1/payments", route(state, RazorpayList, get(list_payments)))
        .route("/razorpay/v1/payments/{id}", route(state, RazorpayPaymentFetch, get(fetch_payment)))
        .route("/razorpay/v1/payments/{id}/capture", route(state, RazorpayCapture, post(capture)))
        .route("/razorpay/v1/payments/{id}/refund", observed(state, RazorpayRefund, refund))
        .route(
            "/razorpay/v1/payments/{id}/refunds",
            route(state, RazorpayRefundFetch, get(payment_refunds)),
        )
        .route("/razorpay/v1/refunds", route(state, RazorpayList, get(list_refunds)))
        .route("/razorpay/v1/refunds/{id}", route(state, RazorpayRefundFetch, get(fetch_refund)))
        .route("/razorpay/v1/disputes", route(state, RazorpayList, get(list_disputes)))
        .route("/razorpay/v1/disputes/{id}", route(state, RazorpayList, get(fetch_dispute)))
        .route(
            "/razorpay/v1/disputes/{id}/accept",
            route(state, RazorpayList, post(accept_dispute)),
        )
        .with_state(state.clone())
}

async fn create_order(State(state): State<Arc<ProviderState>>, body: Bytes) -> ApiResult<Order> {
    let body = parse(&body)?;
    state.razorpay(|razorpay| razorpay.create_order(&body)).map(Json)
}

type Parameters = Query<HashMap<String, String>>;

async fn find_orders(
    State(state): State<Arc<ProviderState>>,
    Query(query): Parameters,
) -> Json<Value> {
    let orders =
        state.razorpay(|razorpay| razorpay.find_orders(query.get("receipt").map(String::as_str)));
    collection(page(&query, orders.into_iter()))
}

/// Created between `from` and `to`, newest first.
async fn list_payments(
    State(state): State<Arc<ProviderState>>,
    Query(query): Parameters,
) -> Json<Value> {
    let payments = state.razorpay(|razorpay| razorpay.payments()).into_iter().rev();
    collection(page(&query, payments.filter(|payment| is_between(&query, payment.created_at))))
}

async fn list_refunds(
    State(state): State<Arc<ProviderState>>,
    Query(query): Parameters,
) -> Json<Value> {
    let refunds = state.razorpay(|razorpay| razorpay.refunds()).into_iter().rev();
    collection(page(&query, refunds.filter(|refund| is_between(&query, refund.created_at))))
}

async fn list_disputes(
    State(state): State<Arc<ProviderState>>,
    Query(query): Parameters,
) -> Json<Value> {
    let disputes = state.razorpay(|razorpay| razorpay.disputes()).into_iter().rev();
    collection(page(&query, disputes.filter(|dispute| is_between(&query, dispute.created_at))))
}

async fn fetch_dispute(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
) -> ApiResult<Dispute> {
    state.razorpay(|razorpay| razorpay.dispute(&id)).map(Json)
}

/// To accept a dispute is to lose it.
async fn accept_dispute(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
) -> ApiResult<Dispute> {
    state.razorpay(|razorpay| razorpay.move_dispute(&id, DisputeMove::Lose)).map(Json)
}

async fn payment_refunds(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
) -> ApiResult<Value> {
    state.razorpay(|razorpay| razorpay.refunds_of(&id)).map(collection)
}

fn number<T: FromStr>(query: &HashMap<String, String>, name: &str) -> Option<T> {
    query.get(name).and_then(|value| value.parse().ok())
}

fn is_between(query: &HashMap<String, String>, created_at: i64) -> bool {
    number(query, "from").is_none_or(|from: i64| from <= created_at)
        && number(query, "to").is_none_or(|to: i64| created_at <= to)
}

/// `count` and `skip` work like Razorpay's: 10 unless said, 100 at most.
fn page<T>(query: &HashMap<String, String>, items: impl Iterator<Item = T>) -> Vec<T> {
    let count = number(query, "count").unwrap_or(10).min(100);
    items.skip(number(query, "skip").unwrap_or(0)).take(count).collect()
}

async fn fetch_order(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
) -> ApiResult<Order> {
    state.razorpay(|razorpay| razorpay.order(&id)).map(Json)
}

async fn order_payments(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
) -> ApiResult<Value> {
    state.razorpay(|razorpay| razorpay.payments_of(&id)).map(collection)
}

async fn fetch_payment(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
) -> ApiResult<Payment> {
    state.razorpay(|razorpay| razorpay.payment(&id)).map(Json)
}

async fn capture(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Payment> {
    let body = parse(&body)?;
    state.razorpay(|razorpay| razorpay.capture(&id, &body)).map(Json)
}

async fn create_refund(
    State(state): State<Arc<ProviderState>>,
    Path(payment_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult<Refund> {
    let body = parse(&body)?;
    let key = refund_key(&headers)?;
    let refund = state.razorpay(|razorpay| razorpay.refund(&payment_id, key.as_deref(), &body))?;
    state.process_later(&refund);
    Ok(Json(refund))
}

async fn fetch_refund(
    State(state): State<Arc<ProviderState>>,
    Path(id): Path<String>,
) -> ApiResult<Refund> {
    state.razorpay(|razorpay| razorpay.refund_by_id(&id)).map(Json)
}

/// A second request with a key whose first request is still being worked on is refused with 409.
/// Outside of the faults, so that a scripted delay counts as work; inside of the observer, which
/// sees the work through to its end, so that the key is always released.
async fn one_refund_per_key_at_a_time(
    State(state): State<Arc<ProviderState>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(Some(key)) = refund_key(request.headers()) else { return next.run(request).await };
    if !state.razorpay(|razorpay| razorpay.refunding.insert(key.clone())) {
        return Refusal::conflict(
            "Another request with the same X-Refund-Idempotency key is in progress",
        )
        .into_response();
    }
    let response = next.run(request).await;
    state.razorpay(|razorpay| razorpay.refunding.remove(&key));
    response
}

/// At least ten letters, digits, `-` or `_`.
fn refund_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("x-refund-idempotency") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.len() >= 10 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Ok(Some(key.to_owned()));
    }
    Err(Refusal::bad_request(
        "The X-Refund-Idempotency key must have 10 or more of A-Z, a-z, 0-9, - and _",
    ))
}

/// No body counts as an empty object.
fn parse(body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        _ => Err(Refusal::bad_request("The request body is not a JSON object")),
    }
}

fn collection<T: Serialize>(items: Vec<T>) -> Json<Value> {
    Json(json!({"entity": "collection", "count": items.len(), "items": items}))
}
