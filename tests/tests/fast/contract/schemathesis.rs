//! Schemathesis (PyPI) reads the OpenAPI document and sends every operation what it asks for, what
//! it almost asks for and what it does not ask for at all. Every response has to be one that the
//! document knows; `tests/clients/schemathesis.toml` says what else is checked.

use std::path::Path;

use nexus_tests::conformance::OPENAPI;
use nexus_tests::program::command;
use nexus_tests::shop::PASSWORD;
use nexus_tests::stack::QUEUES;
use nexus_tests::{Client, Stack, Value, json};

const EMAIL: &str = "asha@nexus.example";

/// Without the worker that sends one-time passwords: providers take no more than a few for one
/// phone.
async fn start() -> Stack {
    crate::delivery::with_wallets()
        .without_limits()
        .workers(QUEUES.into_iter().filter(|queue| *queue != "otp"))
        .start()
        .await
}

/// Logs in, and again when an operation has ended the session.
fn login() -> String {
    format!(
        r#"
[auth.dynamic.openapi.bearer]
path = "/api/v1/auth/login"
payload = {{ email = "{EMAIL}", password = "{PASSWORD}" }}
extract_selector = "/data/accessToken"
retry_on = [401]
"#
    )
}

/// A user who organises the events 1 to 3, the first with the seat types 1 to 3, and one that is
/// cancelled, and has the bookings 1 to 3 for another user's event; somebody is in at the first.
/// Returns dictionaries of the
/// other ids, and requests that succeed, by operation: Schemathesis hardly ever guesses fields that
/// have to fit together.
async fn arrange(stack: &Stack) -> (String, Value) {
    let account = |email| json!({"email": email, "password": PASSWORD, "name": "Asha"});
    let asha = stack.anonymous().post("/auth/register", account(EMAIL)).await.data();
    let asha = stack.anonymous().logged_in(&asha);
    let other =
        stack.anonymous().post("/auth/register", account("other@nexus.example")).await.data();
    let other = stack.anonymous().logged_in(&other);
    let lasting = stack
        .event(&asha, &[("VIP", 100.0, 1000), ("Floor", 50.0, 1000), ("Balcony", 0.0, 1000)])
        .await;
    stack.event(&asha, &[("VIP", 100.0, 1000)]).await;
    stack.event(&asha, &[("VIP", 100.0, 1000)]).await;
    let event = stack.event(&other, &[("VIP", 100.0, 1000)]).await;
    let (sold, payment) = stack.sell(&asha, &event, &[("VIP", "A1")]).await;
    stack.until_tickets(&asha, &sold, 1).await;
    let cancelled = asha.lock_and_book(&event, &[("VIP", "A2")]).await;
    asha.cancel(&cancelled).await.ok();
    let pending = asha.lock_and_book(&event, &[("VIP", "A3")]).await;
    for label in ["K1", "K2"] {
        asha.lock(&lasting, "Floor", label).await.ok();
    }
    // An event with bookings cannot be deleted.
    other.lock_and_book(&lasting, &[("VIP", "A1")]).await;
    let called_off = stack.event(&asha, &[("VIP", 100.0, 1000)]).await;
    asha.put(&format!("/events/{}", called_off.id), json!({"status": "cancelled"})).await.ok();
    // At the door of the lasting event: a member of staff, a gate, a door key, and somebody who is in.
    let door = |rest: &str| format!("/events/{}/{rest}", lasting.id);
    let staff = json!({"account": "other@nexus.example"});
    stack.prove_emails().await;
    asha.post(&door("staff"), staff.clone()).await.ok();
    let gate = asha.post(&door("gates"), json!({"name": "North"})).await.data();
    let key = asha.post(&door("door-keys"), json!({"name": "Phone"})).await.data();
    let (admitted, _) = stack.sell(&other, &lasting, &[("VIP", "A4")]).await;
    let ticket = stack.until_tickets(&other, &admitted, 1).await.remove(0);
    let scan = asha.post(&door("check-ins"), json!({"ticket_id": ticket["ticket_id"]})).await;
    let scan = scan.data()["check_in"]["scan_id"].clone();
    let at_door =
        |name: &str, id: &Value| json!({"path_parameters": {"eventId": lasting.id, name: id}});
    // The bookings 1 to 3 may be cancelled.
    let (kept, _) =
        stack.sell(&asha, &lasting, &[("VIP", "A5"), ("VIP", "A6"), ("VIP", "A7")]).await;
    let own = stack.until_tickets(&asha, &kept, 3).await;
    let seat = stack.row("SELECT id FROM seats WHERE seat_label = 'A5'").await;
    let offer = async |from: &Client, ticket: &Value, to: &str| {
        let path = format!("/tickets/{}/transfers", ticket["id"]);
        from.post(&path, json!({"email": to})).await.data()["transfer_id"].take()
    };
    let withdrawn = offer(&asha, &own[1], "friend@nexus.example").await;
    let (given, _) = stack.sell(&other, &lasting, &[("VIP", "A8")]).await;
    let given = stack.until_tickets(&other, &given, 1).await.remove(0);
    let accepted = offer(&other, &given, EMAIL).await;
    let room = stack.event(&other, &[("VIP", 100.0, 1000)]).await;
    let opened = format!(
        "WITH room AS (INSERT INTO waiting_rooms (event_id, state, opens_at, seed, drawn_at, pace)
                       VALUES ({}, 'paused', now(), sha256('seed'), now(), 1) RETURNING event_id)
         INSERT INTO waiting_room_draws (event_id, list_digest, visitors) SELECT event_id, sha256(''), '{{}}' FROM room",
        room.id
    );
    stack.execute(&opened).await;
    asha.post(&format!("/events/{}/queue", room.id), json!({})).await.ok();
    let in_room = json!({"path_parameters": {"eventId": room.id}});
    let job = format!("SELECT id FROM jobs WHERE unique_key = 'finalise_booking:{}'", sold.id);
    let job = stack.row(&job).await;
    let dictionary =
        |name: &str, value: &Value| format!("\n[dictionaries.{name}]\nvalues = [{value}]\n");
    let dictionaries = dictionary("orders", &json!(payment.order_id))
        + &dictionary("jobs", &job["id"])
        + &dictionary("cancelled", &json!(called_off.id))
        + &dictionary("sessions", &json!(other.refresh_token));
    let seat_type = |name| json!({"eventId": lasting.id, "seatTypeId": lasting.seat_type(name)});
    let examples = json!({
        "update_seat_type": {"path_parameters": seat_type("Balcony"), "body": {"name": "Gallery"}},
        "delete_seat_type": {"path_parameters": seat_type("Balcony")},
        "lock_seat": {"path_parameters": seat_type("Floor"), "body": {"seat_label": "K3"}},
        "unlock_seat": {"path_parameters": seat_type("Floor"), "query": {"seat_label": "K1"}},
        "extend_lock": {"path_parameters": seat_type("Floor"), "body": {"seat_label": "K2"}},
        "change_password": {"body": {"currentPassword": PASSWORD, "newPassword": PASSWORD}},
        "create_order": {"body": {"booking_id": pending.id, "amount": pending.total, "currency": "INR"}},
        "verify_payment": {"path_parameters": {"order_id": payment.order_id}},
        "add_staff": {"path_parameters": {"eventId": lasting.id}, "body": staff},
        "remove_staff": at_door("userId", &json!(other.id)),
        "delete_gate": at_door("gateId", &gate["gate"]["id"]),
        "revoke_door_key": at_door("doorKeyId", &key["id"]),
        "upload_check_ins": {
            "path_parameters": {"eventId": lasting.id},
            "body": {"scans": [{"scan_id": scan, "ticket_id": ticket["ticket_id"], "at": "2026-11-30T18:00:00Z"}]},
        },
        "undo_check_in": at_door("scanId", &scan),
        "name_holders": {
            "path_parameters": {"booking_id": kept.id},
            "body": {"holders": [{"seat_id": seat["id"], "holder_name": "Ravi", "holder_details": {"meal": "veg"}}]},
        },
        "offer_transfer": {"path_parameters": {"id": own[2]["id"]}, "body": {"email": "friend@nexus.example"}},
        "accept_transfer": {"path_parameters": {"transfer_id": accepted}},
        "end_transfer": {"path_parameters": {"transfer_id": withdrawn}},
        "get_tickets_pdf": {"path_parameters": {"booking_id": kept.id}},
        "get_calendar": {"path_parameters": {"booking_id": kept.id}},
        "get_passes": {"path_parameters": {"booking_id": kept.id}},
        "get_wallet_links": {"path_parameters": {"booking_id": kept.id}},
        "get_queue": in_room,
        "join_queue": in_room,
        "leave_queue": in_room,
        "get_draw": in_room,
        "get_ticket_job": {"path_parameters": {"job_id": job["id"]}},
    });
    (dictionaries, examples)
}

