//! Words on a page: the fonts that draw them, and how they are made to fit into their place.

use std::sync::{Arc, LazyLock};

use krilla::{
    geom::Point,
    paint::FillRule,
    surface::Surface,
    text::{Font, GlyphId, KrillaGlyph},
};
use parley::{
    Alignment, AlignmentOptions, FontContext, FontWeight, GenericFamily, Layout, LayoutContext,
    Line, OverflowWrap, Run, StyleProperty,
    fontique::{Blob, Collection, CollectionOptions, SourceCache},
};

/// A character is drawn with the first of them that has it (ticket-files/fonts/README.md).
const FONTS: [&[u8]; 12] = [
    include_bytes!("../../fonts/NotoSans-Regular.ttf"),
    include_bytes!("../../fonts/NotoSans-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansDevanagari-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansBengali-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansTamil-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansTelugu-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansKannada-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansMalayalam-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansGujarati-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansGurmukhi-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansOriya-Regular.ttf"),
    include_bytes!("../../fonts/NotoNaskhArabic-Regular.ttf"),
];

/// The fonts as the layout knows them, and, by the id of their data, as the PDF does.
struct Fonts {
    context: FontContext,
    embedded: Vec<(u64, Font)>,
}

static LOADED: LazyLock<Fonts> = LazyLock::new(|| {
    let options = CollectionOptions { shared: false, system_fonts: false };
    let mut collection = Collection::new(options);
    let mut families = Vec::new();
    let mut embedded = Vec::new();
    for file in FONTS {
        let data = Blob::new(Arc::new(file));
        embedded.extend(Font::new(file.into(), 0).map(|font| (data.id(), font)));
        families.extend(collection.register_fonts(data, None).into_iter().map(|(id, _)| id));
    }
    families.dedup();
    // What a text is drawn with if nobody says otherwise.
    collection.set_generic_families(GenericFamily::SansSerif, families.into_iter());
    Fonts { context: FontContext { collection, source_cache: SourceCache::default() }, embedded }
});

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// In points, if there is room for it.
    pub(super) largest: f32,
    /// Before it becomes smaller than this, it is cut.
    pub(super) smallest: f32,
    pub(super) bold: bool,
    /// Whether what is read from right to left is at the right.
    pub(super) follows_script: bool,
}

/// Lays texts out.
pub(super) struct Writer {
    fonts: FontContext,
    layouts: LayoutContext<()>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { fonts: LOADED.context.clone(), layouts: LayoutContext::new() }
    }

    /// A text within `width`, and within `height` as well: smaller if need be, and if that is not
    /// enough, without its end. A line stays, however low the place is.
    pub(super) fn fit(&mut self, text: &str, style: Style, width: f32, height: f32) -> Block {
        let mut size = style.largest;
        let mut block = self.block(printable(text), size, style, width);
        while block.height() > height && size > style.smallest {
            size = (size * 0.93).max(style.smallest);
            block = self.block(block.text, size, style, width);
        }
        if block.height() > height {
            let whole = block.text.clone();
            for cut in block.cuts(height) {
                let text = format!("{}…", whole[..cut].trim_end());
                block = self.block(text, size, style, width);
                if block.height() <= height {
                    break;
                }
            }
        }
        block
    }

    fn block(&mut self, text: String, size: f32, style: Style, width: f32) -> Block {
        let mut paragraphs = Vec::new();
        let mut start = 0;
        // Each by itself: one may be read from left to right, and the next from right to left.
        for paragraph in text.split('\n') {
            paragraphs.push((start, self.paragraph(paragraph, size, style, width)));
            start += paragraph.len() + 1;
        }
        Block { text, paragraphs, place: width }
    }

    fn paragraph(&mut self, text: &str, size: f32, style: Style, width: f32) -> Layout<()> {
        let mut builder = self.layouts.ranged_builder(&mut self.fonts, text, 1.0, false);
        builder.push_default(StyleProperty::FontSize(size));
        builder.push_default(StyleProperty::OverflowWrap(OverflowWrap::Anywhere));
        if style.bold {
            builder.push_default(StyleProperty::FontWeight(FontWeight::BOLD));
        }
        let mut layout = builder.build(text);
        layout.break_all_lines(Some(width));
        let alignment = if style.follows_script { Alignment::Start } else { Alignment::Left };
        layout.align(alignment, AlignmentOptions::default());
        layout
    }
}

/// A text without what does not belong on paper: control characters, but for ends of lines, and
/// emoji, which none of the fonts has.
pub(super) fn printable(text: &str) -> String {
    let emoji = |c| matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{fe0f}' | '\u{20e3}');
    let text: String =
        text.chars().filter(|c| *c == '\n' || !(emoji(*c) || c.is_control())).collect();
    text.trim().to_owned()
}

