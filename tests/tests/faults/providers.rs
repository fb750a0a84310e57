//! Razorpay, Twilio and the mail server do not answer, or not in a way that makes sense.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use nexus_tests::{
    Booking, Client, Fault, Method, Outcome, Response, SOON, Stack, Target, eventually, json, seen,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::within;

/// No call to a provider takes longer.
const CALL: Duration = Duration::from_secs(10);
const FOREVER: Duration = Duration::from_secs(3_600);

/// How a server misbehaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Accepts connections, and that is all.
    Silent,
    /// Ends in the middle of a body, and keeps the connection.
    HalfABody,
    /// A byte now and then.
    Trickle,
    /// Closes in a way that loses what was on the way.
    Reset,
    /// A page that a proxy makes up.
    Html,
    /// JSON, and not what was asked for.
    OtherJson,
    Error,
    /// Its name is not known.
    Unknown,
}

impl Manner {
    const ALL: [Manner; 8] = [
        Manner::Silent,
        Manner::HalfABody,
        Manner::Trickle,
        Manner::Reset,
        Manner::Html,
        Manner::OtherJson,
        Manner::Error,
        Manner::Unknown,
    ];

    /// Starts a server that behaves so; where it is.
    async fn serve(self) -> String {
        if matches!(self, Manner::Unknown) {
            return "http://provider.invalid".to_owned();
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.answer(stream));
            }
        });
        url
    }

    async fn answer(self, mut stream: TcpStream) {
        let text = |status: &str, kind: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{\"id\":";
        let response = match self {
            Manner::Silent | Manner::Unknown => String::new(),
            Manner::HalfABody | Manner::Trickle => ok.to_owned(),
            Manner::Reset => {
                let _ = stream.read(&mut [0]).await;
                // Unread bytes make the close a reset rather than an end.
                return;
            }
            Manner::Html => text("200 OK", "text/html", "<h1>Welcome</h1>"),
            Manner::OtherJson => text("200 OK", "application/json", "{\"status\":7}"),
            Manner::Error => text("500 Internal Server Error", "application/json", "{}"),
        };
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(response.as_bytes()).await;
        while matches!(self, Manner::Trickle) && stream.write_all(b" ").await.is_ok() {
            sleep(Duration::from_millis(500)).await;
        }
        if matches!(self, Manner::Silent | Manner::HalfABody) {
            sleep(FOREVER).await;
        }
    }
}

fn assert_provider_failed(response: &Response) {
    response.failed(502, "The provider could not be reached. Please try again shortly.");
    assert_eq!(response.body["error"]["code"], "provider_failed", "{response}");
}

#[tokio::test]
async fn whatever_a_provider_answers_its_caller_is_answered_in_time_and_may_try_again() {
    let stack = Stack::start().await;
    let (event, _) = stack.on_sale().await;
    let buyers = stack.users(Manner::ALL.len()).await;
    let (mut apis, urls) = stack.further_apis(Manner::ALL.len(), &[]);
    for (n, manner) in Manner::ALL.into_iter().enumerate() {
        let provider = manner.serve().await;
        for name in ["RAZORPAY_API_URL", "TWILIO_VERIFY_URL"] {
            apis.process(n).set_env(name, &provider);
        }
    }
    apis.supervise();
    let cases = Manner::ALL.into_iter().zip(&buyers).zip(&urls).map(|((manner, buyer), url)| {
        let (stack, event) = (&stack, &event);
        async move {
            stack.until_ready_at(url).await;
            let label = format!("A{}", manner as usize);
            let booking = buyer.lock_and_book(event, &[("VIP", label.as_str())]).await;
            let there = buyer.clone().at(url);
            let login =
                json!({"phone": format!("98123456{:02}", manner as usize), "otp": "123456"});
            let confirm = async {
                let socket = stack.socket_with("the buyer", buyer, json!({"url": url})).await;
                let paid = json!({"booking_id": booking.id, "payment_id": "pay_0123456789abcd"});
                socket.emit("confirm_booking", &[paid]).await;
                socket
                    .wait_for(
                        "confirm_booking_response",
                        |response| response["success"] == false,
                        2 * CALL,
                    )
                    .await
            };
            let (order, login, confirm) = tokio::join!(
                within(CALL, there.try_order(&booking)),
                within(CALL, there.post("/auth/verify-otp", login)),
                confirm,
            );
            assert_provider_failed(&order);
            assert_provider_failed(&login);
            assert_eq!(
                confirm["error"], "The provider could not be reached. Please try again shortly.",
                "{manner:?}"
            );
            // Once the provider behaves, the same request works.
            buyer.order(&booking).await;
        }
    });
    join_all(cases).await;
    let orders = stack.count("payment_orders").await;
    assert_eq!(orders, Manner::ALL.len() as i64);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn calls_that_hang_hold_no_connection() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let provider = format!("http://{}", silent.local_addr().unwrap());
    let settings = [
        ("DATABASE_MAX_CONNECTIONS", "2"),
        ("RAZORPAY_API_URL", provider.as_str()),
        ("TWILIO_VERIFY_URL", provider.as_str()),
    ];
    let (mut apis, urls) = stack.further_apis(1, &settings);
    apis.supervise();
    stack.until_ready_at(&urls[0]).await;
    let mut orders = Vec::new();
    for (n, buyer) in stack.users(20).await.into_iter().enumerate() {
        let booking = buyer.lock_and_book(&event, &[("VIP", format!("A{n}").as_str())]).await;
        orders.push((buyer.at(&urls[0]), booking));
    }
    let order = async |buyer: &Client, booking: &Booking| {
        let keyed = buyer
            .request(Method::POST, "/payments/create-order")
            .header("idempotency-key", "the-only-order");
        let wanted = json!({"booking_id": booking.id, "amount": booking.total, "currency": "INR"});
        Response::to(keyed.json(&wanted)).await
    };
    let hanging = join_all(orders.iter().enumerate().map(async |(n, (buyer, booking))| {
        let login = json!({"phone": format!("98123456{:02}", n + 10), "otp": "123456"});
        tokio::join!(
            within(CALL, order(buyer, booking)),
            within(CALL, buyer.post("/auth/verify-otp", login))
        )
    }));
    let others = async {
        let mut calls = Vec::new();
        while calls.len() < 40 {
            calls.push(silent.accept().await.unwrap());
        }
        for _ in 0..20 {
            organiser.clone().at(&urls[0]).get("/events").await.ok();
        }
        let transactions = "pg_stat_activity WHERE application_name = 'nexus-api' AND state LIKE 'idle in transaction%'";
        assert_eq!(stack.count(transactions).await, 0);
        calls
    };
    // The calls hang until they are given up: jobs that were done before that were done beside
    // them.
    let (responses, calls) = tokio::join!(hanging, others);
    assert_eq!(calls.len(), 40);
    for (order, login) in &responses {
        assert_provider_failed(order);
        assert_provider_failed(login);
    }
    for (buyer, booking) in &orders {
        order(&buyer.clone().at(&stack.api_url(0)), booking).await.ok();
    }
    assert_eq!(stack.count("payment_orders").await, 20);
}

