//! Proof of work: what somebody may do instead of waiting who is beyond the budget of a network,
//! because others there have used it up. A puzzle is an ALTCHA challenge. It is signed for what was
//! asked for and by whom, and stored nowhere; a budget of one ([`Limit::Puzzles`]) has it count
//! once.
//!
//! [`Limit::Puzzles`]: crate::config::Limit::Puzzles

use std::{fmt::Write, time::Duration};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    config::Tokens,
    error::{Error, Result},
    types::puzzle::Puzzle,
};

/// How long a puzzle can be solved.
pub const VALID: Duration = Duration::from_secs(300);

/// Among so many numbers is the first one's solution: a telephone's browser tries half of them in
/// about a second.
const EASIEST: u32 = 20_000;
/// The same at the end of what work can get.
const HARDEST: u32 = 400_000;
/// A puzzle that was so many times easier than one would be now was kept for later.
const TOO_EASY: u32 = 4;
const ALGORITHM: &str = "SHA-256";
/// No solution of ours is as long.
pub const LONGEST: usize = 1_024;

/// How hard a puzzle is for somebody who is so far beyond a budget: `beyond` percent of what work
/// can get.
fn numbers(beyond: u32) -> u32 {
    EASIEST + (HARDEST - EASIEST) / 100 * beyond.min(100)
}

/// Sets puzzles, and checks their solutions.
pub struct Puzzles {
    /// The one that signs, and its predecessors.
    keys: Vec<Hmac<Sha256>>,
}

/// What ALTCHA's widget sends, as Base64 of JSON. It says more, which matters to nobody.
#[derive(Deserialize)]
struct Solution {
    challenge: String,
    number: u64,
    salt: String,
    signature: String,
}

/// A puzzle of ours that was solved in time; it may have been used.
#[derive(Debug)]
pub struct Solved {
    /// Which one.
    pub id: String,
    /// How hard it was.
    maxnumber: u32,
}

impl Solved {
    /// Whether it was about as hard as a puzzle would be now; see [`Puzzles::set`].
    pub fn suffices(&self, beyond: u32) -> bool {
        self.maxnumber.saturating_mul(TOO_EASY) >= numbers(beyond)
    }
}

impl Puzzles {
    /// Signs with keys that follow from those of access tokens.
    pub fn new(settings: &Tokens) -> Result<Self> {
        let key = |secret: &secrecy::SecretString| {
            let key = Hmac::new_from_slice(secret.expose_secret().as_bytes());
            key.map(|key: Hmac<Sha256>| key.chain_update("puzzle ")).map_err(Error::internal)
        };
        Ok(Puzzles { keys: settings.access.iter().map(key).collect::<Result<_>>()? })
    }

    /// A new puzzle for `purpose`: what is asked for, and by whom. `beyond`: how far, in percent of
    /// what work can get.
    pub fn set(&self, purpose: &str, beyond: u32) -> Result<Puzzle> {
        let key = self.keys.first().ok_or_else(|| Error::internal("no key signs puzzles"))?;
        let maxnumber = numbers(beyond);
        let expires = (Utc::now() + VALID).timestamp();
        // The end keeps digits from going over to the number.
        let salt = format!("{}?expires={expires}&max={maxnumber}&", Uuid::new_v4().simple());
        // Follows from the salt for us, and for nobody else.
        let secret = key.clone().chain_update("number ").chain_update(&salt).finalize();
        let secret = secret.into_bytes();
        let number = secret.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            % (u64::from(maxnumber) + 1);
        let challenge = challenge(&salt, number);
        let tag = signed(key, purpose, &challenge).finalize().into_bytes();
        let signature = BASE64_URL_SAFE_NO_PAD.encode(tag);
        Ok(Puzzle { algorithm: ALGORITHM, challenge, maxnumber, salt, signature })
    }

    /// The puzzle that was set for `purpose`, if this solves it and it has not expired.
    pub fn solved(&self, solution: &str, purpose: &str) -> Option<Solved> {
        if solution.len() > LONGEST {
            return None;
        }
        let json = BASE64_STANDARD.decode(solution).ok()?;
        let solution: Solution = serde_json::from_slice(&json).ok()?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(&solution.signature).ok()?;
        let is_ours = self
            .keys
            .iter()
            .any(|key| signed(key, purpose, &solution.challenge).verify_slice(&tag).is_ok());
        let is_solved = solution.salt.ends_with('&')
            && challenge(&solution.salt, solution.number) == solution.challenge;
        if !is_ours || !is_solved {
            return None;
        }
        let (_, fields) = solution.salt.split_once('?')?;
        let field = |name| {
            let value = |pair: &'_ str| pair.strip_prefix(name)?.parse::<i64>().ok();
            fields.split('&').find_map(value)
        };
        let is_valid = Utc::now().timestamp() < field("expires=")?;
        let maxnumber = field("max=")?.try_into().ok()?;
        is_valid.then_some(Solved { id: solution.challenge, maxnumber })
    }
}

