//! The tables of states in `docs/payments.md` are those of the code. `make docs` writes them anew.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests"
)]

use std::{collections::BTreeSet, fmt::Write, path::Path};

use nexus_common::{
    bookings::booking_states::{self, BookingEvent, BookingState, BookingStep},
    ledger::payment_states::{self, PaymentEvent, PaymentState, PaymentStep},
};

const BEGIN: &str =
    "<!-- states: written by `make docs` from booking_states.rs and payment_states.rs -->\n";
const END: &str = "<!-- states end -->\n";

/// `PaidAfterStart` → `paid after start`
fn words(name: &impl std::fmt::Debug) -> String {
    let name = format!("{name:?}");
    let name = name.split('(').next().unwrap_or_default();
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// What the cell of a pair says: what is done, and where that leads if not to where it was.
fn cell(step: String, from: String, to: Option<String>) -> String {
    match to {
        Some(to) if to == from => step,
        Some(to) => format!("{step} → **{to}**"),
        None => format!("{step} → *its booking decides*"),
    }
}

fn booking_step(step: BookingStep) -> String {
    match step {
        BookingStep::Nothing => "·".into(),
        BookingStep::Refund(reason) => format!("refund: {}", words(&reason)),
        BookingStep::ExpireAndRefund(reason) => format!("expire, refund: {}", words(&reason)),
        BookingStep::Confirm
        | BookingStep::Expire
        | BookingStep::Cancel
        | BookingStep::CancelSale
        | BookingStep::NoteFailure
        | BookingStep::Refuse => words(&step),
    }
}

fn payment_step(step: PaymentStep) -> String {
    if step == PaymentStep::Nothing { "·".into() } else { words(&step) }
}

/// One line an event, one column a state.
fn table(
    head: &str,
    states: &[String],
    lines: impl Iterator<Item = (String, Vec<String>)>,
) -> String {
    let mut text =
        format!("| {head} | {} |\n|---|{}\n", states.join(" | "), "---|".repeat(states.len()));
    for (event, cells) in lines {
        let _ = writeln!(text, "| {event} | {} |", cells.join(" | "));
    }
    text
}

/// The arrows of a table as Mermaid draws them, each once.
fn diagram(arrows: impl Iterator<Item = (String, String, String)>) -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    let arrows: BTreeSet<_> = arrows.collect();
    for (from, to, event) in arrows {
        let name = |state: String| state.replace(' ', "_");
        let _ = writeln!(text, "    {} --> {} : {event}", name(from), name(to));
    }
    text + "```\n"
}

fn bookings() -> String {
    let to = |state, event| booking_states::next(state, event).leads_to(state);
    let states = BookingState::ALL.map(|state| words(&state));
    let lines = BookingEvent::ALL.into_iter().map(|event| {
        let cells = BookingState::ALL.map(|state| {
            let step = booking_states::next(state, event);
            cell(booking_step(step), words(&state), Some(words(&to(state, event))))
        });
        (words(&event), cells.to_vec())
    });
    let arrows = BookingState::ALL.into_iter().flat_map(|state| {
        BookingEvent::ALL
            .into_iter()
            .filter(move |event| to(state, *event) != state)
            .map(move |event| (words(&state), words(&to(state, event)), words(&event)))
    });
    format!("### Bookings\n\n{}\n{}", diagram(arrows), table("event \\ booking is", &states, lines))
}

fn payments() -> String {
    let to = |state, event| payment_states::next(state, event).leads_to(state);
    let states = PaymentState::ALL.map(|state| words(&state));
    let lines = PaymentEvent::ALL.into_iter().map(|event| {
        let cells = PaymentState::ALL.map(|state| {
            let step = payment_states::next(state, event);
            cell(payment_step(step), words(&state), to(state, event).map(|to| words(&to)))
        });
        (words(&event), cells.to_vec())
    });
    let decided = [PaymentState::Sold, PaymentState::Owed];
    let arrows = PaymentState::ALL.into_iter().flat_map(move |state| {
        PaymentEvent::ALL.into_iter().flat_map(move |event| {
            let leads: Vec<_> = match to(state, event) {
                Some(to) if to == state => vec![],
                Some(to) => vec![to],
                None => decided.to_vec(),
            };
            leads.into_iter().map(move |to| (words(&state), words(&to), words(&event)))
        })
    });
    format!("### Payments\n\n{}\n{}", diagram(arrows), table("event \\ payment is", &states, lines))
}

#[test]
fn the_documents_show_the_tables_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/payments.md");
    let document = std::fs::read_to_string(&path).expect("docs/payments.md");
    let (before, rest) = document.split_once(BEGIN).expect("the beginning of the tables");
    let (_, after) = rest.split_once(END).expect("the end of the tables");
    let written = format!("{before}{BEGIN}\n{}\n{}\n{END}{after}", bookings(), payments());
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, written).expect("docs/payments.md");
        return;
    }
    assert!(document == written, "docs/payments.md is not what the code does: run make docs");
}
