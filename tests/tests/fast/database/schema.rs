//! What the schema promises, read from PostgreSQL's catalogue and from the migrations.

use std::collections::BTreeSet;

use nexus_tests::repository::{file, folder, run};
use nexus_tests::{Stack, Value, json};

/// Foreign keys that no index begins with, and that do not say why. A partial index counts if it
/// leaves out nothing but NULL.
const WITHOUT_INDEX: &str = "
    SELECT c.conrelid::regclass::text AS referring, c.conname AS foreign_key
    FROM pg_constraint c
    WHERE c.contype = 'f' AND obj_description(c.oid, 'pg_constraint') IS NULL AND NOT EXISTS (
        SELECT 1 FROM pg_index i
        WHERE i.indrelid = c.conrelid AND i.indisvalid
          AND (i.indkey::int2[])[0 : cardinality(c.conkey) - 1] @> c.conkey
          AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) IN (
              SELECT format('(%I IS NOT NULL)', a.attname) FROM pg_attribute a
              WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey))))";

#[tokio::test]
async fn every_foreign_key_has_an_index_or_says_why_not() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    assert!(stack.count("pg_constraint WHERE contype = 'f'").await > 10);
    assert_eq!(stack.rows(WITHOUT_INDEX).await, Vec::<Value>::new());
}

#[tokio::test]
async fn existing_rows_obey_every_rule_but_the_one_that_organisers_have_to_mend() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let new_rows_only = "SELECT conname::text FROM pg_constraint WHERE NOT convalidated";
    assert_eq!(stack.rows(new_rows_only).await, [json!({"conname": "events_dates_check"})]);
}

#[tokio::test]
async fn every_table_is_in_the_list_that_says_how_long_it_is_kept() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let tables = "SELECT relname::text AS name FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace";
    let tables = stack.rows(tables).await;
    let tables: BTreeSet<&str> = tables.iter().filter_map(|row| row["name"].as_str()).collect();
    let document = file("docs/retention.md");
    let listed: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: BTreeSet<&str> = listed.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(tables, names, "left: in the database; right: in docs/retention.md");
    assert_eq!(names.len(), listed.len(), "each once");
    for row in listed {
        let says_all = row.len() == 4 && row.iter().all(|cell| !cell.is_empty());
        assert!(
            says_all,
            "{row:?} says what it grows with, how long it is kept, and who removes it"
        );
    }
}

/// Tables that refer to users, or may say something about somebody.
const PERSONAL: &str = "
    SELECT DISTINCT name FROM (
        SELECT c.conrelid::regclass::text AS name FROM pg_constraint c
        WHERE c.contype = 'f' AND c.confrelid = 'users'::regclass
        UNION ALL
        SELECT table_name::text FROM information_schema.columns
        JOIN pg_class ON relname = table_name AND relkind = 'r'
        WHERE table_schema = 'public' AND column_name ~
            '(user_id|organizer|booking_id|payment_id|email|phone|address|network|user_agent|payload|body|reason|answer|response_data)'
    ) personal ORDER BY name";