/// A text, in lines.
pub(super) struct Block {
    text: String,
    /// Each with where it starts in the text.
    paragraphs: Vec<(usize, Layout<()>)>,
    /// How wide it should be.
    place: f32,
}

impl Block {
    pub(super) fn height(&self) -> f32 {
        self.paragraphs.iter().map(|(_, layout)| layout.height()).sum()
    }

    pub(super) fn width(&self) -> f32 {
        self.paragraphs.iter().map(|(_, layout)| layout.width()).fold(0.0, f32::max)
    }

    /// From top to bottom, each with where its paragraph starts in the text and on the page.
    fn lines(&self) -> impl Iterator<Item = (usize, f32, Line<'_, ()>)> {
        let mut bottom = 0.0;
        self.paragraphs.iter().flat_map(move |(start, layout)| {
            let top = bottom;
            bottom += layout.height();
            layout.lines().map(move |line| (*start, top, line))
        })
    }

    /// Where the text may be cut so that it is no higher than `height`: between the characters of
    /// the last line that fits, its end first.
    fn cuts(&self, height: f32) -> Vec<usize> {
        let fits = |top: &f32, line: &Line<'_, ()>| top + line.metrics().block_max_coord <= height;
        let last = self.lines().take_while(|(_, top, line)| fits(top, line)).last();
        let Some((start, _, line)) = last.or_else(|| self.lines().next()) else {
            return Vec::new();
        };
        let mut cuts: Vec<usize> = line
            .runs()
            .flat_map(|run| run.clusters())
            .map(|cluster| start + cluster.text_range().start)
            .chain([start + line.text_range().end])
            .collect();
        cuts.sort_unstable();
        cuts.reverse();
        cuts
    }

    /// Draws the text below and to the right of a point.
    pub(super) fn draw(&self, surface: &mut Surface<'_>, left: f32, top: f32) {
        // What a script joins into one character is not broken, however wide it is.
        let clip = (self.width() > self.place)
            .then(|| super::rectangles([(left, top, self.place, self.height())]))
            .flatten();
        if let Some(place) = &clip {
            surface.push_clip_path(place, &FillRule::NonZero);
        }
        for (start, above, line) in self.lines() {
            let metrics = line.metrics();
            let baseline = top + above + metrics.baseline;
            let mut x = left + metrics.offset + metrics.inline_min_coord;
            for run in line.runs() {
                let id = run.font().data.id();
                if let Some((_, font)) = LOADED.embedded.iter().find(|(known, _)| *known == id) {
                    let (place, text) = (Point::from_xy(x, baseline), &self.text[start..]);
                    let (font, size) = (font.clone(), run.font_size());
                    surface.draw_glyphs(place, &glyphs(&run), font, text, size, false);
                }
                x += run.advance();
            }
        }
        if clip.is_some() {
            surface.pop();
        }
    }
}

