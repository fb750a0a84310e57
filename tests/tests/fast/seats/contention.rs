//! Many buyers want the same seats at the same moment.

use std::time::Duration;

use nexus_tests::{Booking, Client, Event, Response, Stack, json};
use tokio::task::JoinSet;

/// A request without a response after this hangs.
const NOBODY_WAITS_LONGER: Duration = Duration::from_secs(20);

/// All at once; returns the responses, in any order.
async fn at_once<F: Future<Output = Response> + Send + 'static>(
    requests: impl IntoIterator<Item = F>,
) -> Vec<Response> {
    let mut running: JoinSet<Response> = requests.into_iter().collect();
    let mut responses = Vec::new();
    while let Some(response) = running.join_next().await {
        responses.push(response.unwrap());
    }
    responses
}

fn lock(
    buyer: Client,
    event: &Event,
    label: String,
) -> impl Future<Output = Response> + Send + 'static {
    let event = event.clone();
    async move {
        let locking = buyer.lock(&event, "VIP", &label);
        let response = tokio::time::timeout(NOBODY_WAITS_LONGER, locking).await;
        response.unwrap_or_else(|_| {
            panic!("the lock of {label} was not answered in {NOBODY_WAITS_LONGER:?}")
        })
    }
}

/// Checks that `winners` of the responses are successes, and that all others are refused with 409
/// and this message.
fn assert_won(responses: &[Response], winners: usize, refusal: &str) {
    let (won, lost): (Vec<_>, Vec<_>) =
        responses.iter().partition(|response| response.status == 200);
    lost.iter().for_each(|response| response.failed(409, refusal));
    assert_eq!(won.len(), winners, "winners of {}", responses.len());
}

/// Spreads the users over these addresses.
fn spread(buyers: Vec<Client>, urls: &[String]) -> Vec<Client> {
    buyers.into_iter().zip(urls.iter().cycle()).map(|(buyer, url)| buyer.at(url)).collect()
}

async fn two_hundred_want_one_seat(stack: &Stack, urls: &[String]) {
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 500)]).await;
    let buyers = spread(stack.users(200).await, urls);
    let responses = at_once(buyers.into_iter().map(|buyer| lock(buyer, &event, "A1".into()))).await;
    assert_won(&responses, 1, "Seat A1 is already taken. Please select another seat.");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 499);
}

/// The seat type is cold: no request has named it before.
async fn sixty_four_want_fifty_seats(stack: &Stack, urls: &[String]) {
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyers = spread(stack.users(64).await, urls);
    let requests =
        buyers.into_iter().enumerate().map(|(n, buyer)| lock(buyer, &event, format!("S{n}")));
    let responses = at_once(requests).await;
    assert_won(&responses, 50, "No seats available for this seat type");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 0);
}

