//! The audit log: what is in it, that nobody changes it, who reads it.

use std::time::Duration;

use nexus_tests::shop::{PASSWORD, event_request};
use nexus_tests::{Client, Method, Response, SOON, Stack, Value, eventually, json, seen};

async fn registered(stack: &Stack, email: &str) -> Client {
    let account = json!({"email": email, "password": PASSWORD});
    let data = stack.anonymous().post("/auth/register", account).await.data();
    stack.anonymous().logged_in(&data)
}

/// The actions that are recorded of a subject, the oldest first.
async fn actions(stack: &Stack, kind: &str, subject: impl ToString) -> Vec<String> {
    let rows = stack
        .rows(&format!(
            "SELECT action FROM audit_log WHERE subject_kind = '{kind}' AND subject = '{}' ORDER BY id",
            subject.to_string()
        ))
        .await;
    rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_happens_to_an_account_is_recorded_with_who_did_it_and_from_where() {
    let stack = Stack::builder().workers(["notifications"]).start().await;
    let email = "asha@nexus.example";
    let user = registered(&stack, email).await;
    let code = stack.mailed_code(email).await;
    user.post("/auth/verify-email", json!({"code": code})).await.ok();
    let wrong = json!({"email": email, "password": "Wr0ng-horse"});
    stack.anonymous().post("/auth/login", wrong).await.failed(401, "Invalid email or password");
    eventually("the wrong password is recorded", SOON, async || {
        let failed = stack.count("audit_log WHERE action = 'sign_in_failed'").await;
        seen(failed == 1, failed).map(drop)
    })
    .await;
    let change = json!({"currentPassword": PASSWORD, "newPassword": "An0ther-horse"});
    let changed = user.post("/auth/change-password", change).await;
    let request_id = changed.headers["x-request-id"].to_str().unwrap().to_owned();
    let user = stack.anonymous().logged_in(&changed.data());
    user.post("/auth/logout-all", json!({})).await.ok();
    stack.api_cli_ok(&["set-role", &user.id.to_string(), "organiser"]).await;
    assert_eq!(
        actions(&stack, "account", user.id).await,
        [
            "registered",
            "signed_in",
            "email_proved",
            "sign_in_failed",
            "password_changed",
            "signed_in",
            "sessions_ended",
            "role_changed"
        ]
    );
    let row = stack.row("SELECT * FROM audit_log WHERE action = 'password_changed'").await;
    assert_eq!(row["actor"], user.id);
    assert_eq!(row["request_id"], request_id);
    assert_eq!(row["address"].as_str().unwrap().len(), 16, "{row}");
    let all = stack.rows("SELECT a::text FROM audit_log a").await;
    let text = json!(all).to_string();
    for secret in [email, PASSWORD, "An0ther-horse", "10.0."] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    // Who has failed is nobody; who has given the role is whom PostgreSQL knows.
    for action in ["sign_in_failed", "role_changed"] {
        let row = stack.row(&format!("SELECT * FROM audit_log WHERE action = '{action}'")).await;
        assert_eq!(row["actor"], Value::Null, "{row}");
    }
    let named = "audit_log WHERE action = 'role_changed' AND written_by = session_user";
    assert_eq!(stack.count(named).await, 1);
}

#[tokio::test]
async fn what_organisers_do_is_recorded_over_http_and_over_sockets() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let address = json!({"extraHeaders": {"x-forwarded-for": organiser.address()}});
    let socket = stack.socket_with("the organiser", &organiser, address).await;
    let created = socket.call_ok("create_event", event_request(&[("VIP", 100.0, 5)])).await;
    let event = created["event"]["id"].as_i64().unwrap();
    organiser.put(&format!("/events/{event}"), json!({"location": "Pune"})).await.ok();
    let floor = json!({"name": "Floor", "price": 1, "quantity": 1});
    let floor = organiser.post(&format!("/seats/{event}/seat-types"), floor).await.data();
    let floor = floor["seat_type"]["id"].as_i64().unwrap();
    let path = format!("/seats/{event}/seat-types/{floor}");
    organiser.put(&path, json!({"quantity": 2})).await.ok();
    organiser.delete(&path).await.ok();
    organiser.put(&format!("/events/{event}"), json!({"status": "cancelled"})).await.ok();
    // What is refused is not recorded.
    stack.user().await.put(&format!("/events/{event}"), json!({"location": "Goa"})).await;
    let of_the_event = ["event_created", "event_updated", "event_cancelled"];
    assert_eq!(actions(&stack, "event", event).await, of_the_event);
    let of_the_type = ["seat_type_created", "seat_type_updated", "seat_type_deleted"];
    assert_eq!(actions(&stack, "seat_type", floor).await, of_the_type);
    let unsaid = "audit_log WHERE actor IS NULL OR address IS NULL OR request_id IS NULL";
    assert_eq!(stack.count(unsaid).await, 0);
    let addresses = stack.row("SELECT count(DISTINCT address)::int AS n FROM audit_log").await;
    assert_eq!(addresses["n"], 1, "the same over a socket");
    let updated = stack.row("SELECT details FROM audit_log WHERE action = 'event_updated'").await;
    assert_eq!(updated["details"]["fields"], json!(["location"]));
}

