//! What Redis knows of tokens, under the keys that the Node service uses
//! (docs/contract.md#existing-data): `blacklist:{token}`, `refresh_token:{token}`. PostgreSQL has
//! the truth ([`sessions`](super::sessions)).

use std::time::Duration;

use super::{
    sessions::EndedSessions,
    tokens::{ACCESS_VALID, REFRESH_VALID, Verified, either_way, stored},
};
use crate::{
    config::TokenStorage,
    storage::Cache,
    types::ids::{SessionId, UserId},
};

/// The keys of tokens.
#[derive(Clone)]
pub struct TokenHints {
    cache: Cache,
    storage: TokenStorage,
}

impl TokenHints {
    /// Keys name tokens as `storage` says.
    pub fn new(cache: Cache, storage: TokenStorage) -> Self {
        TokenHints { cache, storage }
    }

    /// Whether `token` is known to be revoked; `None` when Redis does not answer.
    pub async fn is_revoked(&self, token: &str, verified: &Verified) -> Option<bool> {
        let mut pipe = redis::pipe();
        let listed = either_way(token).map(|token| blacklist(&token));
        // A token without a session asks for a key that nobody writes.
        let session = verified.session.map_or_else(String::new, |session| session.0.to_string());
        pipe.exists((&listed, session_ended(&session))).get(sessions_from(verified.user));
        let (listed, from): (u32, Option<i64>) = self.cache.pipeline(&pipe).await?;
        Some(listed > 0 || from.is_some_and(|from| verified.issued_at.timestamp_millis() < from))
    }

    /// Remembers that `token` is revoked, for as long as it would have been valid.
    pub async fn revoke(&self, token: &str, left: Duration) {
        let key = blacklist(&stored(token, self.storage));
        self.cache.command::<()>(&redis::Cmd::set_ex(key, "1", left.as_secs().max(1))).await;
    }

    /// Remembers that a session has ended, including its refresh tokens where the Node service looks
    /// for them.
    pub async fn end_session(&self, session: SessionId, refresh_tokens: &[String]) {
        let mut pipe = redis::pipe();
        let key = session_ended(&session.0.to_string());
        pipe.set_ex(key, "1", ACCESS_VALID.as_secs()).ignore();
        self.forget(&mut pipe, refresh_tokens);
        self.cache.pipeline::<()>(&pipe).await;
    }

    /// Remembers that all sessions of `user` have ended, including their refresh tokens where the
    /// Node service looks for them.
    pub async fn end_sessions(&self, user: UserId, ended: &EndedSessions) {
        let mut pipe = redis::pipe();
        pipe.set_ex(sessions_from(user), ended.from.timestamp_millis(), ACCESS_VALID.as_secs())
            .ignore();
        self.forget(&mut pipe, &ended.refresh_tokens);
        self.cache.pipeline::<()>(&pipe).await;
    }

    fn forget(&self, pipe: &mut redis::Pipeline, refresh_tokens: &[String]) {
        for token in refresh_tokens {
            pipe.del(refresh_token(token)).ignore();
            pipe.set_ex(blacklist(&stored(token, self.storage)), "1", REFRESH_VALID.as_secs())
                .ignore();
        }
    }

    /// Remembers that refresh tokens are revoked.
    pub async fn revoke_refresh_tokens(&self, tokens: &[String]) {
        if !tokens.is_empty() {
            let mut pipe = redis::pipe();
            self.forget(&mut pipe, tokens);
            self.cache.pipeline::<()>(&pipe).await;
        }
    }

    /// Remembers a refresh token where the Node service looks for it; Nexus does not read it.
    pub async fn keep_refresh_token(&self, token: &str, user: UserId) {
        if self.storage == TokenStorage::Raw {
            let key = refresh_token(token);
            let command = redis::Cmd::set_ex(key, user.0.to_string(), REFRESH_VALID.as_secs());
            self.cache.command::<()>(&command).await;
        }
    }
}

/// Forgets refresh tokens that are no longer looked up here.
pub async fn drop_refresh_tokens(cache: &Cache, tokens: &[String]) {
    if !tokens.is_empty() {
        let keys: Vec<_> = tokens.iter().map(|token| refresh_token(token)).collect();
        cache.command::<()>(&redis::Cmd::del(keys)).await;
    }
}

fn blacklist(token: &str) -> String {
    format!("blacklist:{token}")
}

fn refresh_token(token: &str) -> String {
    format!("refresh_token:{token}")
}

fn session_ended(session: &str) -> String {
    format!("session_ended:{session}")
}

fn sessions_from(user: UserId) -> String {
    format!("sessions_from:{user}")
}
