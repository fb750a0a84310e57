//! Traces: one trace spans a request, the job that it enqueued and the broadcast of that job; and
//! no process ever waits for a collector.

use std::time::{Duration, Instant};

use nexus_tests::collector::{Collector, Span};
use nexus_tests::stack::Builder;
use nexus_tests::{Fault, Method, Outcome, Response, SOON, Stack, Target, eventually, json, seen};

/// A trace that a client began.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// An installation whose processes export their spans, soon.
async fn traced(collector: &Collector, builder: Builder) -> Stack {
    let builder = builder.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    builder.env("OTEL_BSP_SCHEDULE_DELAY", 100).start().await
}

fn named<'a>(name: &'a str, trace: &'a str) -> impl Fn(&Span) -> bool {
    move |span| span.name == name && span.trace == trace
}

#[tokio::test]
async fn one_trace_spans_the_request_its_job_and_the_broadcast() {
    let collector = Collector::start().await;
    let stack = traced(&collector, Stack::builder()).await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;

    // Back from the broadcast to what caused it.
    let heard = |span: &Span| span.name == "broadcast booking_confirmed";
    let broadcast = collector.span("the broadcast", heard).await;
    let trace = &broadcast.trace;
    let job = collector.span("the job", named("job process_webhook", trace)).await;
    let request =
        collector.span("the request", named("POST /api/v1/payments/webhook", trace)).await;
    assert_eq!(
        (&broadcast.parent, &job.parent),
        (&job.id, &request.id),
        "{:#?}",
        collector.spans()
    );
    assert_eq!(broadcast.service, "nexus-worker-payments");
    assert_eq!(job.service, "nexus-worker-payments");
    assert_eq!(request.service, "nexus-api");
    assert_eq!(request.attribute("http.response.status_code"), Some("200"));
    assert_eq!(job.attribute("nexus.outcome"), Some("done"));

    // On to what it led to: the job that the job enqueued, and the one that this enqueued.
    let tickets = collector.span("the tickets' job", named("job finalise_booking", trace)).await;
    let mail = collector.span("the mail's job", named("job email_tickets", trace)).await;
    assert_eq!((&tickets.parent, &mail.parent), (&job.id, &tickets.id), "{:#?}", collector.spans());
    assert_eq!(mail.service, "nexus-worker-notifications");
}

#[tokio::test]
async fn a_callers_trace_is_continued_and_a_failed_attempt_is_seen_in_it() {
    let collector = Collector::start().await;
    let stack = traced(&collector, Stack::builder().workers(["otp"])).await;
    stack.providers.fault(Target::TwilioVerify, None, Fault::status(403));
    let request = stack.anonymous().request(Method::POST, "/auth/send-otp");
    let request =
        request.header("traceparent", traceparent()).json(&json!({"phone": "+919811111111"}));
    Response::to(request).await.ok();
    let request = collector.span("the request", named("POST /api/v1/auth/send-otp", TRACE)).await;
    let job = collector.span("the job", named("job send_otp", TRACE)).await;
    assert_eq!((request.parent.as_str(), &job.parent), (CALLER, &request.id));
    assert_eq!(
        (job.attribute("nexus.outcome"), job.failed, request.failed),
        (Some("dead"), true, false)
    );
    let call = collector.span("the call", named("call Twilio", TRACE)).await;
    assert_eq!((&call.parent, call.failed), (&job.id, true));

    // Where operators look, they find the trace.
    let id = job.attribute("nexus.job.id").expect("the job's id");
    let shown = stack.jobs_cli_ok(&["show", id]).await;
    assert!(shown.contains(&format!("trace       {TRACE}\n")), "{shown}");
}

#[tokio::test]
async fn a_sockets_command_is_a_trace_of_its_own_or_that_which_its_payload_names() {
    let collector = Collector::start().await;
    let stack = traced(&collector, Stack::builder().workers([])).await;
    let buyer = stack.user().await;
    let event = stack.event(&buyer, &[("VIP", 1500.0, 10)]).await;
    let socket = stack.socket("buyer", &buyer).await;
    let mut seat =
        json!({"eventId": event.id, "seatTypeId": event.seat_types[0].1, "seat_label": "V1"});
    socket.call_ok("lock_seat", seat.clone()).await;
    let own = collector.span("the command", |span| span.name == "command lock_seat").await;
    assert_eq!((own.parent.as_str(), own.attribute("nexus.outcome")), ("", Some("ok")));
    let broadcast =
        collector.span("its broadcast", named("broadcast seat_locked", &own.trace)).await;
    assert_eq!(broadcast.parent, own.id);

    seat["traceparent"] = json!(traceparent());
    seat["seat_label"] = json!("V2");
    socket.call_ok("lock_seat", seat).await;
    let given = collector.span("the second command", named("command lock_seat", TRACE)).await;
    assert_eq!(given.parent, CALLER);
}

#[tokio::test]
async fn without_a_collector_the_ids_are_passed_on_all_the_same() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let send = |phone: &str, traceparent: &str| {
        let request = stack.anonymous().request(Method::POST, "/auth/send-otp");
        Response::to(request.header("traceparent", traceparent).json(&json!({"phone": phone})))
    };
    send("+919811111111", &traceparent()).await.ok();
    send("+919822222222", "00-0-0-nonsense").await.ok();
    let jobs = stack.rows("SELECT trace_context FROM jobs ORDER BY id").await;
    assert_eq!(jobs[0]["trace_context"], json!(traceparent()));
    let made = jobs[1]["trace_context"].as_str().expect("a trace of its own");
    assert!(made.len() == 55 && made != traceparent(), "{made}");
}

#[tokio::test]
async fn a_service_may_have_another_name_and_what_is_left_is_exported_at_the_end() {
    let collector = Collector::start().await;
    let stack = Stack::builder().workers([]).env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    // Never, but for the end.
    let stack =
        stack.env("OTEL_BSP_SCHEDULE_DELAY", 600_000).env("OTEL_SERVICE_NAME", "tickets-api");
    let mut stack = stack.start().await;
    stack.anonymous().get("/events").await.ok();
    assert_eq!(collector.spans(), []);
    stack.api(0).stop().await;
    let span = collector.span("the request", |span| span.name == "GET /api/v1/events").await;
    assert_eq!(span.service, "tickets-api");
}

#[tokio::test]
async fn a_collector_that_never_answers_changes_nothing() {
    let collector = Collector::hanging().await;
    let builder = Stack::builder().env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    // Full at once: nothing may wait for room.
    let builder = builder.env("OTEL_BSP_SCHEDULE_DELAY", 10).env("OTEL_BSP_MAX_QUEUE_SIZE", 4);
    let mut stack = builder.env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 2).start().await;
    eventually("the collector is asked, and hangs", SOON, async || {
        stack.anonymous().get("/events").await.ok();
        seen(collector.requests() > 0, collector.requests())
    })
    .await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 2).await;
    assert_eq!(collector.spans(), [], "it has answered nothing");
    stack.assert_invariants().await;

    for queue in ["payments", "bookings"] {
        let asked = Instant::now();
        assert_eq!(stack.worker(queue).stop().await.code(), Some(0));
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{queue} took {:?} to leave",
            asked.elapsed()
        );
    }
    let asked = Instant::now();
    assert_eq!(stack.api(0).stop().await.code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "the API took {:?} to leave",
        asked.elapsed()
    );
}
