//! The picture of a ticket's code.

use qrcodegen::{Mask, QrCode, QrCodeEcc, QrSegment, Version};

/// Pixels per side of a picture.
const SIDE: usize = 300;

/// White modules around the code, which scanners need.
pub const QUIET: usize = 4;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the text is too long for a QR code: {0}")]
    TooLong(#[from] qrcodegen::DataTooLong),
    #[error(transparent)]
    Png(#[from] png::EncodingError),
}

/// A QR code with error correction H.
pub fn code(text: &str) -> Result<QrCode, Error> {
    // A mask breaks up regular patterns. A text that is mostly a signature has none, so that it is
    // not worth to draw the code with each of the eight masks, which takes ten times as long.
    let mask = Some(Mask::new(0));
    let segments = QrSegment::make_segments(text);
    let (smallest, largest) = (Version::MIN, Version::MAX);
    let level = QrCodeEcc::High;
    Ok(QrCode::encode_segments_advanced(&segments, level, smallest, largest, mask, true)?)
}

/// The same as a PNG of 300 × 300 pixels.
pub fn png(text: &str) -> Result<Vec<u8>, Error> {
    let code = code(text)?;
    let modules = code.size() as usize + 2 * QUIET;
    // The largest whole number of pixels per module that fits; the rest widens the white margin.
    let scale = (SIDE / modules).max(1);
    let margin = (SIDE.saturating_sub(scale * code.size() as usize)) / 2;
    // One bit per pixel: with eight, the picture is twice as large.
    let blank = [u8::MAX; SIDE.div_ceil(8)];
    let mut pixels = blank.repeat(margin);
    for y in 0..code.size() {
        let mut line = blank;
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            for pixel in (margin + x as usize * scale..).take(scale) {
                line[pixel / 8] &= !(0x80 >> (pixel % 8));
            }
        }
        pixels.extend(line.repeat(scale));
    }
    pixels.resize(SIDE * blank.len(), u8::MAX);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIDE as u32, SIDE as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(file)
}
