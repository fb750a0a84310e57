//! `/scan`: the page with which people at a door scan tickets. It is an app of its own in
//! `api/assets/scan`, which a browser keeps and opens without a network; it asks the API with a door
//! key, as any other scanner does (docs/door.md).

use std::sync::LazyLock;

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderName, header};
use sha2::{Digest, Sha256};

use crate::app::App;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $media_type:expr) => {
        ($name, $media_type, include_str!(concat!("../assets/scan/", $name)))
    };
}

/// The page, below which the others are.
const PAGE: (&str, &str, &str) = asset!("index.html", HTML);
/// What it is made of.
const FILES: [(&str, &str, &str); 11] = [
    asset!("app.js", SCRIPT),
    asset!("camera.js", SCRIPT),
    asset!("door.js", SCRIPT),
    asset!("store.js", SCRIPT),
    asset!("ticket.js", SCRIPT),
    asset!("vendor/ed25519.js", SCRIPT),
    asset!("vendor/qr-decode.js", SCRIPT),
    asset!("vendor/qr.js", SCRIPT),
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("manifest.webmanifest", "application/manifest+json"),
    asset!("icon.svg", "image/svg+xml"),
];

/// The service worker, which keeps the files for as long as none of them changes.
static WORKER: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    let mut names = vec!["/scan".to_owned()];
    digest.update(PAGE.2);
    for (name, _, content) in FILES {
        digest.update(content);
        names.push(format!("/scan/{name}"));
    }
    let version: String = digest.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    include_str!("../assets/scan/worker.js")
        .replace("%VERSION%", &version)
        .replace("%FILES%", &names.join(", "))
});

/// What the page may do: its own files, the API beside it, and the camera.
const POLICY: [(HeaderName, &str); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(), geolocation=()"),
];

/// The page and its files, below `/scan`.
pub(crate) fn routes() -> Router<App> {
    let served = |media_type: &'static str, content: &'static str| {
        let headers = [(header::CONTENT_TYPE, media_type)];
        get(async move || (headers, POLICY, content))
    };
    // The worker may answer for the page itself, which is above it.
    let worker = async || {
        let scope = HeaderName::from_static("service-worker-allowed");
        let headers = [(header::CONTENT_TYPE, SCRIPT), (scope, "/scan")];
        (headers, POLICY, WORKER.as_str()).into_response()
    };
    let (_, media_type, content) = PAGE;
    let router =
        Router::new().route("/", served(media_type, content)).route("/worker.js", get(worker));
    FILES.iter().fold(router, |router, &(name, media_type, content)| {
        router.route(&format!("/{name}"), served(media_type, content))
    })
}