#[tokio::test]
async fn every_table_about_somebody_is_in_the_list_that_says_what_is_exported_and_erased() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let personal = stack.rows(PERSONAL).await;
    let personal: Vec<&str> = personal.iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(personal.len() > 15, "{personal:?}");
    let document = file("docs/privacy.md");
    let listed: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: Vec<&str> = listed.iter().map(|row| row[0].trim_matches('`')).collect();
    let missing: Vec<_> = personal.iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "not in docs/privacy.md: {missing:?}");
    for row in listed {
        assert!(row.len() == 3 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

/// What goes, or is changed, with a row that is deleted.
const GOES_ALONG: &str = "
    SELECT format('%s -> %s %s', confrelid::regclass, conrelid::regclass, CASE confdeltype WHEN 'c' THEN 'goes' WHEN 'n' THEN 'stays' ELSE 'refuses' END) AS what
    FROM pg_constraint WHERE contype = 'f' ORDER BY 1";

#[tokio::test]
async fn what_goes_with_a_deleted_row_is_its_own() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let found = stack.rows(GOES_ALONG).await;
    let found: Vec<&str> = found.iter().filter_map(|row| row["what"].as_str()).collect();
    let expected = [
        "bookings -> booking_seats goes",
        "bookings -> tickets goes",
        "door_keys -> check_ins refuses",
        "event_seat_types -> seats goes",
        "events -> bookings goes",
        "events -> check_ins goes",
        "events -> door_keys goes",
        "events -> event_cancellations goes",
        "events -> event_inventory goes",
        "events -> event_notices goes",
        "events -> event_seat_types goes",
        "events -> event_staff goes",
        "events -> gates goes",
        "events -> seats goes",
        "events -> void_codes goes",
        "events -> waiting_rooms goes",
        "gates -> check_ins refuses",
        "gates -> door_keys refuses",
        "seats -> booking_seats stays",
        "seats -> tickets stays",
        "sessions -> refresh_tokens goes",
        "tickets -> check_ins goes",
        "tickets -> ticket_transfers goes",
        "users -> blacklisted_tokens goes",
        "users -> bookings refuses",
        "users -> cancellation_notices goes",
        "users -> check_ins refuses",
        "users -> email_proofs goes",
        "users -> event_staff goes",
        "users -> events refuses",
        "users -> idempotency_keys goes",
        "users -> idempotent_requests goes",
        "users -> login_networks goes",
        "users -> operator_sessions goes",
        "users -> operator_totps goes",
        "users -> refresh_tokens goes",
        "users -> seat_holders goes",
        "users -> seats stays",
        "users -> sessions goes",
        "users -> ticket_transfers refuses",
        "users -> ticket_transfers refuses",
        "users -> tickets refuses",
        "users -> waiting_room_visitors goes",
        "waiting_rooms -> waiting_room_draws goes",
        "waiting_rooms -> waiting_room_visitors goes",
    ];
    // Tables that a later migration adds are to be looked at, too: whose rows are they?
    assert_eq!(found, expected);
}

#[tokio::test]
async fn no_deletion_takes_along_what_somebody_has_paid_for() {
    let mut stack = Stack::builder().workers(["payments", "bookings"]).start().await;
    let (buyer, event, booking, _) = stack.sold().await;
    stack.until_tickets(&buyer, &booking, 1).await;
    for queue in ["payments", "bookings"] {
        stack.worker(queue).stop().await;
    }
    let before = stack.contents().await;
    for (deletion, rule) in [
        (format!("DELETE FROM users WHERE id = {}", buyer.id), "bookings_user_id_fkey"),
        (
            "DELETE FROM users WHERE id = (SELECT organizer_id FROM events)".into(),
            "events_organizer_id_fkey",
        ),
        (format!("DELETE FROM events WHERE id = {}", event.id), "bookings_keep_confirmed"),
        (format!("DELETE FROM bookings WHERE id = {}", booking.id), "bookings_keep_confirmed"),
    ] {
        let refused = sqlx::query(sqlx::AssertSqlSafe(deletion.clone())).execute(&stack.db).await;
        let refused = refused.expect_err(&deletion);
        let constraint = refused.as_database_error().and_then(|error| error.constraint());
        assert_eq!(constraint, Some(rule), "{deletion}: {refused}");
    }
    assert_eq!(stack.contents().await, before);
}

/// Databases remember the checksum of every migration that they have had.
#[test]
fn a_frozen_migration_is_never_changed_and_a_new_one_comes_after_it() {
    run("sha384sum", &["--check", "--quiet", "--strict", "migrations/SHA384SUMS"]);
    let sums = file("migrations/SHA384SUMS");
    let frozen = sums.lines().filter_map(|line| line.split_once("  migrations/"));
    let frozen: Vec<&str> = frozen.map(|(_, name)| name).collect();
    assert!(
        migrations().starts_with(&frozen.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    );
}

#[test]
fn every_index_says_which_statements_it_serves() {
    for name in migrations() {
        let text = file(format!("migrations/{name}"));
        let lines: Vec<&str> = text.lines().collect();
        let created = |line: &str| {
            line.starts_with("CREATE INDEX") || line.starts_with("CREATE UNIQUE INDEX")
        };
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| created(line)) {
            let comment = lines[..at].iter().rev().take_while(|line| line.starts_with("--"));
            assert!(comment.into_iter().any(|line| line.contains("Serves: ")), "{name}: {line}");
        }
    }
}

fn migrations() -> Vec<String> {
    folder("migrations").into_iter().filter(|name| name.ends_with(".sql")).collect()
}
