//! What a ticket's QR code says to a scanner.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signature, SigningKey};
use serde_json::Value;

/// A picture in shades of grey.
#[derive(Debug)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// What is in a PNG file.
    pub fn of_png(file: &[u8]) -> Self {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().expect("a PNG file");
        let size = reader.output_buffer_size().expect("an image that fits into memory");
        let mut pixels = vec![0; size];
        let image = reader.next_frame(&mut pixels).expect("a PNG image");
        let samples = image.color_type.samples();
        let pixels = pixels.into_iter().step_by(samples).collect();
        Self { width: image.width as usize, height: image.height as usize, pixels }
    }

    /// A film as Chromium takes one for a camera: it lies on a table for a second, and is away for
    /// four.
    pub fn film(&self) -> Vec<u8> {
        let (width, height) = (640, 480);
        let (left, top) = ((width - self.width) / 2, (height - self.height) / 2);
        let mut frame = vec![120; width * height];
        for (y, line) in self.pixels.chunks(self.width).enumerate() {
            let start = (top + y) * width + left;
            frame[start..start + self.width].copy_from_slice(line);
        }
        // No colour.
        frame.resize(width * height * 3 / 2, 128);
        let mut film = format!("YUV4MPEG2 W{width} H{height} F5:1 Ip A1:1 C420jpeg\n").into_bytes();
        let mut table = vec![120; width * height];
        table.resize(frame.len(), 128);
        for shown in std::iter::repeat_n(&frame, 5).chain(std::iter::repeat_n(&table, 20)) {
            film.extend(b"FRAME\n");
            film.extend(shown);
        }
        film
    }
}

/// Width, height and content of a QR code in a PNG file.
pub fn read_png(file: &[u8]) -> (u32, u32, String) {
    let picture = Picture::of_png(file);
    let brightness = |x: usize, y: usize| picture.pixels[y * picture.width + x];
    let mut prepared =
        rqrr::PreparedImage::prepare_from_greyscale(picture.width, picture.height, brightness);
    let grids = prepared.detect_grids();
    assert_eq!(grids.len(), 1, "QR codes in the image");
    let (_, content) = grids[0].decode().expect("a readable QR code");
    (picture.width as u32, picture.height as u32, content)
}

/// Width, height and content of a QR code in a `data:image/png;base64,…` URL.
pub fn read_data_url(url: &str) -> (u32, u32, String) {
    let encoded = url.strip_prefix("data:image/png;base64,");
    let encoded = encoded.unwrap_or_else(|| panic!("expected a PNG data URL, saw {:.60}…", url));
    read_png(&BASE64_STANDARD.decode(encoded).expect("base64"))
}

/// What is in the code of a ticket, as the API shows it.
pub fn text(ticket: &Value) -> String {
    read_data_url(ticket["qr_code"].as_str().expect("a picture")).2
}

/// What a ticket's text says once its signature has been checked (docs/tickets.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    pub event: i64,
    pub ticket: i64,
    pub nonce: i64,
}

/// Reads the text of a ticket that the owner of this `TICKET_SIGNING_KEY` has signed.
pub fn read_ticket(text: &str, signing_key: &str) -> Claim {
    let seed = BASE64_STANDARD.decode(signing_key).expect("a key in base64");
    let key = SigningKey::from_bytes(&seed.try_into().expect("32 bytes")).verifying_key();
    let encoded = text.strip_prefix("NX1-").unwrap_or_else(|| panic!("not a ticket: {text}"));
    let bytes = BASE32_NOPAD.decode(encoded.as_bytes()).expect("base32");
    let (claim, signature) = bytes.split_at(20);
    let signature = Signature::from_slice(signature).expect("64 bytes");
    key.verify_strict(&[b"NX1-", claim].concat(), &signature).expect("a good signature");
    let number =
        |from: usize| i32::from_be_bytes(claim[from..from + 4].try_into().expect("4 bytes")).into();
    let nonce = i64::from_be_bytes(claim[12..].try_into().expect("8 bytes"));
    Claim { event: number(4), ticket: number(8), nonce }
}
