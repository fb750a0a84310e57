//! Who may operate the installation, and who may create events where not every user may. Everything
//! else that users may do follows from what they own (`docs/authorisation.md`). A role is looked up
//! whenever it matters and is in no token: a change takes effect at once.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::credentials::Login;
use crate::{
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
        /// Operates the installation, and may organise. Has no say in other users' events and
        /// bookings.
        Admin = "admin",
    }
}

/// [`Error::Forbidden`] unless `user` is an admin.
pub async fn require_admin(conn: &mut PgConnection, user: UserId) -> Result<()> {
    require(conn, user, &[Role::Admin], "operate this installation").await
}

/// [`Error::Forbidden`] unless `user` is an organiser or an admin.
pub async fn require_organiser(conn: &mut PgConnection, user: UserId) -> Result<()> {
    require(conn, user, &[Role::Organiser, Role::Admin], "create events").await
}

async fn require(
    conn: &mut PgConnection,
    user: UserId,
    roles: &[Role],
    doing: &'static str,
) -> Result<()> {
    let has = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE id = $1 AND role = ANY ($2)) AS "has!""#,
        user as _,
        roles as _,
    )
    .fetch_one(conn)
    .await?;
    if has { Ok(()) } else { Err(Error::Forbidden(doing)) }
}

/// Gives the account of `login` a role, and records the change; `None` when there is no such
/// account.
pub async fn set(conn: &mut PgConnection, login: &Login, role: Role) -> Result<Option<UserId>> {
    let (email, phone) = login.columns();
    let id = sqlx::query_scalar!(
        r#"WITH found AS (SELECT id, role FROM users WHERE email = ANY ($1) OR phone = ANY ($2)
                          ORDER BY array_position($1, email::text), array_position($2, phone::text) LIMIT 1 FOR UPDATE),
                changed AS (UPDATE users u SET role = $3, updated_at = now() FROM found
                            WHERE u.id = found.id AND found.role <> $3 RETURNING u.id, found.role),
                remembered AS (INSERT INTO role_changes (user_id, role_before, role_after) SELECT id, role, $3 FROM changed)
           SELECT id AS "id!: UserId" FROM found"#,
        email,
        phone,
        role as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// An account and its role, for operators.
#[derive(Debug)]
pub struct Holder {
    pub id: UserId,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub role: Role,
    pub created_at: DateTime<Utc>,
}

/// Every account whose role is more than user.
pub async fn holders(conn: &mut PgConnection) -> Result<Vec<Holder>> {
    let holders = sqlx::query_as!(
        Holder,
        r#"SELECT id, email, phone, role AS "role: _", created_at AS "created_at!"
           FROM users WHERE role <> 'user' ORDER BY role, id"#
    )
    .fetch_all(conn)
    .await?;
    Ok(holders)
}

/// The account of `login`.
pub async fn holder(conn: &mut PgConnection, login: &Login) -> Result<Option<Holder>> {
    let (email, phone) = login.columns();
    let holder = sqlx::query_as!(
        Holder,
        r#"SELECT id, email, phone, role AS "role: _", created_at AS "created_at!"
           FROM users WHERE email = ANY ($1) OR phone = ANY ($2)
           ORDER BY array_position($1, email::text), array_position($2, phone::text) LIMIT 1"#,
        email,
        phone,
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