/// Runs it with the settings of the file and these, 3 examples an operation; EXAMPLES asks for
/// more.
async fn run(stack: &Stack, more_settings: &str) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let program = clients.join(".venv/bin/schemathesis");
    assert!(program.is_file(), "tests/clients/.venv is missing: run `make python-deps`");
    let settings =
        std::fs::read_to_string(clients.join("schemathesis.toml")).expect("the settings");
    let (dictionaries, examples) = arrange(stack).await;
    let file = stack.dir().join("schemathesis.toml");
    std::fs::write(&file, settings + &dictionaries + more_settings).expect("a file");
    let examples_file = stack.dir().join("examples.json");
    std::fs::write(&examples_file, examples.to_string()).expect("a file");

    let most = std::env::var("EXAMPLES").unwrap_or_else(|_| "3".into());
    let document = format!("{}/openapi.json", stack.api_url(0));
    let env = [
        ("PYTHONPATH", clients.to_str().expect("text")),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        // The same requests every time.
        ("PYTHONHASHSEED", "0"),
        ("NEXUS_EXAMPLES", examples_file.to_str().expect("text")),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut schemathesis = tokio::process::Command::from(command(&program, stack.dir(), &env));
    schemathesis.arg("--config-file").arg(file);
    schemathesis.args(["run", &document, "--no-color", "--max-examples", &most]);
    let output = schemathesis.output().await.expect("schemathesis");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn whatever_a_user_sends_is_answered_as_documented() {
    let mut stack = start().await;
    run(&stack, &login()).await;
    stack.assert_invariants().await;

    // Every operation has succeeded at least once.
    let log = stack.api(0).log();
    let routes = OPENAPI.whole["paths"].as_object().expect("paths").iter();
    let operations = routes.flat_map(|(path, item)| {
        item.as_object().expect("operations").keys().map(move |method| (method, path))
    });
    let never = operations.filter(|(method, path)| {
        // These need a code or a link that has been sent, or a session that others have not ended.
        let needs_more = [
            "verify-otp",
            "reset-password",
            "recover-password",
            "verify-email",
            "change-phone",
            "{session_id}",
        ];
        !needs_more.iter().any(|end| path.ends_with(end))
            // Who organises events cannot go.
            && (method.as_str(), path.as_str()) != ("delete", "/api/v1/auth/me")
            && !log
                .contains(&format!("method={} route=\"{path}\" status=200", method.to_uppercase()))
    });
    assert_eq!(never.collect::<Vec<_>>(), vec![], "operations that never succeeded");
}

#[tokio::test]
async fn whatever_a_stranger_sends_is_answered_as_documented() {
    let stack = start().await;
    run(&stack, "\n[auth]\nauto-signup = false\n").await;
    stack.assert_invariants().await;
}
