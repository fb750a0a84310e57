//! Pwned Passwords: the hashes of breached passwords that begin with five digits, under
//! `/breaches/range`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use sha1::{Digest, Sha1};

use super::provider_state::ProviderState;
use super::route::open_route;
use super::target::Target;
use crate::random;

/// Lines of a padded answer.
const PADDED: usize = 800;

pub(crate) fn router(state: &Arc<ProviderState>) -> Router {
    let range = open_route(state, Target::BreachesRange, get(range));
    Router::new().route("/breaches/range/{prefix}", range).with_state(state.clone())
}

/// SHA-1 in hexadecimal, upper case.
pub(crate) fn hash(password: &str) -> String {
    Sha1::digest(password).iter().map(|byte| format!("{byte:02X}")).collect()
}

async fn range(
    State(state): State<Arc<ProviderState>>,
    Path(prefix): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let prefix = prefix.to_uppercase();
    if prefix.len() != 5 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return (StatusCode::BAD_REQUEST, "The hash prefix was not in a valid format".to_owned());
    }
    let known = state.breached();
    let found = known.iter().filter_map(|hash| hash.strip_prefix(prefix.as_str()));
    let mut lines: Vec<String> = found.map(|rest| format!("{rest}:3")).collect();
    if headers.get("add-padding").is_some_and(|value| value == "true") {
        while lines.len() < PADDED {
            lines.push(format!("{}:0", random::hex(35).to_uppercase()));
        }
    }
    (StatusCode::OK, lines.join("\r\n"))
}
