//! Who may operate the installation, and who may create events where not every user may. Everything
//! else that users may do follows from what they own (`docs/authorisation.md`). A role is looked up
//! whenever it matters and is in no token: a change takes effect at once.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    audit::{self, Action},
    error::{Error, Result},
    types::{ids::UserId, text_enum::text_enum},
};

text_enum! {
    /// What a user may do besides managing their own affairs.
    pub enum Role {
        /// Buys, and organises unless only organisers may.
        User = "user",
        /// May create events where not every user may.
        Organiser = "organiser",
        /// Sees the operators' pages, and changes nothing there.
        Auditor = "auditor",
        /// Operates the installation, and may organise. Has no say in other users' events and
        /// bookings.
        Admin = "admin",
    }
}

/// [`Error::Forbidden`] unless `user` is an organiser or an admin.
pub async fn require_organiser(conn: &mut PgConnection, user: UserId) -> Result<()> {
    let has = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE id = $1 AND role IN ('organiser', 'admin')) AS "has!""#,
        user as _,
    )
    .fetch_one(conn)
    .await?;
    if has { Ok(()) } else { Err(Error::Forbidden("create events")) }
}

/// Gives an account a role, and records the change.
pub async fn set(conn: &mut PgConnection, user: UserId, role: Role) -> Result<()> {
    let before = sqlx::query_scalar!(
        "WITH found AS (SELECT id, role FROM users WHERE id = $1 FOR UPDATE),
              changed AS (UPDATE users u SET role = $2, updated_at = now() FROM found
                          WHERE u.id = found.id AND found.role <> $2 RETURNING u.id, found.role)
         INSERT INTO role_changes (user_id, role_before, role_after) SELECT id, role, $2 FROM changed
         RETURNING role_before",
        user as _,
        role as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(before) = before else { return Ok(()) };
    let details = json!({ "before": before, "after": role });
    audit::record(conn, Action::RoleChanged, None, user, details).await
}

/// An account and its role, for operators.
#[derive(Debug)]
pub struct Holder {
    pub id: UserId,
    pub email: Option<String>,
    pub phone: Option<String>,
    /// Whether the account has proved that these are its own.
    pub email_verified: bool,
    pub phone_verified: bool,
    pub role: Role,
    pub created_at: DateTime<Utc>,
    /// Since when the account has been suspended.
    pub suspended_at: Option<DateTime<Utc>>,
}

/// Every account whose role is more than user.
pub async fn holders(conn: &mut PgConnection) -> Result<Vec<Holder>> {
    let holders = sqlx::query_as!(
        Holder,
        r#"SELECT id, coalesce(email, claimed_email) AS email, coalesce(phone, claimed_phone) AS phone,
                  email IS NOT NULL AND email_verified_at IS NOT NULL AS "email_verified!",
                  phone IS NOT NULL AND phone_verified_at IS NOT NULL AS "phone_verified!",
                  role AS "role: _", created_at AS "created_at!", suspended_at
           FROM users WHERE role <> 'user' ORDER BY role, id"#
    )
    .fetch_all(conn)
    .await?;
    Ok(holders)
}

/// An account.
pub async fn holder(conn: &mut PgConnection, user: UserId) -> Result<Option<Holder>> {
    let holder = sqlx::query_as!(
        Holder,
        r#"SELECT id, coalesce(email, claimed_email) AS email, coalesce(phone, claimed_phone) AS phone,
                  email IS NOT NULL AND email_verified_at IS NOT NULL AS "email_verified!",
                  phone IS NOT NULL AND phone_verified_at IS NOT NULL AS "phone_verified!",
                  role AS "role: _", created_at AS "created_at!", suspended_at
           FROM users WHERE id = $1"#,
        user as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(holder)
}

/// One change of a role.
#[derive(Debug)]
pub struct Change {
    pub role_before: Role,
    pub role_after: Role,
    /// The operator, as PostgreSQL knew them.
    pub changed_by: String,
    pub changed_at: DateTime<Utc>,
}

/// The roles that `user` has been given, oldest first.
pub async fn history(conn: &mut PgConnection, user: UserId) -> Result<Vec<Change>> {
    let changes = sqlx::query_as!(
        Change,
        r#"SELECT role_before AS "role_before: _", role_after AS "role_after: _", changed_by, changed_at
           FROM role_changes WHERE user_id = $1 ORDER BY id"#,
        user as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(changes)
}
