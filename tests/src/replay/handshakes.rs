//! The probe: a socket that connects in the way that the exchange is about.

use serde_json::{Value, json};

use super::arrangements::BUYER;
use super::driver::Replay;
use super::recording::Exchange;
use crate::SOON;
use crate::waiting::{eventually, seen};

impl Replay {
    /// Connects a client, in place of the one that had its name.
    pub(super) async fn connect(&mut self, name: &str, options: Value) {
        let socket = self.stack.socket_with(name, &self.stack.anonymous(), options).await;
        self.sockets.insert(name.to_owned(), socket);
        self.heard.remove(name);
    }

    /// Connects the probe as the name of the exchange says.
    pub(super) async fn open_probe(&mut self, exchange: &Exchange) {
        if exchange.name == "socket still authorised after its token expired" {
            return self.open_probe_until_its_token_has_expired().await;
        }
        let Some(how) = exchange.name.strip_prefix("handshake: ") else { return };
        let claims = |user: i64, kind: &str, seconds: i64| {
            let issued = now();
            json!({"userId": user, "type": kind, "iat": issued, "exp": issued + seconds})
        };
        let sign = |claims: Value| self.stack.sign_token(&claims);
        let token = sign(claims(BUYER, "access", 1800));
        let with = |token: Value| json!({"auth": {"token": token}});
        let options = match how {
            "no token" => json!({}),
            "garbage token" => with(json!("garbage")),
            "refresh token" => {
                let login = json!({"email": "buyer@example.com", "password": "Passw0rd!"});
                with(
                    self.stack.anonymous().post("/auth/login", login).await.data()["refreshToken"]
                        .take(),
                )
            }
            "Authorization header" => {
                json!({"extraHeaders": {"Authorization": format!("Bearer {token}")}})
            }
            "auth.token with Bearer prefix" => with(json!(format!("Bearer {token}"))),
            "query token" => json!({"query": {"token": token}}),
            "auth.token number" => with(json!(5)),
            "expired token" => with(json!(sign(claims(BUYER, "access", -10)))),
            "type refresh, access secret" => with(json!(sign(claims(BUYER, "refresh", 1800)))),
            "no userId claim" => {
                with(json!(sign(json!({"type": "access", "iat": now(), "exp": now() + 1800}))))
            }
            "user does not exist" => with(json!(sign(claims(999_999, "access", 1800)))),
            "long-polling transport" => {
                json!({"transports": ["polling"], "auth": {"token": token}})
            }
            // The token of the session that the leaver has ended.
            "revoked token" => with(json!(self.tokens["leaver"])),
            _ => panic!("nobody knows how to connect with {how}"),
        };
        self.connect("probe", options).await;
    }

    async fn open_probe_until_its_token_has_expired(&mut self) {
        let expires = now() + 3;
        let claims = json!({"userId": BUYER, "type": "access", "iat": now(), "exp": expires});
        let token = self.stack.sign_token(&claims);
        self.connect("probe", json!({"auth": {"token": token}})).await;
        eventually("the token expires", SOON, async || seen(now() > expires, expires)).await;
    }
}

fn now() -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
    i64::try_from(now).expect("a time")
}