#[tokio::test]
async fn a_command_with_an_idempotency_key_is_recorded_once_with_where_it_came_from() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    for _ in 0..2 {
        let request = organiser.request(Method::POST, "/events/create");
        let request =
            request.header("idempotency-key", "one").json(&event_request(&[("VIP", 1.0, 5)]));
        Response::to(request).await.ok();
    }
    let recorded = "audit_log WHERE action = 'event_created' AND request_id IS NOT NULL";
    assert_eq!(stack.count(recorded).await, 1);
}

#[tokio::test]
async fn nobody_changes_the_log_and_only_the_cleanup_removes_what_is_old() {
    let stack = Stack::builder().workers([]).env("AUDIT_KEEP_DAYS", "60").start().await;
    stack.user().await;
    let old = "INSERT INTO audit_log (at, action, subject_kind, subject)
               SELECT now() - days * interval '1 day', 'signed_in', 'account', days FROM unnest(ARRAY[1, 40, 59, 61, 400]) days";
    assert_eq!(stack.execute(old).await, 5);
    for change in [
        "UPDATE audit_log SET actor = 1",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DO $$ BEGIN PERFORM set_config('nexus.audit_retention', 'on', TRUE); DELETE FROM audit_log WHERE subject = '1'; END $$",
    ] {
        let refused =
            sqlx::query(sqlx::AssertSqlSafe(change)).execute(&stack.db).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
    let mut worker = stack.processes("nexus-worker-cleanup", 1, &[]);
    worker.start().await;
    eventually("what is old is gone", Duration::from_secs(15), async || {
        let left = stack.rows("SELECT subject FROM audit_log ORDER BY at DESC").await;
        let left: Vec<_> = left.iter().map(|row| row["subject"].as_str().unwrap()).collect();
        if left == ["1", "40", "59"] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_log_is_read_on_its_page_and_exported_on_the_command_line() {
    let stack = Stack::builder().workers([]).start().await;
    let user = registered(&stack, "asha@nexus.example").await;
    let admin = stack.admin().await;
    let page = async |query: &str| {
        let path = format!("/admin/audit{query}");
        Response::to(admin.request_root(Method::GET, &path)).await.text
    };
    let of_user = page(&format!("?about={}", user.id)).await;
    assert!(of_user.contains(&format!("account {}", user.id)), "{of_user}");
    assert!(!of_user.contains(&format!("account {}<", admin.id)), "{of_user}");
    let signed_in = page("?action=operator_signed_in").await;
    assert!(signed_in.contains(&format!("user {}", admin.id)), "{signed_in}");
    for odd in ["?about=%00", "?about=elephant+7", "?action=nothing", "?before=x", "?before=1"] {
        let response =
            Response::to(admin.request_root(Method::GET, &format!("/admin/audit{odd}"))).await;
        assert_eq!(response.status, 200, "{odd}");
    }
    let insert = "INSERT INTO audit_log (action, subject_kind, subject) SELECT 'signed_in', 'account', n::text FROM generate_series(1001, 1150) n";
    stack.execute(insert).await;
    let first = page("?action=signed_in").await;
    assert!(first.contains("account 1150<") && !first.contains("account 1050<"), "{first}");
    let before = first.split("name=\"before\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let second = page(&format!("?action=signed_in&before={before}")).await;
    assert!(second.contains("account 1050<") && !second.contains("account 1051<"), "{second}");

    let exported = stack.jobs_cli_ok(&["audit", "--since", "1h"]).await;
    let lines: Vec<&str> = exported.trim_end().split("\r\n").collect();
    assert!(lines[0].starts_with("id,at,action,actor,"), "{exported}");
    let rows = stack.count("audit_log").await;
    assert_eq!(lines.len() as i64, 1 + rows, "with the export itself");
    assert!(exported.contains(",registered,"), "{exported}");
}

#[tokio::test]
async fn who_looks_at_personal_data_is_recorded_once_an_hour() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = stack.admin().await;
    let (buyer, _, booking, _) = stack.booked_without_webhooks().await;
    let job = stack.row("SELECT id::text AS id FROM jobs ORDER BY id LIMIT 1").await;
    let job = job["id"].as_str().unwrap();
    let look = async |path: String| {
        let page = Response::to(admin.request_root(Method::GET, &path)).await;
        assert_eq!(page.status, 200, "{page}");
    };
    for _ in 0..2 {
        look(format!("/admin/accounts?about={}", buyer.id)).await;
        look(format!("/admin/audit?about={}", buyer.id)).await;
        look(format!("/admin/payments?about={}", booking.reference)).await;
        look(format!("/admin/jobs/{job}")).await;
    }
    let viewed = async |kind: &str, id: i64| {
        stack.count(&format!("audit_log WHERE action = 'viewed' AND actor = {} AND subject_kind = '{kind}' AND subject = '{id}'", admin.id)).await
    };
    assert_eq!((viewed("account", buyer.id).await, viewed("booking", booking.id).await), (1, 1));
    assert_eq!(
        stack.count(&format!("audit_log WHERE action = 'viewed' AND subject = '{job}'")).await,
        1
    );
    assert_eq!(stack.count("audit_log WHERE action = 'viewed'").await, 3);
}

#[tokio::test]
async fn jobs_and_alerts_say_who_acted_on_them() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = stack.admin().await;
    let insert = "INSERT INTO jobs (id, queue, kind, payload, state, attempt, max_attempts, started_at, finished_at)
                  SELECT gen_random_uuid(), 'cleanup', 'kind_' || n, '{}', 'dead', 1, 1, now(), now() FROM generate_series(1, 3) n";
    stack.execute(insert).await;
    stack.execute("INSERT INTO payment_alerts (reason, subject, details) VALUES ('unreadable', 'webhook 7', '')").await;
    let job = async |kind: &str| {
        stack.row(&format!("SELECT id::text, acted_by, acted_at IS NOT NULL AS dated FROM jobs WHERE kind = '{kind}'")).await
    };
    let first = job("kind_1").await["id"].as_str().unwrap().to_owned();
    assert_eq!(admin.submit(&format!("/admin/jobs/{first}/discard"), &[]).await.status, 303);
    assert_eq!(admin.submit("/admin/dead/retry", &[("kind", "kind_2")]).await.status, 303);
    stack.jobs_cli_ok(&["discard", "--all", "--kind", "kind_3"]).await;
    let by_page = json!(format!("user {}", admin.id));
    for (kind, by) in [("kind_1", Some(&by_page)), ("kind_2", Some(&by_page)), ("kind_3", None)] {
        let job = job(kind).await;
        let by = by.cloned();
        let operator = stack.row("SELECT session_user::text AS name").await["name"].take();
        assert_eq!((&job["acted_by"], &job["dated"]), (&by.unwrap_or(operator), &json!(true)));
    }
    let shown = stack.jobs_cli_ok(&["show", &first]).await;
    assert!(shown.contains(&format!("acted by    user {}\n", admin.id)), "{shown}");
    let page = Response::to(admin.request_root(Method::GET, &format!("/admin/jobs/{first}"))).await;
    assert!(page.text.contains(&format!("by user {}", admin.id)), "{page}");

    let alert = stack.row("SELECT id FROM payment_alerts").await["id"].to_string();
    assert_eq!(admin.submit(&format!("/admin/alerts/{alert}/close"), &[]).await.status, 303);
    assert_eq!(stack.row("SELECT acted_by FROM payment_alerts").await["acted_by"], by_page);
    for (action, count) in
        [("job_discarded", 1), ("jobs_retried", 1), ("jobs_discarded", 1), ("alert_closed", 1)]
    {
        assert_eq!(
            stack.count(&format!("audit_log WHERE action = '{action}'")).await,
            count,
            "{action}"
        );
    }
}

#[tokio::test]
async fn lines_of_requests_and_commands_say_whose_they_are_and_no_address() {
    let stack = Stack::builder().workers([]).env("NODE_ENV", "production").start().await;
    let user = stack.user().await;
    let asked = user.get("/auth/me").await;
    let id = asked.headers["x-request-id"].to_str().unwrap().to_owned();
    let socket = stack.socket("the user", &user).await;
    socket.call("lock_seat", &[json!({})]).await;
    let line = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(what, SOON, async || {
            let log = stack.logs()["nexus-api-1"].clone();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.into_iter().find(|line| is(line)).ok_or(log)
        })
        .await
    };
    let request =
        line("the request", &|line| line["message"] == "request" && line["request_id"] == *id)
            .await;
    assert_eq!(request["user_id"], user.id, "{request}");
    assert_eq!(request["address"].as_str().unwrap().len(), 16, "{request}");
    let command = line("the command", &|line| line["command"] == "lock_seat").await;
    assert_eq!(command["user_id"], user.id, "{command}");
    let log = stack.logs()["nexus-api-1"].clone();
    assert!(!log.contains(&user.address().to_string()), "{log}");
}