#[tokio::test]
async fn one_of_two_hundred_gets_the_seat() {
    let stack = Stack::builder().workers([]).start().await;
    two_hundred_want_one_seat(&stack, &[stack.api_url(0)]).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_type_sells_out_exactly() {
    let stack = Stack::builder().workers([]).start().await;
    sixty_four_want_fifty_seats(&stack, &[stack.api_url(0)]).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn two_api_processes_sell_no_seat_twice() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let urls = [stack.api_url(0), stack.api_url(1)];
    two_hundred_want_one_seat(&stack, &urls).await;
    sixty_four_want_fifty_seats(&stack, &urls).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn without_redis_postgresql_decides_alone() {
    let mut stack = Stack::builder().workers([]).api_processes(2).start().await;
    stack.redis.kill().await.unwrap();
    let urls = [stack.api_url(0), stack.api_url(1)];
    two_hundred_want_one_seat(&stack, &urls).await;
    sixty_four_want_fifty_seats(&stack, &urls).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn nobody_holds_more_tickets_than_the_event_allows() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50), ("Standard", 10.0, 50)]).await;
    organiser.put(&format!("/events/{}", event.id), json!({"max_tickets_per_user": 4})).await.ok();
    let buyer = stack.user().await;
    let urls = [stack.api_url(0), stack.api_url(1)];
    let twins = spread(vec![buyer.clone(); 20], &urls).into_iter().enumerate();
    let responses = at_once(twins.map(|(n, twin)| lock(twin, &event, format!("S{n}")))).await;
    let refusal = "You can hold at most 4 ticket(s) for this event";
    assert_won(&responses, 4, refusal);

    // Pending bookings count, in every seat type of the event; cancelled ones do not.
    let won = responses.iter().filter(|response| response.status == 200);
    let labels: Vec<&str> =
        won.map(|response| response.body["data"]["lock"]["seat_label"].as_str().unwrap()).collect();
    let seats: Vec<_> = labels.iter().map(|label| ("VIP", *label)).collect();
    let booking = Booking::from_created(&buyer.book(&event, &seats).await.data());
    buyer.lock(&event, "Standard", "S1").await.failed(409, refusal);
    buyer.cancel(&booking).await.ok();
    buyer.lock(&event, "Standard", "S1").await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn one_of_ten_bookings_of_the_same_seats_is_made_and_one_of_ten_cancellations_counts() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    for label in ["A1", "A2"] {
        buyer.lock(&event, "VIP", label).await.ok();
    }
    let book = |_| {
        let (buyer, event) = (buyer.clone(), event.clone());
        async move { buyer.book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await }
    };
    let responses = at_once((0..10).map(book)).await;
    assert_won(
        &responses,
        1,
        "One or more seats are already linked to another booking. Please lock the seats again.",
    );

    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let made = responses.into_iter().find(|response| response.status == 200).unwrap();
    let booking = Booking::from_created(&made.data());
    let cancel = |_| {
        let (buyer, booking) = (buyer.clone(), booking.clone());
        async move { buyer.cancel(&booking).await }
    };
    let responses = at_once((0..10).map(cancel)).await;
    let messages: Vec<_> =
        responses.into_iter().map(|response| response.data()["message"].to_string()).collect();
    let count = |text: &str| messages.iter().filter(|message| message.contains(text)).count();
    let counts = (count("Booking cancelled successfully"), count("Booking is already cancelled"));
    assert_eq!(counts, (1, 9), "{messages:?}");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);

    // All earlier broadcasts have arrived with this one.
    organiser.put(&format!("/events/{}", event.id), json!({"location": "Pune"})).await.ok();
    viewer.wait_for_any("event_updated").await;
    assert_eq!(viewer.received("booking_cancelled").len(), 1, "{}", viewer.describe());
    assert_eq!(viewer.received("seat_unlocked").len(), 2, "{}", viewer.describe());
    stack.assert_invariants().await;
}

#[tokio::test]
async fn lowering_the_quantity_during_the_rush_oversells_nothing() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 60)]).await;
    let path = format!("/seats/{}/seat-types/{}", event.id, event.seat_type("VIP"));
    let mut requests = JoinSet::new();
    for (n, buyer) in stack.users(60).await.into_iter().enumerate() {
        requests.spawn(lock(buyer, &event, format!("S{n}")));
        if n % 12 == 6 {
            let (organiser, path) = (organiser.clone(), path.clone());
            requests.spawn(async move { organiser.put(&path, json!({"quantity": 30})).await });
        }
    }
    let (mut locked, mut lowered) = (0, 0);
    while let Some(response) = requests.join_next().await {
        let response = response.unwrap();
        match (response.request.starts_with("PUT"), response.status) {
            (true, 200) => lowered += 1,
            (true, _) => {
                let sentence = response.message().starts_with("Quantity cannot be less than the ");
                assert!(response.status == 409 && sentence, "{response}");
            }
            (false, 200) => locked += 1,
            (false, _) => response.failed(409, "No seats available for this seat type"),
        }
    }
    let quantity = if lowered > 0 { 30 } else { 60 };
    assert_eq!(locked, quantity, "seats locked of {quantity}");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 0);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_is_given_back_or_booked_and_never_both() {
    const BUYERS: usize = 20;
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let mut buying = JoinSet::new();
    for (n, buyer) in stack.users(BUYERS).await.into_iter().enumerate() {
        let (event, label) = (event.clone(), format!("S{n}"));
        buying.spawn(async move {
            let lock = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
            for _ in 0..15 {
                buyer.lock(&event, "VIP", &label).await.ok();
                let unlocking = format!("{lock}?seat_label={label}");
                let seats = [("VIP", label.as_str())];
                let (unlocked, booked) =
                    tokio::join!(buyer.delete(&unlocking), buyer.book(&event, &seats));
                let won = (unlocked.status == 200, booked.status == 200);
                assert!(won.0 != won.1, "{unlocked} and {booked}");
                if won.1 {
                    buyer.cancel(&Booking::from_created(&booked.data())).await.ok();
                }
            }
            buyer.lock_and_book(&event, &[("VIP", &label)]).await;
        });
    }
    buying.join_all().await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50 - BUYERS as i64);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_that_nobody_may_book_any_more_is_not_locked() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    stack.execute("UPDATE events SET start_date = now()").await;
    let refusal = "Event is not available for booking";
    stack.user().await.lock(&event, "VIP", "A1").await.failed(409, refusal);
    assert_eq!(stack.count("seats").await, 0);
}
