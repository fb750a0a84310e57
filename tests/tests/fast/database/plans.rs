//! No statement reads a growing table from end to end: the test asks PostgreSQL for the plan of
//! each in a database of a shop that has run for years.

use std::collections::BTreeSet;

use nexus_tests::repository::{file, folder};
use nexus_tests::{Stack, Value};
use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

/// Statements that may read a whole table, by how they begin, and why.
const ALLOWED: [(&str, &str); 8] = [
    (
        "SELECT event_id AS \"event: EventId\" FROM event_inventory",
        "a narrow row of every event, each time Redis comes back; they are not sales",
    ),
    (
        "-- Every invariant of seats and money",
        "the check of the books reads each table once, once a day",
    ),
    (
        "WITH matching AS ( SELECT id, created_at FROM events",
        "the list says how many events there are; they are not sales",
    ),
    (
        "SELECT queue, state::text AS \"state!: _\", count(*) AS \"count!\", min(available_at)",
        "for operators: counts jobs, which are kept for a week",
    ),
    (
        "SELECT p.id, p.created_at, p.kind, p.booking_id, b.booking_reference",
        "a page of the ledger's export looks a thousand rows up in four other tables",
    ),
    (
        "DELETE FROM jobs WHERE state IN ('done', 'cancelled')",
        "jobs_finished finds them once the planner knows how old they have to be",
    ),
    (
        "SELECT network AS \"network!: NetworkHash\" FROM unpaid_holds",
        "a day is all there is of them; a process rests for 200 times as long, or two minutes",
    ),
    (
        "SELECT id AS \"id: EventId\" FROM events WHERE end_date > now() AND EXISTS",
        "for operators: the key that signs tickets has leaked",
    ),
];

/// Tables that never grow: one row, one row for each kind of job, operator, key or process, and
/// PostgreSQL's own; and those of rare things that are soon removed.
const SMALL: [&str; 11] = [
    "api_loads",
    "event_catalogue",
    "holders_forgotten",
    "installation",
    "job_schedule",
    "operator_sessions",
    "operator_totps",
    "pg_database",
    "ticket_keys",
    "waiting_room_draws",
    "waiting_rooms",
];

/// More pages than a statement needs that finds its rows, of a hundred thousand, by an index.
/// Reading one of the tables costs as much.
const DEAR: f64 = 3_000.0;

/// A statement as the macros know it.
struct Statement {
    text: String,
    /// The types of its parameters, as PostgreSQL calls them.
    parameters: Vec<String>,
}

impl Statement {
    fn all() -> Vec<Self> {
        let files = folder(".sqlx").into_iter().filter(|name| name.ends_with(".json"));
        files.map(|name| Self::read(&file(format!(".sqlx/{name}")))).collect()
    }

    fn read(description: &str) -> Self {
        let description: Value = serde_json::from_str(description).unwrap();
        let parameters =
            description["describe"]["parameters"]["Left"].as_array().cloned().unwrap_or_default();
        let sql_name = |known: &Value| {
            let name = known.as_str().unwrap().to_lowercase();
            name.strip_suffix("array").map(|of| format!("{of}[]")).unwrap_or(name)
        };
        Statement {
            text: description["query"].as_str().unwrap().to_owned(),
            parameters: parameters.iter().map(sql_name).collect(),
        }
    }

    /// On one line.
    fn line(&self) -> String {
        self.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// PostgreSQL's plan of it for any parameters.
    async fn plan(&self, conn: &mut PgConnection) -> Value {
        self.explain(conn, "FORMAT JSON", &vec!["NULL"; self.parameters.len()]).await
    }

    /// How many pages PostgreSQL reads to carry it out.
    async fn pages(&self, conn: &mut PgConnection, arguments: &[&str]) -> u64 {
        let plan = self.explain(conn, "ANALYZE, BUFFERS, FORMAT JSON", arguments).await;
        ["Shared Hit Blocks", "Shared Read Blocks"]
            .iter()
            .map(|pages| plan[pages].as_u64().unwrap())
            .sum()
    }

    async fn explain(&self, conn: &mut PgConnection, options: &str, arguments: &[&str]) -> Value {
        let list = |of: &str| if of.is_empty() { String::new() } else { format!("({of})") };
        for preparation in [
            "DEALLOCATE ALL",
            &format!("PREPARE s{} AS {}", list(&self.parameters.join(", ")), self.text),
        ] {
            let prepared = raw_sql(AssertSqlSafe(preparation)).execute(&mut *conn).await;
            prepared.unwrap_or_else(|error| panic!("{error}: {preparation}"));
        }
        let explain = format!("EXPLAIN ({options}) EXECUTE s{}", list(&arguments.join(", ")));
        let plan = raw_sql(AssertSqlSafe(explain)).fetch_one(conn).await.unwrap();
        plan.get::<Value, _>(0)[0]["Plan"].take()
    }
}

/// The parts of a plan that grow with a table. A partial index holds only the work that is left,
/// and may be read as a whole; so may the beginning of any index, up to a LIMIT.
fn growing(plan: &Value, whole: &BTreeSet<String>, limited: bool, found: &mut Vec<String>) {
    let text = |name: &str| plan[name].as_str().unwrap_or_default();
    let (node, table, index) = (text("Node Type"), text("Relation Name"), text("Index Name"));
    let reads_index = ["Index Scan", "Index Only Scan", "Bitmap Index Scan"].contains(&node);
    if node == "Seq Scan" && !SMALL.contains(&table) {
        found.push(format!("reads all of {table}"));
    } else if reads_index && plan["Index Cond"].is_null() && whole.contains(index) && !limited {
        found.push(format!("reads all of {index}"));
    }
    for below in plan["Plans"].as_array().into_iter().flatten() {
        growing(below, whole, limited || node == "Limit", found);
    }
}

#[tokio::test]
async fn no_statement_reads_what_grows_from_end_to_end() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let mut conn = stack.db.acquire().await.unwrap();
    raw_sql(include_str!("filled.sql")).execute(&mut *conn).await.unwrap();
    raw_sql("SET plan_cache_mode = force_generic_plan").execute(&mut *conn).await.unwrap();
    let whole = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indpred IS NULL";
    let whole = stack
        .rows(whole)
        .await
        .into_iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();

