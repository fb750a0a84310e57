//! Tickets on paper: a PDF with a page for each.

mod text;

use krilla::{
    Document,
    color::luma,
    error::KrillaError,
    geom::{Path, PathBuilder, Rect, Size, Transform},
    metadata::Metadata,
    page::PageSettings,
    paint::Fill,
    surface::Surface,
};
use qrcodegen::QrCode;

use crate::{Event, Ticket, qr};
use text::{Block, Style, Writer};

/// A4, in points, of which an inch has 72.
const WIDTH: f32 = 595.28;
const HEIGHT: f32 = 841.89;
const MARGIN: f32 = 48.0;
/// As thick as lines are.
const LINE: f32 = 0.6;
/// What the texts may fill.
const ACROSS: f32 = WIDTH - 2.0 * MARGIN;
/// Above and below a line.
const GAP: f32 = 16.0;
/// The side of the code's frame, 85 mm. Of a ticket's code, the modules fill 73 mm.
const CODE: f32 = 240.0;
/// The facts stand to the left of the code, in rows that are as high together.
const FACTS: f32 = ACROSS - CODE - GAP;
const ROW: f32 = CODE / 5.0;
/// From a fact's label to what it is.
const LABEL: f32 = 12.0;
/// Where the last line of the page is.
const FOOT: f32 = HEIGHT - MARGIN - LABEL;

const NAME: Style = style(26.0, 12.0, true);
const WHEN: Style = style(13.0, 9.0, true);
const VENUE: Style = style(13.0, 9.0, false);
const LOCATION: Style = style(11.0, 8.0, false);
const SEAT: Style = style(20.0, 8.0, true);
const FACT: Style = style(12.0, 8.0, false);
const SMALL: Style = style(8.5, 6.0, false);
const TERMS: Style = Style { follows_script: true, ..SMALL };

const fn style(largest: f32, smallest: f32, bold: bool) -> Style {
    Style { largest, smallest, bold, follows_script: false }
}

const BLACK: u8 = 0;
/// Labels and terms: lighter, and still legible on paper.
const GREY: u8 = 72;
/// Lines.
const PALE: u8 = 176;

