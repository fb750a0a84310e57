//! `ops/`, which operators get: an example dashboard and alert rules, which may name only what the
//! processes really expose; and docs/operations.md, which must name all of that.

use std::collections::{BTreeMap, BTreeSet};

use nexus_tests::metrics::Metrics;
use nexus_tests::repository::file;
use nexus_tests::{Fault, SOON, Stack, Target, Value, eventually, json};

type Series = BTreeMap<String, BTreeSet<String>>;

/// Every PromQL expression of the dashboard and of the alert rules.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&file("ops/grafana-dashboard.json")).expect("JSON");
    let alerts: Value = serde_saphyr::from_str(&file("ops/alerts.yml")).expect("YAML");
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    collect(&alerts, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| collect(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The metrics that an expression selects, each with the labels that it asks for.
fn selected(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let starts = expression.match_indices("nexus_").map(|(start, _)| &expression[start..]);
    starts
        .map(|rest| {
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let names = matchers.map_or("", |(matchers, _)| matchers).split("\",");
            let label = |matcher: &str| {
                matcher.split(['=', '!']).next().unwrap_or_default().trim().to_owned()
            };
            (name.to_owned(), names.map(label).filter(|label| !label.is_empty()).collect())
        })
        .collect()
}

/// The labels by which an expression groups.
fn grouped(expression: &str) -> BTreeSet<String> {
    let lists = expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    let labels = lists.flat_map(|(list, _)| list.split(',')).map(|label| label.trim().to_owned());
    labels.filter(|label| label != "le").collect()
}

/// The metrics and labels that expressions ask for and no process exposes.
fn missing(expressions: &[String], series: &Series) -> Vec<String> {
    let mut missing = Vec::new();
    for expression in expressions {
        let selected = selected(expression);
        for (name, labels) in &selected {
            match series.get(name) {
                None => missing.push(format!("{name} of {expression}")),
                Some(there) => missing.extend(
                    labels
                        .difference(there)
                        .map(|label| format!("{name}{{{label}}} of {expression}")),
                ),
            }
        }
        let there: BTreeSet<_> =
            selected.iter().filter_map(|(name, _)| series.get(name)).flatten().cloned().collect();
        missing.extend(
            grouped(expression).difference(&there).map(|label| format!("{label} of {expression}")),
        );
    }
    missing
}

/// An installation in which everything that is measured has happened at least once.
async fn eventful() -> Stack {
    let stack = Stack::builder().measured().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    // Their mail is refused.
    stack.providers.fault(Target::Smtp, Some(1), Fault::status(550));
    let socket = stack.socket("buyer", &buyer).await;
    let seat =
        json!({"eventId": event.id, "seatTypeId": event.seat_types[0].1, "seat_label": "A9"});
    socket.call_ok("lock_seat", seat).await;
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    stack.until_tickets(&buyer, &booking, 1).await;
    let room = "INSERT INTO waiting_rooms (event_id, opens_at, seed, pace) SELECT id, now(), sha256('seed'), 600 FROM events";
    assert_eq!(stack.execute(room).await, 1);
    // Handed to Redis long ago, and lost there.
    stack.anonymous().get("/events").await.ok();
    let lost = "INSERT INTO jobs (id, queue, kind, payload, max_attempts, state, queued_at) VALUES
                (gen_random_uuid(), 'otp', 'send_otp', '{\"phone\": \"+919822222222\"}', 3, 'queued', now() - interval '1 hour')";
    assert_eq!(stack.execute(lost).await, 1);
    stack
}

#[tokio::test]
async fn dashboard_alerts_and_documents_know_what_the_processes_expose_and_nothing_else() {
    let stack = eventful().await;
    let expressions = expressions();
    assert!(expressions.len() > 30, "{expressions:?}");
    let series = eventually("everything that is asked for is exposed", SOON, async || {
        let mut series = Series::new();
        for url in stack.metrics_urls().values() {
            for (name, labels) in Metrics::read(url).await?.series() {
                series.entry(name).or_default().extend(labels);
            }
        }
        let missing = missing(&expressions, &series);
        if missing.is_empty() { Ok(series) } else { Err(missing.join("\n")) }
    })
    .await;

    let documented = file("docs/operations.md");
    for name in series.keys() {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let family = if family.starts_with("process_") { "process_*" } else { family };
        assert!(
            documented.contains(&format!("| `{family}` |")),
            "docs/operations.md does not explain {family}"
        );
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let alerts: Value = serde_saphyr::from_str(&file("ops/alerts.yml")).expect("YAML");
    let groups = alerts["groups"].as_array().expect("groups");
    let rules: Vec<&Value> =
        groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    assert!(rules.len() >= 10, "{rules:?}");
    let mut names = BTreeSet::new();
    for rule in rules {
        let text = |field: &Value| field.as_str().is_some_and(|text| !text.is_empty());
        assert!(names.insert(rule["alert"].as_str().expect("a name")), "twice: {rule}");
        assert!(
            ["warning", "critical"].map(Value::from).contains(&rule["labels"]["severity"]),
            "{rule}"
        );
        assert!(text(&rule["expr"]), "{rule}");
        assert!(
            text(&rule["annotations"]["summary"]) && text(&rule["annotations"]["description"]),
            "{rule}"
        );
    }
}

#[test]
fn the_reader_of_expressions_finds_metrics_labels_and_groups() {
    let expression =
        r#"max by (queue, le) (nexus_jobs{state="dead",kind=~"a|b"}) unless nexus_worker_slots"#;
    let labels = ["state", "kind"].map(str::to_owned).into();
    let expected =
        [("nexus_jobs".to_owned(), labels), ("nexus_worker_slots".to_owned(), BTreeSet::new())];
    assert_eq!(selected(expression), expected);
    assert_eq!(grouped(expression), ["queue".to_owned()].into());
    assert_eq!(missing(&[expression.to_owned()], &Series::new()).len(), 3);
}