    let statements = Statement::all();
    assert!(statements.len() > 200, "{}", statements.len());
    let (mut faults, mut excused) = (Vec::new(), BTreeSet::new());
    for statement in statements {
        let line = statement.line();
        if let Some((beginning, _)) =
            ALLOWED.iter().find(|(beginning, _)| line.starts_with(beginning))
        {
            excused.insert(*beginning);
            continue;
        }
        let plan = statement.plan(&mut conn).await;
        let mut found = Vec::new();
        growing(&plan, &whole, false, &mut found);
        let cost = plan["Total Cost"].as_f64().unwrap();
        if cost > DEAR {
            found.push(format!("costs {cost}"));
        }
        if !found.is_empty() {
            faults.push(format!("{}: {line}", found.join(", ")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let gone: Vec<_> =
        ALLOWED.iter().filter(|(beginning, _)| !excused.contains(beginning)).collect();
    assert!(gone.is_empty(), "there are no such statements any more: {gone:?}");
}

/// The most rows that a part of a carried out plan has.
fn most_rows(plan: &Value) -> f64 {
    let own = plan["Actual Rows"].as_f64().unwrap_or_default();
    plan["Plans"].as_array().into_iter().flatten().map(most_rows).fold(own, f64::max)
}

#[tokio::test]
async fn the_best_seats_of_a_large_type_cost_what_is_taken_and_wanted() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 1_000_000)]).await;
    let buyer = stack.user().await;
    buyer.lock(&event, "VIP", "V1").await.ok();
    let all = Statement::all();
    let chooses =
        |statement: &&Statement| statement.line().contains("AS \"label!: SeatLabel\" FROM unnest");
    let best = all.iter().find(chooses).expect("the statement that chooses seats");
    let mut conn = stack.db.acquire().await.unwrap();
    let wanted = [&format!("ARRAY[{}]", event.seat_type("VIP")), "ARRAY[3]", "FALSE"];
    let plan = best.explain(&mut conn, "ANALYZE, FORMAT JSON", &wanted).await;
    assert_eq!(plan["Actual Rows"].as_f64(), Some(3.0), "{plan:#}");
    assert!(most_rows(&plan) < 10.0, "{plan:#}");
}

#[tokio::test]
async fn a_relay_passes_by_the_jobs_that_have_gone_while_an_old_snapshot_is_held() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let mut dump = stack.db.begin().await.unwrap();
    for beginning in
        ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM jobs"]
    {
        raw_sql(AssertSqlSafe(beginning)).execute(&mut *dump).await.unwrap();
    }
    stack
        .execute(
            "INSERT INTO jobs (id, queue, kind, payload, max_attempts, available_at)
             SELECT gen_random_uuid(), 'payments', 'process_webhook', '{}', 14, now() - interval '1 hour'
             FROM generate_series(1, 20000)",
        )
        .await;
    for step in [
        "state = 'queued', queued_at = now() - interval '1 hour', delivery = 1",
        "state = 'running', leased_until = now()",
        "state = 'done', leased_until = NULL, finished_at = now()",
    ] {
        stack
            .execute(&format!(
                "UPDATE jobs SET {step} WHERE state IN ('pending', 'queued', 'running')"
            ))
            .await;
    }
    let due = "INSERT INTO jobs (id, queue, kind, payload, max_attempts) VALUES (gen_random_uuid(), 'payments', 'process_webhook', '{}', 14)";
    stack.execute(due).await;

    let mut conn = stack.db.acquire().await.unwrap();
    let all = Statement::all();
    let starting = |with: &str| {
        let mut found = all.iter().filter(|statement| statement.line().starts_with(with));
        found.next().unwrap_or_else(|| panic!("no statement starts with {with}"))
    };
    let survey = starting("WITH RECURSIVE first AS");
    let all_live = survey.pages(&mut conn, &["'payments'", "'{}'", "'1 second'"]).await;
    assert!(all_live > 1_000, "the snapshot is not in the way: {all_live} pages");
    let from = "ARRAY[now() - interval '1 second']";
    let look = starting("SELECT priority AS \"priority!\", (SELECT count(*) FROM jobs");
    let pages = look.pages(&mut conn, &["'payments'", "'{0}'", from, from]).await;
    assert!(pages < 30, "a look reads {pages} pages");
    let take = starting("UPDATE jobs SET state = CASE WHEN");
    let pages = take
        .pages(
            &mut conn,
            &[
                "'payments'",
                "32",
                "'{0}'",
                from,
                "'{32}'",
                "'worker'",
                "'6 seconds'",
                "'0 seconds'",
            ],
        )
        .await;
    assert!(pages < 60, "a claim reads {pages} pages");
    assert_eq!(stack.rows("SELECT state FROM jobs WHERE state <> 'done'").await.len(), 1);
    dump.rollback().await.unwrap();
}
