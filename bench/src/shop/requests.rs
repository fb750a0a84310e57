//! The requests of buyers.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::http::{Connection, Request};

/// An event with one seat type.
#[derive(Debug, Clone, Copy)]
pub struct OnSale {
    /// `events.id`
    pub event: i32,
    /// `event_seat_types.id`
    pub seat_type: i32,
}

/// Locks a seat.
pub fn lock(on_sale: OnSale, label: &str, token: &str) -> Request {
    let path = format!("seats/{}/seat-types/{}/lock", on_sale.event, on_sale.seat_type);
    Request::post(&path, Some(token), &json!({ "seat_label": label }).to_string())
}

/// Books a seat that is locked.
pub fn book(on_sale: OnSale, label: &str, token: &str) -> Request {
    let seat = json!({ "seat_label": label, "seat_type_id": on_sale.seat_type });
    let body = json!({ "event_id": on_sale.event, "seat_details": [seat] });
    Request::post("bookings/create", Some(token), &body.to_string())
}

/// Makes an order that pays for a booking, whose response is `booked`.
pub fn order(booked: &Value, token: &str) -> Request {
    let body = json!({ "booking_id": booked["data"]["booking"]["id"], "amount": 100 });
    Request::post("payments/create-order", Some(token), &body.to_string())
}

/// Locks, books and orders a seat; returns the order's id.
pub async fn buy(
    connection: &mut Connection,
    on_sale: OnSale,
    label: &str,
    token: &str,
) -> Result<String> {
    connection.call(&lock(on_sale, label, token)).await?.success()?;
    let booked = connection.call(&book(on_sale, label, token)).await?.json()?;
    let ordered = connection.call(&order(&booked, token)).await?.json()?;
    order_id(&ordered)
}

/// The id of an order, from the response to its request.
pub fn order_id(ordered: &Value) -> Result<String> {
    let id = ordered["data"]["order_id"].as_str();
    Ok(id.with_context(|| ordered.to_string())?.to_owned())
}