/// Hexadecimal, as ALTCHA has it.
fn challenge(salt: &str, number: u64) -> String {
    let digest = Sha256::digest(format!("{salt}{number}"));
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The challenge has a fixed length, so that nothing can go over to the purpose.
fn signed(key: &Hmac<Sha256>, purpose: &str, challenge: &str) -> Hmac<Sha256> {
    key.clone().chain_update("signature ").chain_update(purpose).chain_update(challenge)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signed_with(secrets: &[&str]) -> Puzzles {
        let access = secrets.iter().map(|secret| secret.repeat(32).into()).collect();
        Puzzles::new(&Tokens { access, refresh: vec![] }).unwrap()
    }

    fn solve(puzzle: &Puzzle) -> u64 {
        (0..=u64::from(puzzle.maxnumber))
            .find(|number| challenge(&puzzle.salt, *number) == puzzle.challenge)
            .unwrap()
    }

    fn written(puzzle: &Puzzle, number: u64) -> String {
        let Puzzle { challenge, salt, signature, .. } = puzzle;
        let solution = json!({
            "algorithm": "SHA-256", "challenge": challenge, "number": number, "salt": salt,
            "signature": signature, "took": 12
        });
        BASE64_STANDARD.encode(solution.to_string())
    }

    const ASHA: &str = "registration 203.0.113.7";

    #[test]
    fn a_solution_is_good_for_its_purpose_only() {
        let puzzles = signed_with(&["a"]);
        let puzzle = puzzles.set(ASHA, 0).unwrap();
        let number = solve(&puzzle);
        let solution = written(&puzzle, number);
        assert_eq!(puzzles.solved(&solution, ASHA).unwrap().id, puzzle.challenge);
        assert!(puzzles.solved(&solution, "registration 203.0.113.8").is_none());
        assert!(puzzles.solved(&solution, "login 203.0.113.7").is_none());
        assert!(puzzles.solved(&written(&puzzle, number + 1), ASHA).is_none());
        assert!(signed_with(&["b", "a"]).solved(&solution, ASHA).is_some());
        assert!(signed_with(&["b"]).solved(&solution, ASHA).is_none());
        for text in ["", "x", "é", "e30=", &"a".repeat(10_000), &solution[4..]] {
            assert!(puzzles.solved(text, ASHA).is_none(), "{text}");
        }
    }

    #[test]
    fn digits_of_the_salt_do_not_count_as_the_number() {
        let puzzles = signed_with(&["a"]);
        let puzzle = puzzles.set(ASHA, 0).unwrap();
        let number = solve(&puzzle);
        let spliced = Puzzle { salt: format!("{}{}", puzzle.salt, number / 10), ..puzzle.clone() };
        assert!(puzzles.solved(&written(&spliced, number % 10), ASHA).is_none());
    }

    #[test]
    fn a_puzzle_gets_harder_and_an_easy_one_that_was_kept_is_worth_nothing_then() {
        let puzzles = signed_with(&["a"]);
        let hard = |beyond| puzzles.set(ASHA, beyond).unwrap().maxnumber;
        assert_eq!([hard(0), hard(50), hard(100), hard(900)], [20_000, 210_000, 400_000, 400_000]);
        let puzzle = puzzles.set(ASHA, 0).unwrap();
        let solved = puzzles.solved(&written(&puzzle, solve(&puzzle)), ASHA).unwrap();
        assert!(solved.suffices(15) && !solved.suffices(17));
    }

    #[test]
    fn a_puzzle_expires() {
        let puzzles = signed_with(&["a"]);
        let at = |expires: i64| {
            let salt = format!("salt?expires={expires}&max=50000&");
            let challenge = challenge(&salt, 7);
            let tag = signed(&puzzles.keys[0], ASHA, &challenge).finalize().into_bytes();
            let signature = BASE64_URL_SAFE_NO_PAD.encode(tag);
            let puzzle =
                Puzzle { algorithm: ALGORITHM, challenge, maxnumber: 50_000, salt, signature };
            puzzles.solved(&written(&puzzle, 7), ASHA).is_some()
        };
        let now = Utc::now().timestamp();
        assert!(at(now + 60) && !at(now - 1));
    }
}
