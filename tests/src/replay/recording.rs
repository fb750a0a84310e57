//! The recording (`contract/transcript.jsonl.gz`): what was sent to the Node service, what it
//! answered, and what three other clients heard. The result of an exchange is an *outcome*, JSON of
//! one form for the recorded and the live one, so that they can be compared: `{status, headers,
//! body, broadcasts}` for a request, `{received, acknowledged?, broadcasts}` for a socket's
//! command, `{data}` for an observation. Where the Node service answered an HTML page, `thrown` has
//! the error behind it instead of `body`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::mapping::any;

/// Headers that clients act upon: not framing, nor a framework's banners, nor the charset of a
/// media type, which JSON does not have. CORS headers count for pages, whose requests have an
/// Origin.
const RELEVANT: [&str; 6] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "cache-control",
    "content-type",
];

/// One recorded exchange.
#[derive(Debug)]
pub struct Exchange {
    /// Its number in the recording.
    pub seq: u32,
    /// What it was made for.
    pub name: String,
    /// What was sent.
    pub request: Request,
    /// What came of it.
    pub outcome: Value,
}

/// What was sent.
#[derive(Debug)]
pub enum Request {
    /// Over HTTP.
    Http { method: String, path: String, headers: BTreeMap<String, String>, body: Option<String> },
    /// Over the socket of `client`.
    Command { client: String, event: String, arguments: Vec<Value>, wants_ack: bool },
    /// An observation, which takes more than one message; its name says what.
    Observation,
}

/// A password that the recording sets by a reset, and that is refused by now
/// (docs/contract.md#change-37). Another one, as long as it, stands for it.
const GUESSABLE: &str = "\"aaaaaaaa\"";
const STAND_IN: &str = "\"k7#xQ2!v\"";

/// Every exchange, in the order in which they were made.
pub fn load() -> Vec<Exchange> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contract/transcript.jsonl.gz");
    let packed =
        std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = String::new();
    GzDecoder::new(packed).read_to_string(&mut lines).expect("the recording");
    lines
        .replace(GUESSABLE, STAND_IN)
        .lines()
        .map(|line| Exchange::parse(serde_json::from_str(line).expect("an exchange")))
        .collect()
}

impl Exchange {
    fn parse(mut line: Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let broadcasts = line["broadcasts"].take();
        let (request, mut outcome) = match line["kind"].as_str() {
            Some("http") => http(&line["request"], &line["response"]),
            Some("socket") => command(&line),
            _ => {
                line["data"]
                    .as_object_mut()
                    .into_iter()
                    .flatten()
                    .for_each(|(_, claims)| tell_lifetime(claims));
                (Request::Observation, json!({"data": line["data"]}))
            }
        };
        if !broadcasts.is_null() {
            outcome["broadcasts"] = broadcasts;
        }
        let seq = line["seq"].as_u64().and_then(|seq| u32::try_from(seq).ok()).expect("a number");
        Self { seq, name: text(&line["name"]), request, outcome }
    }

    /// Where an HTTP request went.
    pub fn path(&self) -> &str {
        match &self.request {
            Request::Http { path, .. } => path,
            _ => "",
        }
    }

    /// A parameter of an HTTP request's query.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path().split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The access token that an HTTP request came with.
    pub fn bearer(&self) -> &str {
        let Request::Http { headers, .. } = &self.request else { return "" };
        headers
            .get("Authorization")
            .and_then(|header| header.strip_prefix("Bearer "))
            .unwrap_or_default()
    }

    /// The data of a success, over HTTP or a socket.
    pub fn data(&self) -> &Value {
        match self.outcome.pointer("/received/0/args/0/data") {
            Some(data) => data,
            None => &self.outcome["body"]["data"],
        }
    }
}

fn http(request: &Value, response: &Value) -> (Request, Value) {
    let strings = |headers: &Value| -> BTreeMap<String, String> {
        let headers = headers.as_object().into_iter().flatten();
        headers
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    let status = response["status"].as_u64().unwrap_or_default();
    let text = match (method.as_str(), response.get("json"), &response["text"]) {
        ("HEAD", ..) => String::new(),
        (_, Some(json), _) => json.to_string(),
        (_, None, text) => text.as_str().unwrap_or_default().to_owned(),
    };
    let sent = strings(&request["headers"]);
    let mut outcome = http_outcome(&sent, status, strings(&response["headers"]), &text);
    if let Some(error) = response.get("error_text_in_development") {
        outcome["thrown"] = error.clone();
        outcome.as_object_mut().expect("an outcome").remove("body");
    }
    let body = request.get("body").map(|body| match body {
        Value::String(raw) => raw.clone(),
        json => json.to_string(),
    });
    let path = request["path"].as_str().unwrap_or_default().to_owned();
    (Request::Http { method, path, headers: sent, body }, outcome)
}

fn command(line: &Value) -> (Request, Value) {
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let arguments = if line["sent_args"] == 0 { vec![] } else { vec![line["payload"].clone()] };
    let wants_ack = line.get("acknowledged").is_some();
    let mut outcome = json!({"received": line["requester_received"]});
    if let Some(acknowledged) = line.get("acknowledged") {
        outcome["acknowledged"] = acknowledged.clone();
    }
    (
        Request::Command { client: text("client"), event: text("event"), arguments, wants_ack },
        outcome,
    )
}

/// The outcome of an HTTP request that was sent with some headers and answered with others, but for
/// the broadcasts.
pub fn http_outcome(
    sent: &BTreeMap<String, String>,
    status: u64,
    headers: impl IntoIterator<Item = (String, String)>,
    text: &str,
) -> Value {
    let mut relevant = BTreeMap::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let for_pages = name.starts_with("access-control-");
        if RELEVANT.contains(&name.as_str()) && (!for_pages || sent.contains_key("Origin")) {
            let value = value.split(';').next().unwrap_or_default();
            relevant.insert(name, value.to_owned());
        }
    }
    // Engine.IO puts its packet's type, 0, before the JSON of a handshake.
    let mut body = [Some(text), text.strip_prefix('0')]
        .into_iter()
        .flatten()
        .find_map(|text| serde_json::from_str::<Value>(text).ok().filter(Value::is_object))
        .unwrap_or_else(|| json!(text));
    if let Some(session) = body.get_mut("sid") {
        *session = json!(any::ID);
    }
    json!({"status": status, "headers": relevant, "body": body})
}

/// Replaces the two times in a token's claims by how long it is valid.
pub fn tell_lifetime(claims: &mut Value) {
    if let (Some(from), Some(until)) = (claims["iat"].as_i64(), claims["exp"].as_i64()) {
        claims["iat"] = json!("now");
        claims["exp"] = json!(format!("{} s later", until - from));
    }
}
