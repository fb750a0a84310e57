//! Proof of work, as a client does it that was refused with a puzzle.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::Client;
use crate::response::Response;

/// The puzzle of a refusal.
pub fn puzzle(refused: &Response) -> Value {
    let error = &refused.body["error"];
    assert_eq!((refused.status, error["code"].as_str()), (429, Some("proof_of_work_needed")));
    error["puzzle"].clone()
}

/// The number that solves it.
fn number(puzzle: &Value) -> u64 {
    let salted = Sha256::new_with_prefix(puzzle["salt"].as_str().expect("a salt"));
    let wanted = puzzle["challenge"].as_str().expect("a challenge");
    let wanted: Vec<u8> = (0..wanted.len() / 2)
        .map(|at| u8::from_str_radix(&wanted[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect();
    let is_solution = |number: &u64| {
        salted.clone().chain_update(number.to_string()).finalize().as_slice() == wanted
    };
    let most = puzzle["maxnumber"].as_u64().expect("a number");
    (0..=most).find(is_solution).expect("a solution")
}

/// What ALTCHA's widget would send.
pub fn solution(puzzle: &Value, number: u64) -> String {
    let mut solution = puzzle.clone();
    solution["number"] = json!(number);
    BASE64_STANDARD.encode(solution.to_string())
}

/// Solves the puzzle of a refusal.
pub fn solve(refused: &Response) -> String {
    let puzzle = puzzle(refused);
    solution(&puzzle, number(&puzzle))
}

impl Client {
    /// POST with a JSON body and the solution of a puzzle.
    pub async fn post_solved(&self, path: &str, body: Value, solution: &str) -> Response {
        let request = self.request(Method::POST, path).header("x-altcha", solution);
        Response::to(request.json(&body)).await
    }

    /// POST as often as it takes a client that solves puzzles.
    pub async fn post_working(&self, path: &str, body: Value) -> Response {
        let response = self.post(path, body.clone()).await;
        match response.body["error"]["puzzle"].is_object() {
            true => self.post_solved(path, body, &solve(&response)).await,
            false => response,
        }
    }
}
