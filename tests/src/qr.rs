//! What a ticket's QR code says to a scanner.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Width, height and content of a QR code in a PNG file.
pub fn read_png(file: &[u8]) -> (u32, u32, String) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().expect("a PNG file");
    let mut pixels = vec![0; reader.output_buffer_size().expect("an image that fits into memory")];
    let image = reader.next_frame(&mut pixels).expect("a PNG image");
    let (width, samples) = (image.width as usize, image.color_type.samples());
    let brightness = |x: usize, y: usize| pixels[(y * width + x) * samples];
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, image.height as usize, brightness);
    let grids = prepared.detect_grids();
    assert_eq!(grids.len(), 1, "QR codes in the image");
    let (_, content) = grids[0].decode().expect("a readable QR code");
    (image.width, image.height, content)
}

/// The same for a `data:image/png;base64,…` URL.
pub fn read_data_url(url: &str) -> (u32, u32, String) {
    let encoded = url.strip_prefix("data:image/png;base64,");
    let encoded = encoded.unwrap_or_else(|| panic!("expected a PNG data URL, saw {:.60}…", url));
    read_png(&BASE64_STANDARD.decode(encoded).expect("base64"))
}