#[tokio::test]
async fn jobs_whose_calls_are_never_answered_are_tried_again_and_have_one_effect() {
    let stack = Stack::start().await;
    let (event, buyer) = stack.on_sale().await;
    let (cancelled, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    stack.until_tickets(&buyer, &cancelled, 1).await;
    for target in
        [Target::RazorpayCapture, Target::RazorpayRefund, Target::TwilioVerify, Target::Smtp]
    {
        stack.providers.fault(target, Some(1), Fault::delay_response(FOREVER));
    }
    // Only the authorization's webhook: that of the capture would confirm, too.
    let booking = buyer.lock_and_book(&event, &[("VIP", "A2")]).await;
    let order = buyer.order(&booking).await;
    stack.providers.fault(Target::Webhook, Some(1), Fault::duplicated(0));
    stack.providers.fault(Target::Webhook, Some(1), Fault::lost());
    stack.pay(&order, Outcome::Authorized);
    buyer.cancel(&cancelled).await.ok();
    stack.anonymous().post("/auth/send-otp", json!({"phone": "9812345678"})).await.ok();
    eventually("everything has been tried again", 4 * CALL, async || {
        let states = "SELECT status, payment_status FROM bookings ORDER BY id";
        let states = stack.rows(states).await;
        let all = json!([{"status": "cancelled", "payment_status": "refunded"}, {"status": "confirmed", "payment_status": "completed"}]);
        seen(json!(states) == all, states).map(drop)
    })
    .await;
    // A mail may hang until its time limit, and the next try as long, for its connection's end to
    // be answered.
    eventually("no job is left", 12 * CALL, async || {
        let left = stack
            .rows(
                "SELECT kind, state, errors FROM jobs WHERE state IN ('queued', 'running', 'dead')
            OR (state = 'pending' AND attempt > 0)",
            )
            .await;
        seen(left.is_empty(), left).map(drop)
    })
    .await;
    for kind in ["process_webhook", "refund_payment", "send_otp"] {
        let tried = stack
            .count(&format!("jobs WHERE kind = '{kind}' AND state = 'done' AND attempt > 1"))
            .await;
        assert_eq!(tried, 1, "jobs of kind {kind} that were tried again");
    }
    assert_eq!(stack.count("payments WHERE kind = 'capture'").await, 2);
    assert_eq!(stack.providers.refunds().len(), 1);
    assert_eq!(stack.count("payments WHERE kind = 'refund'").await, 1);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn slow_refunds_leave_slots_to_confirmations_and_slow_mail_to_sms() {
    let stack = Stack::builder().env("WORKER_CONCURRENCY", 2).start().await;
    let (event, buyer) = stack.on_sale().await;
    stack.set_phone(&buyer, "+919800000001").await;
    for slow in [Target::RazorpayRefund, Target::Smtp] {
        stack.providers.fault(slow, None, Fault::delay(FOREVER));
    }
    // More than there are slots, and than Redis holds for them.
    stack
        .execute(
            "WITH owed AS (
                 INSERT INTO refunds (payment_id, amount_paise, currency, reason)
                 SELECT 'pay_slow' || n, 100, 'INR', 'seats_gone' FROM generate_series(1, 80) n RETURNING id)
             INSERT INTO jobs (id, queue, kind, priority, payload, max_attempts)
             SELECT gen_random_uuid(), 'payments', 'refund_payment', 10, jsonb_build_object('refund_id', id), 14 FROM owed",
        )
        .await;
    let busy = "jobs WHERE kind = 'refund_payment' AND state IN ('queued', 'running')";
    eventually("a refund is being made", SOON, async || {
        let busy = stack.count(busy).await;
        seen(busy > 0, busy).map(drop)
    })
    .await;
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    assert!(stack.count(busy).await <= 1, "the other slot is not theirs");

    for label in ["A2", "A3", "A4"] {
        stack.sell(&buyer, &event, &[("VIP", label)]).await;
    }
    eventually("every SMS is sent", SOON, async || {
        let sent = "jobs WHERE kind = 'sms_tickets' AND state = 'done'";
        let sent = stack.count(sent).await;
        seen(sent == 4, sent).map(drop)
    })
    .await;
    let mails = "jobs WHERE kind = 'email_tickets' AND state IN ('queued', 'running')";
    assert!(stack.count(mails).await <= 1, "the other slot is not theirs");
}
