//! A real browser: Chromium without a window, and pages that call the API (`clients/browser.mjs`,
//! `clients/page.js`).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::SOON;
use crate::client::Client;
use crate::lines::Lines;
use crate::qr;
use crate::response::Response;
use crate::settings::{TempDir, secret};
use crate::waiting::eventually;

/// Names that Chromium goes by.
const EXECUTABLES: [&str; 2] = ["chromium", "google-chrome"];
/// A browser starts slower than anything else here.
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A running browser. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    lines: Lines,
    origins: Vec<String>,
    next_call: AtomicU64,
    /// Last, because the browser writes there until it has ended.
    _profile: TempDir,
    _camera: Option<TempDir>,
}

/// One of its pages.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    browser: &'a Browser,
    number: usize,
}

impl Browser {
    /// Starts a browser with so many pages, each of an origin of its own.
    pub async fn start(pages: usize) -> Self {
        Self::start_with(pages, None).await
    }

    /// The same with one page, whose camera shows this picture.
    pub async fn with_camera(picture: &qr::Picture) -> Self {
        let folder = TempDir::create();
        let film = folder.join("camera.y4m");
        std::fs::write(&film, picture.film()).expect("a film");
        Self::start_with(1, Some((folder, film))).await
    }

    async fn start_with(pages: usize, camera: Option<(TempDir, PathBuf)>) -> Self {
        let profile = TempDir::create();
        let lines = Lines::node("the browser", "browser.mjs");
        let (_camera, film) = camera.unzip();
        lines
            .write(&json!({"executable": executable(), "profile": *profile, "pages": pages, "camera": film}))
            .await;
        let started = eventually("the browser starts", START_PATIENCE, async || {
            lines.log().of("origins").pop().ok_or_else(|| lines.describe())
        });
        let origins = started.await["origins"].as_array().cloned().unwrap_or_default();
        let origins = origins.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Self { lines, origins, next_call: AtomicU64::new(1), _profile: profile, _camera }
    }

    /// The first page is 0.
    pub fn page(&self, number: usize) -> Page<'_> {
        Page { browser: self, number }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.lines.end(STOP_PATIENCE);
    }
}

impl Page<'_> {
    /// Where the page comes from, as `http://host:port`.
    pub fn origin(&self) -> &str {
        &self.browser.origins[self.number]
    }

    /// Calls a function of `page.js`.
    pub async fn call(&self, function: &str, arguments: Value) -> Value {
        self.ask("call", function, arguments).await
    }

    /// Does what a user would, by a method of Playwright's page: `goto`, `fill`, `click`,
    /// `innerText`, `screenshot` …; returns its text, or what went wrong.
    pub async fn act(&self, method: &str, arguments: Value) -> String {
        self.ask("act", method, arguments).await.as_str().unwrap_or_default().to_owned()
    }

    async fn ask(&self, how: &str, function: &str, arguments: Value) -> Value {
        let lines = &self.browser.lines;
        let id = self.browser.next_call.fetch_add(1, Ordering::Relaxed);
        lines
            .write(&json!({"id": id, "page": self.number, how: function, "args": arguments}))
            .await;
        let what = format!("the page's {function}({arguments}) returns");
        eventually(&what, SOON, async || {
            let mut results = lines.log().of("result").into_iter();
            let found = results.find(|line| line["id"] == id);
            found.map(|mut line| line["result"].take()).ok_or_else(|| lines.describe())
        })
        .await
    }

    /// `fetch` with credentials, as a frontend where `who` is logged in calls the API: what the
    /// page can read of the response, or the error when the browser lets it read nothing.
    pub async fn fetch(
        &self,
        who: &Client,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Response, String> {
        let mut options = json!({"method": method, "headers": {}});
        if let Some(token) = &who.token {
            options["headers"]["Authorization"] = json!(format!("Bearer {token}"));
        }
        if !body.is_null() {
            options["headers"]["Content-Type"] = json!("application/json");
            options["headers"]["Idempotency-Key"] = json!(secret());
            options["body"] = json!(body.to_string());
        }
        let mut got = self.call("request", json!([who.url_of(path), options])).await;
        if let Some(blocked) = got["blocked"].as_str() {
            return Err(blocked.to_owned());
        }
        let header = |(name, value): (String, Value)| {
            Some((name.parse().ok()?, value.as_str()?.parse().ok()?))
        };
        let text = got["text"].as_str().unwrap_or_default().to_owned();
        Ok(Response {
            request: format!("{method} {}", who.url_of(path)),
            status: got["status"]
                .as_u64()
                .and_then(|status| status.try_into().ok())
                .unwrap_or_default(),
            headers: serde_json::from_value::<Map<_, _>>(got["headers"].take())
                .unwrap_or_default()
                .into_iter()
                .filter_map(header)
                .collect(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            bytes: text.clone().into_bytes(),
            text,
        })
    }

    /// Waits for a line about the page in the browser's console.
    pub async fn wait_for_console(&self, text: &str) {
        let lines = &self.browser.lines;
        eventually(&format!("the console says {text:?}"), SOON, async || {
            let said = lines.log().of("console");
            let is_it = |line: &Value| {
                line["page"] == self.number
                    && line["text"].as_str().is_some_and(|said| said.contains(text))
            };
            if said.iter().any(is_it) { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
    }

    /// What the browser's console has said about the page.
    pub fn console(&self) -> Vec<String> {
        let said = self
            .browser
            .lines
            .log()
            .of("console")
            .into_iter()
            .filter(|line| line["page"] == self.number);
        said.filter_map(|line| line["text"].as_str().map(str::to_owned)).collect()
    }

    /// Forgets what the console said.
    pub fn forget(&self) {
        self.browser.lines.log().forget();
    }
}

/// The first Chromium on the PATH.
fn executable() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates =
        std::env::split_paths(&path).flat_map(|dir| EXECUTABLES.map(|name| dir.join(name)));
    let found = candidates.find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("there is no Chromium on the PATH: run `make browser-deps`"))
}
