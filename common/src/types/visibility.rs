//! Who may know of an event.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, SchemaFormat, Type};
use uuid::Uuid;

use super::{ids::UserId, schemas::describe};

/// What the organiser of a private event gives to those who may know of it. It is as good as a
/// password, so it never gets into logs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct ShareCode(Uuid);

impl ShareCode {
    /// `None` for what is the code of no event.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text.trim()).ok().map(ShareCode)
    }
}

impl fmt::Debug for ShareCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareCode(…)")
    }
}

describe!(
    ShareCode,
    "ShareCode",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".into())))
);

/// Who looks at an event, and the code that they have been given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Viewer {
    pub user: Option<UserId>,
    pub code: Option<ShareCode>,
}

/// Who may know of an event, and hear of its seats and bookings; the function `event_visibility` in
/// the schema decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody.
    Open,
    /// Its organiser, and whoever has its code.
    Private { organiser: UserId, code: ShareCode },
    /// Its organiser, whatever code others may have.
    Draft { organiser: UserId },
}

impl Visibility {
    /// Whether a viewer may know of the event. A wrong code is the same as none.
    pub fn is_open_to(self, viewer: Viewer) -> bool {
        match self {
            Visibility::Open => true,
            Visibility::Private { organiser, code } => {
                viewer.user == Some(organiser) || viewer.code == Some(code)
            }
            Visibility::Draft { organiser } => viewer.user == Some(organiser),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    const CODE: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    #[test]
    fn a_code_opens_a_private_event_and_no_draft() {
        let (code, organiser) = (ShareCode::parse(CODE), UserId(7));
        let said = json!({"private": {"organiser": 7, "code": CODE}});
        let private: Visibility = from_value(said).unwrap();
        let draft: Visibility = from_value(json!({"draft": {"organiser": 7}})).unwrap();
        let open: Visibility = from_value(json!("open")).unwrap();
        let wrong = ShareCode::parse("67e55044-10b1-426f-9247-bb680e5fe0c9");
        for (user, sent, sees_private, sees_draft) in [
            (Some(organiser), None, true, true),
            (Some(UserId(8)), None, false, false),
            (Some(UserId(8)), wrong, false, false),
            (None, None, false, false),
            (None, code, true, false),
        ] {
            let viewer = Viewer { user, code: sent };
            assert_eq!(private.is_open_to(viewer), sees_private);
            assert_eq!(draft.is_open_to(viewer), sees_draft);
            assert!(open.is_open_to(viewer));
        }
    }

    #[test]
    fn a_code_stays_out_of_logs() {
        let private =
            Visibility::Private { organiser: UserId(7), code: ShareCode::parse(CODE).unwrap() };
        assert!(!format!("{private:?}").contains("67e5"));
    }
}
