//! Events, and lists of them.

use serde_json::{Value, json};

use crate::replay::outcome::{merge, object, payloads, respond_http, succeed, tell};
use crate::replay::recording::Exchange;
use crate::replay::rule::{Rule, rule};

pub(super) fn events() -> Vec<Rule> {
    vec![
        rule("docs/contract.md#events", "a new event has the status and the publicity that the request says").on(
            [141],
            |_, outcome| {
                let said = json!({"event": {"status": "cancelled", "is_public": false}});
                merge(object(outcome, "/body/data"), said.clone());
                payloads(outcome, "event_created").for_each(|broadcast| merge(broadcast, said.clone()));
            },
        ),
        rule("docs/contract.md#change-15", "a seat type may be free when its event is created").on([149], |case, outcome| {
            let mut data = case.find(142).data().clone();
            let free = json!({"id": 901, "name": "Free", "price": 0, "quantity": 1, "available_quantity": 1});
            merge(&mut data, json!({"event": {"id": 901}, "seat_types": [free], "total_seats_available": 1}));
            let mut broadcast = data.clone();
            broadcast.as_object_mut().expect("a broadcast").remove("message");
            let message = data["message"].as_str().unwrap_or_default().replace("50 virtual", "1 virtual");
            merge(&mut data, json!({"message": message}));
            succeed(case.exchange, outcome, &data);
            tell(outcome, "event_created", &broadcast);
        }),
        rule("docs/contract.md#change-6", "a price is a number and not negative")
            .refused(153, 400, "Price must be greater than or equal to 0")
            .refused(154, 400, "Price must be greater than or equal to 0")
            .refused(222, 400, "Price must be greater than or equal to 0"),
        rule("docs/contract.md#change-13", "an event does not end before it starts")
            .refused(156, 400, "end_date must not be before start_date")
            .refused(158, 400, "end_date must not be before start_date"),
        rule("docs/contract.md#events", "an event has one of four statuses, and a name")
            .refused(184, 400, "status must be one of draft, published, cancelled, completed")
            .refused(186, 400, "name must not be empty"),
        rule("docs/contract.md#change-10", "a draft or private event exists for its organiser only").refused(
            177,
            404,
            "Event not found",
        ),
        rule("docs/contract.md#change-16", "broadcasts of a draft or private event are for its organiser only").on(
            [141, 189, 261, 263],
            |_, outcome| {
                merge(outcome, json!({"broadcasts": {"buyer": [], "anonymous": []}}));
            },
        ),
        rule("docs/contract.md#change-10", "the organiser's e-mail address is for the organiser only").on(
            [165, 166, 170, 175, 260, 274],
            |_, outcome| {
                object(outcome, "/body/data")
                    .as_object_mut()
                    .and_then(|event| event.remove("organizer_email"));
            },
        ),
    ]
}

/// Where an event takes place.
pub(super) fn time_zones() -> Vec<Rule> {
    fn add(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if fields.contains_key("start_date") && fields.contains_key("end_date") {
                    fields.insert("time_zone".into(), json!("Asia/Kolkata"));
                }
                fields.values_mut().for_each(add);
            }
            Value::Array(values) => values.iter_mut().for_each(add),
            _ => {}
        }
    }
    vec![
        rule(
            "docs/contract.md#change-66",
            "an event has a time zone, also where it is a booking's",
        )
        .everywhere(|_, outcome| add(outcome)),
    ]
}

/// Lists of events.
pub(super) fn lists() -> Vec<Rule> {
    vec![
        rule("docs/contract.md#failures", "a parameter that is sent twice is no failure").on([206], |case, outcome| {
            respond_http(outcome, 200, case.find(197).outcome["body"].clone());
        }),
        rule("docs/contract.md#events", "a page has at most 100 entries")
            .says(204, json!({"body": {"pagination": {"limit": 100}}})),
        rule("docs/contract.md#change-16", "lists show published public events").on(
            [190, 191, 192, 194, 195, 196, 198, 199, 200, 201, 205],
            |case, outcome| {
                let shown = public(case.find(190).data());
                let wanted = case.exchange.query("is_public").is_none_or(|wanted| wanted == "true");
                list(case.exchange, outcome, if wanted { shown } else { vec![] });
            },
        ),
        rule("docs/contract.md#change-16", "a page is filled with events that may be shown").on([520], |case, outcome| {
            let mut shown = public(case.exchange.data());
            let mut next = case.find(274).data().clone();
            next.as_object_mut().expect("an event").retain(|field, _| shown[0].get(field).is_some());
            shown.push(next);
            list(case.exchange, outcome, shown);
            merge(&mut outcome["body"]["pagination"], json!({"total": 12, "has_more": true}));
        }),
        rule("docs/contract.md#change-5", "counts are right").on([274, 520], |case, outcome| {
            let count = |event: &mut Value| {
                let (total, left) = case.truth.of_event(event["id"].as_i64().unwrap_or_default());
                merge(
                    event,
                    json!({"total_seats": total, "available_seats": left, "booked_seats": total - left}),
                );
            };
            match &mut outcome["body"]["data"] {
                Value::Array(events) => events.iter_mut().for_each(count),
                event => {
                    count(event);
                    merge(event, json!({"occupancy_rate": "100.00"}));
                }
            }
        }),
        rule("docs/contract.md#change-6", "no event has less than no seats").on([190, 191, 199, 200, 201], |_, outcome| {
            named(outcome, "Neg")
                .for_each(|event| merge(event, json!({"total_seats": 0, "available_seats": 0})));
        }),
        rule("docs/contract.md#change-13", "no event ends before it starts").on([190, 191, 200, 201, 520], |_, outcome| {
            for name in ["Backwards", "NoZone"] {
                named(outcome, name).for_each(|event| event["end_date"] = event["start_date"].clone());
            }
        }),
    ]
}

fn public(events: &Value) -> Vec<Value> {
    events
        .as_array()
        .into_iter()
        .flatten()
        .filter(|event| event["is_public"] == true)
        .cloned()
        .collect()
}

/// Answers the page of these events that the request asks for.
fn list(exchange: &Exchange, outcome: &mut Value, events: Vec<Value>) {
    let number = |name| {
        exchange.query(name).and_then(|text| text.parse().ok()).filter(|number| *number != 0)
    };
    let (limit, offset) = (number("limit").unwrap_or(10), number("offset").unwrap_or(0));
    let total = events.len();
    let page: Vec<Value> = events.into_iter().skip(offset).take(limit).collect();
    let pagination = json!({"total": total, "limit": limit, "offset": offset, "has_more": offset + limit < total});
    respond_http(outcome, 200, json!({"data": page, "pagination": pagination}));
}

fn named<'a>(outcome: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    outcome["body"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(move |event| event["name"] == name)
}
