//! The scanner page in a real browser, whose camera shows the picture of a ticket from its buyer's
//! mail: with a network, without one, and back.

use nexus_tests::qr::Picture;
use nexus_tests::{
    Booking, Browser, Client, Event, Page, SOON, Stack, Value, eventually, json, seen,
};

/// An event with one sold ticket, which is in a mail, and a browser that looks at it.
struct AtTheDoor {
    stack: Stack,
    organiser: Client,
    event: Event,
    buyer: Client,
    booking: Booking,
    browser: Browser,
}

impl AtTheDoor {
    async fn start() -> Self {
        let stack =
            Stack::builder().workers(["payments", "bookings", "notifications"]).start().await;
        let (organiser, buyer) = (stack.user().await, stack.user().await);
        let event = stack.event(&organiser, &[("VIP", 100.0, 5), ("Balcony", 50.0, 5)]).await;
        let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
        let mail = eventually("the ticket is mailed", SOON, async || {
            stack.providers.mail().pop().ok_or_else(|| "none".to_owned())
        });
        let picture = Picture::of_png(&mail.await.attachments[0].content());
        let browser = Browser::with_camera(&picture).await;
        Self { stack, organiser, event, buyer, booking, browser }
    }

    fn page(&self) -> Page<'_> {
        self.browser.page(0)
    }

    fn path(&self, rest: &str) -> String {
        format!("/events/{}/{rest}", self.event.id)
    }

    /// Opens the page with a new door key.
    async fn open(&self, gate: Option<i64>) -> Value {
        let key = json!({"name": "a phone", "gate_id": gate});
        let key = self.organiser.post(&self.path("door-keys"), key).await.data();
        let url = format!("{}{}", self.stack.api_url(0), key["scan_path"].as_str().unwrap());
        self.page().act("goto", json!([url])).await;
        self.until("h1", "Monsoon Jazz Night").await;
        self.until("#when", "(Asia/Kolkata)").await;
        key
    }

    /// Waits until the page says something there.
    async fn until(&self, place: &str, said: &str) -> String {
        eventually(&format!("{place} says {said}"), SOON, async || {
            let text = self.page().act("innerText", json!([place, {"timeout": 1_000}])).await;
            seen(text.contains(said), &text).cloned()
        })
        .await
    }

    async fn click(&self, what: &str) {
        let wrong = self.page().act("click", json!([what, {"timeout": 10_000}])).await;
        assert_eq!(wrong, "", "a click on {what}");
    }

    async fn entries(&self) -> i64 {
        self.stack.count("check_ins WHERE undone_at IS NULL").await
    }

    async fn until_entries(&self, count: i64) {
        let entries = async || seen(self.entries().await == count, "others").map(drop);
        eventually(&format!("{count} are in"), SOON, entries).await;
    }
}

#[tokio::test]
async fn a_ticket_is_scanned_from_the_picture_in_its_mail() {
    let door = AtTheDoor::start().await;
    let gate = door.organiser.post(&door.path("gates"), json!({"name": "North"})).await.data();
    let key = door.open(gate["gate"]["id"].as_i64()).await;
    let token = key["token"].as_str().unwrap();
    let address = door.page().act("evaluate", json!(["location.href"])).await;
    assert!(address.ends_with("/scan"), "{address}");
    door.until("#status", "North · 0 of 1 in").await;

    // Somebody whose phone is flat, found by hand; a mistake, and undone.
    door.stack
        .execute(&format!("UPDATE users SET name = 'Asha Rao' WHERE id = {}", door.buyer.id))
        .await;
    assert_eq!(door.page().act("fill", json!(["#q", "asha"])).await, "");
    door.click("#search button").await;
    door.until("#found", "Asha Rao · VIP A1").await;
    door.click("#found button").await;
    door.until("#ticket", "Asha Rao").await;
    door.until_entries(1).await;
    eventually("the verdict goes by itself", SOON, async || {
        let shown = door.page().act("evaluate", json!(["String(verdict.hidden)"])).await;
        seen(shown == "true", shown)
    })
    .await;
    door.click("#undo").await;
    door.until_entries(0).await;

    door.click("#start").await;
    door.until("#result", "Come in").await;
    assert!(door.until("#ticket", &door.booking.reference).await.contains("VIP A1"));
    door.until_entries(1).await;
    // The ticket is taken away, and shown again.
    door.until("#result", "Used already").await;
    door.until("#message", "North").await;
    door.click("#next").await;
    assert!(!door.stack.logs().into_values().any(|log| log.contains(token)), "no key in a log");
}

#[tokio::test]
async fn the_page_opens_and_checks_tickets_without_a_network_and_uploads_them_later() {
    let mut door = AtTheDoor::start().await;
    door.open(None).await;
    door.until("#status", "0 of 1 in").await;
    eventually("the page is kept", SOON, async || {
        let script = "navigator.serviceWorker.ready.then((ready) => ready.active.state)";
        let state = door.page().act("evaluate", json!([script])).await;
        seen(state == "activated", state)
    })
    .await;
    door.stack.api(0).kill_9().await;
    let wrong = door.page().act("reload", json!([])).await;
    assert_eq!(wrong, "", "the page opens without a network");
    door.until("#status", "no network").await;
    door.click("#start").await;
    door.until("#result", "Come in").await;
    door.until("#message", "Checked without a network").await;
    door.until("#status", "1 to be uploaded").await;
    door.until("#result", "Used already").await;
    // Nothing is lost with the page.
    door.page().act("reload", json!([])).await;
    door.until("#status", "1 to be uploaded").await;
    door.click("#start").await;
    door.until("#result", "Used already").await;
    assert_eq!(door.entries().await, 0);

    door.stack.restart_api(0).await;
    door.stack.until_ready(0).await;
    door.page().act("evaluate", json!(["dispatchEvent(new Event('online'))"])).await;
    door.until_entries(1).await;
    let status = door.until("#status", "1 of 1 in").await;
    assert!(!status.contains("upload") && !status.contains("no network"), "{status}");
    assert_eq!(door.stack.count("check_ins WHERE conflict IS NOT NULL").await, 0);
}
