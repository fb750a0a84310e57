//! Who may operate the installation. Everything else that anybody may do follows from what is theirs.

use sqlx::PgConnection;

use super::{credentials::Login, ids::UserId};
use crate::error::{Error, Result};

/// What a user is, beyond the owner of their own affairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Buys and organises.
    User,
    /// Operates the installation.
    Admin,
}

impl Role {
    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Admin => "admin",
        }
    }
}

/// [`Error::Forbidden`] unless `user` is an admin.
pub async fn require_admin(conn: &mut PgConnection, user: UserId) -> Result<()> {
    let admin = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE id = $1 AND role = 'admin') AS "admin!""#,
        user.0
    )
    .fetch_one(conn)
    .await?;
    if admin { Ok(()) } else { Err(Error::Forbidden("operate this installation")) }
}

/// Gives the account that logs in so a role; `None` when there is no such account.
pub async fn set(conn: &mut PgConnection, login: &Login, role: Role) -> Result<Option<UserId>> {
    let (email, phone) = login.columns();
    let id = sqlx::query_scalar!(
        "UPDATE users SET role = $3, updated_at = now() WHERE email = $1 OR phone = $2 RETURNING id",
        email,
        phone,
        role.name(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(id.map(UserId))
}
