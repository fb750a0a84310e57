//! Whether two outcomes are the same: fields, types, nulls, numbers and texts, and who heard what.
//! Times and made-up names are compared as [`Names`] does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::mapping::{Names, any};

/// Every difference between what was expected and what came, each with its place.
pub fn differences(expected: &Value, live: &Value, names: &mut Names) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, live, names, &mut found);
    found
}

fn compare(
    place: &str,
    expected: &Value,
    live: &Value,
    names: &mut Names,
    found: &mut Vec<String>,
) {
    match (expected, live) {
        (Value::Object(wanted), Value::Object(got)) => {
            for field in wanted.keys().chain(got.keys()).collect::<BTreeSet<_>>() {
                let place = format!("{place}/{field}");
                match (wanted.get(field), got.get(field)) {
                    (Some(wanted), Some(got)) => compare(&place, wanted, got, names, found),
                    (Some(wanted), None) => found.push(format!("{place} is missing: {wanted}")),
                    (None, got) => {
                        found.push(format!("{place} is new: {}", got.unwrap_or(&Value::Null)))
                    }
                }
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (index, (wanted, got)) in
                in_order(wanted).into_iter().zip(in_order(got)).enumerate()
            {
                compare(&format!("{place}/{index}"), wanted, got, names, found);
            }
        }
        (Value::String(wanted), Value::String(got)) if names.agree(wanted, got) => {}
        (Value::String(wanted), Value::Number(left))
            if wanted == any::SECONDS_LEFT
                && left.as_i64().is_some_and(|left| (1..=900).contains(&left)) => {}
        (Value::String(wanted), Value::Number(number))
            if wanted == any::PSEUDONYM
                && number.as_i64().is_some_and(|number| number >= 1 << 30) => {}
        (Value::Number(wanted), Value::Number(got)) if wanted.as_f64() == got.as_f64() => {}
        _ if expected == live => {}
        _ => found.push(format!("{place} is {live}, not {expected}")),
    }
}

/// Broadcasts by name and seat: their order is not promised. Other lists stay as they are.
fn in_order(list: &[Value]) -> Vec<&Value> {
    let mut list: Vec<&Value> = list.iter().collect();
    list.sort_by_key(|broadcast| {
        let name = broadcast["event"].as_str().filter(|_| broadcast.get("args").is_some());
        let seat = &broadcast["args"][0];
        (name, seat["seat_type_id"].as_i64(), seat["seat_label"].as_str())
    });
    list
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REFERENCE: &str = "BKG-2026-1123-224638-CAFE";

    fn recorded() -> Value {
        json!({
            "status": 200,
            "body": {"data": {
                "lock": {"id": 1, "seat_label": "V1", "locked_at": "2026-11-23T22:46:34.345Z", "note": null},
                "booking_reference": REFERENCE,
                "order_id": "order_dUWxm07FeGprKs",
                "price": 500,
                "message": "Seat V1 locked successfully.",
            }},
            "broadcasts": {"buyer": [{"event": "seat_locked", "args": [{"seat_label": "V1"}]}], "anonymous": []},
        })
    }

    /// The differences found when the live outcome is the recorded one with one change.
    fn found(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut live = recorded();
        change(&mut live);
        differences(&recorded(), &live, &mut Names::default())
    }

    fn put(place: &str, value: Value) -> Vec<String> {
        found(|live| *live.pointer_mut(place).expect("a place") = value)
    }

    fn object<'a>(live: &'a mut Value, place: &str) -> &'a mut serde_json::Map<String, Value> {
        live.pointer_mut(place).and_then(Value::as_object_mut).expect("an object")
    }

    #[test]
    fn the_same_is_the_same() {
        assert_eq!(found(|_| {}), [""; 0]);
        assert_eq!(put("/body/data/price", json!(500.0)), [""; 0]);
    }

    #[test]
    fn a_missing_field_is_noticed() {
        let found = found(|live| drop(object(live, "/body/data/lock").remove("seat_label")));
        assert_eq!(found, [r#"/body/data/lock/seat_label is missing: "V1""#]);
    }

    #[test]
    fn a_new_field_is_noticed() {
        let found =
            found(|live| drop(object(live, "/body/data").insert("extra".into(), Value::Null)));
        assert_eq!(found, ["/body/data/extra is new: null"]);
    }

    #[test]
    fn a_null_where_none_was_is_noticed_and_the_other_way_round() {
        assert_eq!(put("/body/data/lock/id", Value::Null), ["/body/data/lock/id is null, not 1"]);
        assert_eq!(
            put("/body/data/lock/note", json!("x")),
            [r#"/body/data/lock/note is "x", not null"#]
        );
    }

    #[test]
    fn a_changed_status_text_number_or_type_is_noticed() {
        assert_eq!(put("/status", json!(201)), ["/status is 201, not 200"]);
        assert_eq!(put("/body/data/message", json!("Seat V1 locked")).len(), 1);
        assert_eq!(put("/body/data/price", json!(500.5)), ["/body/data/price is 500.5, not 500"]);
        assert_eq!(
            put("/body/data/price", json!("500")),
            [r#"/body/data/price is "500", not 500"#]
        );
        assert_eq!(put("/body/data/lock", json!([])).len(), 1);
    }

    #[test]
    fn a_missing_and_an_extra_broadcast_are_noticed() {
        assert_eq!(put("/broadcasts/buyer", json!([])).len(), 1);
        let extra = json!([{"event": "seat_locked", "args": [{"seat_label": "V1"}]}]);
        assert_eq!(put("/broadcasts/anonymous", extra).len(), 1);
        assert_eq!(put("/broadcasts/buyer/0/event", json!("seat_unlocked")).len(), 1);
        assert_eq!(put("/broadcasts/buyer/0/args/0/seat_label", json!("V2")).len(), 1);
    }

    #[test]
    fn broadcasts_may_overtake_each_other_and_nothing_else_may() {
        let seat = |event: &str, label: &str| json!({"event": event, "args": [{"seat_type_id": 1, "seat_label": label}]});
        let (one, two, three) = (seat("a", "V1"), seat("a", "V2"), seat("b", "V1"));
        let compared = |expected, live| differences(&expected, &live, &mut Names::default());
        assert_eq!(compared(json!([one, two, three]), json!([three, two, one])), [""; 0]);
        assert_eq!(compared(json!([one, two, two]), json!([one, one, two])).len(), 1);
        assert_eq!(compared(json!([1, 2]), json!([2, 1])).len(), 2);
    }

    #[test]
    fn times_have_their_form_and_those_that_clients_sent_their_value() {
        let place = "/body/data/lock/locked_at";
        assert_eq!(put(place, json!("2031-01-02T03:04:05.678Z")), [""; 0]);
        assert_eq!(put(place, json!("2031-01-02T03:04:05Z")).len(), 1);
        assert_eq!(put(place, json!(1_795_473_956)).len(), 1);
        let (sent, other) = (json!("2031-05-01T18:00:00.000Z"), json!("2031-05-01T19:00:00.000Z"));
        assert_eq!(differences(&sent, &other, &mut Names::default()).len(), 1);
    }

    #[test]
    fn a_made_up_name_has_its_form_and_stays_the_same() {
        let order = "/body/data/order_id";
        assert_eq!(put(order, json!("order_AAAAAAAAAAAAAA")), [""; 0]);
        assert_eq!(put(order, json!("pay_AAAAAAAAAAAAAA")).len(), 1);
        assert_eq!(
            put("/body/data/booking_reference", json!("BKG-2031-0102-030405-ABCDEFGH")),
            [""; 0]
        );
        assert_eq!(put("/body/data/booking_reference", json!("BKG-1")).len(), 1);

        let mut names = Names::default();
        let twice = json!([REFERENCE, REFERENCE, format!("TKT-{REFERENCE}-V1")]);
        let (one, two) = ("BKG-2031-0102-030405-AAAA", "BKG-2031-0102-030405-BBBB");
        assert_eq!(
            differences(&twice, &json!([one, one, format!("TKT-{one}-V1")]), &mut names),
            [""; 0]
        );
        assert_eq!(
            differences(&twice, &json!([one, two, format!("TKT-{two}-V1")]), &mut names).len(),
            2
        );
    }

    #[test]
    fn one_name_that_begins_like_another_is_another() {
        let mut names = Names::default();
        names.learn("pay_f", "pay_fail0000000000");
        names.learn("pay_f2", "pay_good0000000000");
        assert_eq!(
            names.translate("pay_f2, pay_f and pay_flat"),
            "pay_good0000000000, pay_fail0000000000 and pay_flat"
        );
    }
}
