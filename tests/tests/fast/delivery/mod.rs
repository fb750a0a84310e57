//! What buyers get of their tickets, and what they are told of their event.

mod bounces;
mod files;
mod notices;
mod templates;
mod time_zones;
mod wallets;

pub(crate) use wallets::builder as with_wallets;

use nexus_tests::{Booking, Client, Event, Stack, Value};

/// A sale whose tickets have been made, and mailed.
async fn delivered(stack: &Stack, label: &str) -> (Client, Event, Booking, Vec<Value>) {
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 1500.5, 50)]).await;
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", label)]).await;
    let tickets = stack.until_tickets(&buyer, &booking, 1).await;
    stack.mailed(&stack.address(&buyer).await, "Your tickets").await;
    (buyer, event, booking, tickets)
}