/// Why there is no PDF.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there are no tickets")]
    NoTickets,
    #[error(transparent)]
    Code(#[from] qr::Error),
    #[error(transparent)]
    Pdf(#[from] KrillaError),
}

/// Tickets of one event as a PDF, one page a ticket (A4): the same bytes for the same tickets.
/// Occupies a core for a while.
pub fn pdf(event: &Event, tickets: &[Ticket], terms: &str) -> Result<Vec<u8>, Error> {
    if tickets.is_empty() {
        return Err(Error::NoTickets);
    }
    let mut document = Document::new();
    let title = text::printable(&event.name);
    document.set_metadata(Metadata::new().title(title).language("en".to_owned()));
    let mut writer = Writer::new();
    let sheet = Sheet::new(event, terms, &mut writer);
    for (index, ticket) in tickets.iter().enumerate() {
        let code = qr::code(&ticket.code)?;
        let number = format!("{} of {}", index + 1, tickets.len());
        let settings = Size::from_wh(WIDTH, HEIGHT).map(PageSettings::new).unwrap_or_default();
        let mut page = document.start_page_with(settings);
        sheet.draw(&mut page.surface(), &mut writer, ticket, &code, &number);
    }
    Ok(document.finish()?)
}

/// What all tickets of an event have in common.
struct Sheet {
    /// Each with the space above it.
    head: Vec<(f32, Block)>,
    terms: Block,
    organizer: Option<Block>,
}

impl Sheet {
    fn new(event: &Event, terms: &str, writer: &mut Writer) -> Self {
        // However long these are, they leave a fifth of the page to the terms.
        let mut head = vec![
            (0.0, writer.fit(&event.name, NAME, ACROSS, 110.0)),
            (6.0, writer.fit(&event.when, WHEN, ACROSS, 36.0)),
        ];
        head.extend(event.venue.iter().map(|venue| (6.0, writer.fit(venue, VENUE, ACROSS, 36.0))));
        head.push((1.0, writer.fit(&event.location, LOCATION, ACROSS, 56.0)));
        let bottom: f32 = head.iter().map(|(space, block)| space + block.height()).sum();
        let terms_top = MARGIN + bottom + CODE + 4.0 * GAP;
        let organizer = event.organizer.as_ref().map(|organizer| {
            writer.fit(&format!("Organised by {organizer}"), SMALL, ACROSS - 80.0, LABEL)
        });
        Self { terms: writer.fit(terms, TERMS, ACROSS, FOOT - GAP - terms_top), head, organizer }
    }

    fn draw(
        &self,
        surface: &mut Surface<'_>,
        writer: &mut Writer,
        ticket: &Ticket,
        code: &QrCode,
        number: &str,
    ) {
        ink(surface, BLACK);
        let mut top = MARGIN;
        for (space, block) in &self.head {
            block.draw(surface, MARGIN, top + space);
            top += space + block.height();
        }
        rule(surface, top + GAP);
        top += 2.0 * GAP;

        let half = (FACTS - GAP) / 2.0;
        let mut fact = |label, value: &str, style, left, width, top| {
            ink(surface, GREY);
            writer.fit(label, SMALL, width, LABEL).draw(surface, left, top);
            ink(surface, BLACK);
            let value = writer.fit(value, style, width, ROW - LABEL - 4.0);
            value.draw(surface, left, top + LABEL);
        };
        fact("Seat", &ticket.seat, SEAT, MARGIN, half, top);
        fact("Seat type", &ticket.seat_type, FACT, MARGIN + half + GAP, half, top);
        let rows = [
            ("Price", Some(&ticket.price)),
            ("Name", ticket.holder.as_ref()),
            ("Ticket", Some(&ticket.number)),
            ("Booking", Some(&ticket.reference)),
        ];
        let rows = rows.into_iter().filter_map(|(label, value)| Some((label, value?)));
        for ((label, value), row) in rows.zip(1u8..) {
            fact(label, value, FACT, MARGIN, FACTS, top + f32::from(row) * ROW);
        }
        draw_code(surface, code, WIDTH - MARGIN - CODE, top);
        top += CODE + GAP;

        rule(surface, top);
        ink(surface, GREY);
        self.terms.draw(surface, MARGIN, top + GAP);
        let number = writer.fit(number, SMALL, ACROSS, LABEL);
        number.draw(surface, WIDTH - MARGIN - number.width(), FOOT);
        if let Some(organizer) = &self.organizer {
            organizer.draw(surface, MARGIN, FOOT);
        }
    }
}

/// What is drawn from now on is as light as this, up to 255.
fn ink(surface: &mut Surface<'_>, lightness: u8) {
    let paint = luma::Color::new(lightness).into();
    surface.set_fill(Some(Fill { paint, ..Fill::default() }));
}

/// A line across the page.
fn rule(surface: &mut Surface<'_>, top: f32) {
    if let Some(line) = rectangles([(MARGIN, top, ACROSS, LINE)]) {
        ink(surface, PALE);
        surface.draw_path(&line);
    }
}

/// The code with its quiet zone: black on white in a thin frame.
fn draw_code(surface: &mut Surface<'_>, code: &QrCode, left: f32, top: f32) {
    let inner = CODE - 2.0 * LINE;
    let frame = [(left, top, CODE, CODE)];
    let paper = [(left + LINE, top + LINE, inner, inner)];
    for (lightness, square) in [(PALE, rectangles(frame)), (u8::MAX, rectangles(paper))] {
        if let Some(square) = square {
            ink(surface, lightness);
            surface.draw_path(&square);
        }
    }
    // One path, as between two a viewer may let white through. Whole numbers make a small file.
    if let Some(modules) = rectangles(modules(code)) {
        let side = module(code);
        let quiet = LINE + side * qr::QUIET as f32;
        let place = Transform::from_row(side, 0.0, 0.0, side, left + quiet, top + quiet);
        surface.push_transform(&place);
        ink(surface, BLACK);
        surface.draw_path(&modules);
        surface.pop();
    }
}

/// The side of a module of the code.
fn module(code: &QrCode) -> f32 {
    (CODE - 2.0 * LINE) / (code.size() as usize + 2 * qr::QUIET) as f32
}

/// What is dark in the code, in modules: neighbours in a row are one rectangle.
fn modules(code: &QrCode) -> impl Iterator<Item = Sides> {
    (0..code.size()).flat_map(move |y| {
        let dark = move |x: &i32| code.get_module(*x, y);
        (0..code.size()).filter(move |x| dark(x) && !dark(&(x - 1))).map(move |x| {
            let width = (x..).take_while(dark).count();
            (x as f32, y as f32, width as f32, 1.0)
        })
    })
}

/// Left, top, width, height.
type Sides = (f32, f32, f32, f32);

/// Rectangles as one path.
fn rectangles(sides: impl IntoIterator<Item = Sides>) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (left, top, width, height) in sides {
        path.push_rect(Rect::from_xywh(left, top, width, height)?);
    }
    path.finish()
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone};
    use proptest::prelude::*;

    use super::*;

    fn event() -> Event {
        let starts = chrono_tz::Asia::Kolkata.with_ymd_and_hms(2031, 5, 1, 18, 0, 0).unwrap();
        Event {
            id: 7,
            name: "Spring Concert – वसंत".to_owned(),
            venue: Some("Chowdiah Memorial Hall".to_owned()),
            location: "16th Cross Road, Bengaluru".to_owned(),
            starts,
            ends: starts + TimeDelta::hours(3),
            when: "Thursday, 1 May 2031, 18:00 IST (Asia/Kolkata)".to_owned(),
            organizer: Some("Nandi Arts".to_owned()),
        }
    }

    fn ticket() -> Ticket {
        Ticket {
            number: "TKT-BKG-7K2M9QX4-A1".to_owned(),
            reference: "BKG-7K2M9QX4".to_owned(),
            seat: "A1".to_owned(),
            seat_type: "Premium".to_owned(),
            price: "₹1,500.00".to_owned(),
            holder: Some("محمد اقبال".to_owned()),
            code: format!("NX1-{}", "AGNU3BIPW4DKRX6".repeat(9)),
        }
    }

    fn pages(pdf: &[u8]) -> usize {
        pdf.windows(11).filter(|bytes| bytes == b"/Type/Page/").count()
    }

    #[test]
    fn a_page_for_each_ticket() {
        for count in [1, 3] {
            let pdf = pdf(&event(), &vec![ticket(); count], "Be there.\n\nIn time.").unwrap();
            assert!(pdf.starts_with(b"%PDF-"));
            assert_eq!(pages(&pdf), count);
        }
        assert!(matches!(pdf(&event(), &[], ""), Err(Error::NoTickets)));
    }

    #[test]
    fn the_same_tickets_are_the_same_bytes_and_not_many() {
        let make = || pdf(&event(), &[ticket()], "Be there.").unwrap();
        assert_eq!(make(), make());
        assert!(make().len() < 100_000);
    }

    #[test]
    fn what_is_unknown_leaves_no_trace() {
        let event = Event { venue: None, organizer: None, ..event() };
        let ticket = Ticket { holder: None, ..ticket() };
        assert_eq!(pages(&pdf(&event, &[ticket], "").unwrap()), 1);
    }

    #[test]
    fn a_code_that_is_too_long_is_an_error() {
        let ticket = Ticket { code: "?".repeat(5000), ..ticket() };
        assert!(matches!(pdf(&event(), &[ticket], ""), Err(Error::Code(_))));
    }

    #[test]
    fn the_code_is_drawn_module_by_module_and_large_enough() {
        for text in ["1", &ticket().code] {
            let code = qr::code(text).unwrap();
            let mut drawn = std::collections::HashSet::new();
            for (x, y, width, height) in modules(&code) {
                assert_eq!(height, 1.0);
                drawn.extend((0..width as i32).map(|next| (x as i32 + next, y as i32)));
            }
            let side = 0..code.size();
            let all = side.clone().flat_map(|x| side.clone().map(move |y| (x, y)));
            let dark = all.filter(|(x, y)| code.get_module(*x, *y)).collect();
            assert_eq!(drawn, dark);
            let millimetres = module(&code) * code.size() as f32 * 25.4 / 72.0;
            assert!(millimetres > 60.0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn nothing_that_people_write_takes_a_second_page(
            name in text::tests::texts(255),
            venue in text::tests::texts(255),
            location in text::tests::texts(500),
            holder in text::tests::texts(255),
            terms in text::tests::texts(3000),
        ) {
            let mut writer = Writer::new();
            let (venue, organizer) = (Some(venue), Some(name.clone()));
            let event = Event { name: name.clone(), venue, location, organizer, when: name, ..event() };
            let sheet = Sheet::new(&event, &terms, &mut writer);
            let head: f32 = sheet.head.iter().map(|(space, block)| space + block.height()).sum();
            let rest = head + CODE + 4.0 * GAP + sheet.terms.height();
            prop_assert!(MARGIN + rest <= FOOT);
            let seat = holder.clone();
            let ticket = Ticket { seat, number: holder.clone(), holder: Some(holder), ..ticket() };
            prop_assert_eq!(pages(&pdf(&event, &[ticket], &terms).unwrap()), 1);
        }
    }
}