/// The glyphs of a run from left to right, each with the part of the text that it stands for:
/// readers of the PDF search and copy that.
fn glyphs(run: &Run<'_, ()>) -> Vec<KrillaGlyph> {
    let mut parts: Vec<(_, std::ops::Range<usize>)> = Vec::new();
    for cluster in run.clusters() {
        let range = cluster.text_range();
        match parts.last_mut() {
            Some((_, whole)) if cluster.is_ligature_continuation() => whole.end = range.end,
            _ => parts.push((cluster, range)),
        }
    }
    if run.is_rtl() {
        parts.reverse();
    }
    let size = run.font_size();
    let mut glyphs = Vec::new();
    for (cluster, range) in parts {
        glyphs.extend(cluster.glyphs().map(|glyph| {
            let (id, range) = (GlyphId::new(glyph.id), range.clone());
            // Parley's offsets go down, krilla's up.
            let [advance, x, y] = [glyph.advance, glyph.x, -glyph.y].map(|length| length / size);
            KrillaGlyph::new(id, advance, x, y, 0.0, range, None)
        }));
    }
    glyphs
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    const STYLE: Style = Style { largest: 20.0, smallest: 8.0, bold: true, follows_script: true };

    /// The alphabets of the fonts, and what is in none of them.
    const SAMPLES: [&str; 12] = [
        "Jazz at Łódź, Ωμέγα, Москва, Đà Nẵng: ₹1,500.00 – “A1” …",
        "क्षत्रिय श्रीमती द्विवेदी, वसंत संगीत समारोह।",
        "কলকাতা শাস্ত্রীয় সঙ্গীত সন্ধ্যা",
        "ஸ்ரீநிவாஸன் கிருஷ்ணமூர்த்தி",
        "హైదరాబాద్ సంగీత కచేరీ, క్షేత్రం",
        "ಬೆಂಗಳೂರು ಸಂಗೀತೋತ್ಸವ, ಕ್ಷೇತ್ರ",
        "തിരുവനന്തപുരം സംഗീതോത്സവം, ക്ഷേത്രം",
        "અમદાવાદ સંગીત મહોત્સવ, ક્ષેત્ર",
        "ਅੰਮ੍ਰਿਤਸਰ ਸੰਗੀਤ ਮੇਲਾ",
        "ଭୁବନେଶ୍ୱର ସଙ୍ଗୀତ ମହୋତ୍ସବ",
        "جشنِ بہار، لکھنؤ ۱۲۳ (Lucknow) ٹکٹ",
        "王小明 한국 ไทย עברית \u{e000} \u{10ffff} a\u{300}\u{301} \u{200d}\u{202e}\u{2067}",
    ];

    fn glyphs_of(block: &Block) -> Vec<KrillaGlyph> {
        let runs = block.lines().flat_map(|(_, _, line)| line.runs().collect::<Vec<_>>());
        runs.flat_map(|run| glyphs(&run)).collect()
    }

    #[test]
    fn every_font_is_loaded() {
        assert_eq!(LOADED.embedded.len(), FONTS.len());
    }

    #[test]
    fn every_script_has_its_glyphs_and_they_stand_for_all_of_the_text() {
        let (foreign, own) = SAMPLES.split_last().unwrap();
        for (text, known) in own.iter().map(|text| (text, true)).chain([(foreign, false)]) {
            let block = Writer::new().fit(text, STYLE, 200.0, 400.0);
            let glyphs = glyphs_of(&block);
            assert_eq!(glyphs.iter().all(|glyph| glyph.glyph_id.to_u32() != 0), known, "{text}");
            let mut ranges: Vec<_> = glyphs.into_iter().map(|glyph| glyph.text_range).collect();
            ranges.sort_by_key(|range| range.start);
            ranges.dedup();
            let read: String = ranges.into_iter().map(|range| &text[range]).collect();
            assert_eq!(read, **text);
        }
    }

    #[test]
    fn what_is_read_from_right_to_left_is_drawn_so() {
        let block = Writer::new().fit("جشن", STYLE, 200.0, 400.0);
        let starts: Vec<_> = glyphs_of(&block).iter().map(|glyph| glyph.text_range.start).collect();
        assert!(starts.first() > starts.last());
        let left = |style| {
            let block = Writer::new().fit("Tickets\nٹکٹ", style, 200.0, 400.0);
            block.lines().last().unwrap().2.metrics().offset
        };
        assert!(left(STYLE) > 100.0);
        assert_eq!(left(Style { follows_script: false, ..STYLE }), 0.0);
    }

    #[test]
    fn a_text_is_large_then_smaller_then_cut() {
        let sizes = |text: &str| {
            let block = Writer::new().fit(text, STYLE, 200.0, 60.0);
            let size = block.lines().next().unwrap().2.runs().next().unwrap().font_size();
            (size, block.text)
        };
        assert_eq!(sizes("A concert"), (20.0, "A concert".to_owned()));
        let (size, text) = sizes(&"A concert ".repeat(9));
        assert!((8.0..20.0).contains(&size));
        assert!(text.ends_with('t'));
        let (size, text) = sizes(&"A concert ".repeat(99));
        assert_eq!(size, 8.0);
        assert!(text.starts_with("A concert A") && text.ends_with('…'));
        // Not in the middle of what readers see as one character.
        let (_, text) = sizes(&"श्री".repeat(299));
        assert!(text.ends_with("श्री…"), "{text}");
    }

    #[test]
    fn an_empty_line_is_as_high_as_another() {
        let height = |text| Writer::new().fit(text, STYLE, 200.0, 400.0).height();
        assert_eq!(height("a\n\nb"), 3.0 * height("a"));
    }

    #[test]
    fn only_what_can_be_printed_is() {
        assert_eq!(printable(" Fête 🎉\u{fe0f}\0\u{1b}[1m\nजश्न\t"), "Fête [1m\nजश्न");
    }

    /// Words of the samples, letters of anywhere, and words without end.
    pub(in crate::pdf) fn texts(longest: usize) -> impl Strategy<Value = String> {
        let words = SAMPLES.iter().flat_map(|text| text.split(' ')).collect::<Vec<_>>();
        let pieces = prop_oneof![
            (prop::sample::select(words), "[ \n]?")
                .prop_map(|(word, space)| format!("{word}{space}")),
            any::<String>(),
            prop::sample::select(vec!["W".repeat(99), "\n".repeat(99), "क्".repeat(99)]),
        ];
        prop::collection::vec(pieces, 0..longest / 4)
            .prop_map(move |pieces| pieces.concat().chars().take(longest).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_text_stays_in_its_place(text in texts(500), width in 80f32..500.0, height in 20f32..100.0) {
            let block = Writer::new().fit(&text, STYLE, width, height);
            prop_assert!(block.height() <= height);
            // Conjuncts without end, and a whole sentence that is one character, are clipped.
            let wide = text.contains(['\u{94d}', '\u{fdfd}']);
            prop_assert!(wide || block.width() <= width);
        }
    }
}
