//! `POST /events/:id/queue`, `join_queue`

use nexus_common::{
    Error, Result, config::Limit, limiter::puzzles, observability::metrics, providers::captcha,
    realtime::AfterCommit, types::statuses::RoomState, waiting_rooms::visitors::Visitor,
};
use serde::Deserialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, Type},
};

use crate::{
    admission::away,
    http::{
        fields::{Code, Field, Id, field},
        solution::Solution,
    },
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct JoinQueue {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
    altcha: Option<Solved>,
    captcha: Option<CaptchaToken>,
}

field!(
    /// The solution of a puzzle; whatever is none is the same as none.
    Solved: String = |value| value.as_str().map(str::to_owned),
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(puzzles::LONGEST))
        .description(Some("The solution of the puzzle that came with `proof_of_work_needed`: Base64, as ALTCHA's widget and libraries make it."))
);

field!(
    /// Whatever is no token is the same as none.
    CaptchaToken: String = |value| value.as_str().filter(|token| token.len() <= captcha::LONGEST).map(str::to_owned),
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(captcha::LONGEST))
        .description(Some("The token of the CAPTCHA service's widget, where the installation uses one."))
);

impl Command for JoinQueue {
    type Response = Visitor;

    fn spec() -> Operation {
        Operation::command("join_queue", "Join an event's waiting room")
            .description("Once for each account, and for each phone where the room needs one, however often it asks. Whoever joins before the opening is drawn then; later ones come behind them in the order in which they join. Whoever has left, or has let their window pass, begins again. Where many join, it takes work: `proof_of_work_needed` comes with a `puzzle`, whose solution goes into `altcha`.")
            .failures([
                Error::EventNotFound,
                Error::WaitingRoomNotFound,
                Error::WaitingRoomIs(RoomState::Closed),
                Error::PhoneNotVerified,
                Error::PhoneHasPlace,
                Error::CaptchaNeeded,
                Error::ContactNotVerified,
                Error::work_needed(),
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let event = seats::event(&self.event_id)?;
        let viewer = call.viewer(event, &self.share_code);
        call.app.reads.require_visible(event, viewer).await?;
        let rooms = &call.app.waiting_rooms;
        if let Some(visitor) = rooms.place(event, call.user).await? {
            return Done::new(visitor, AfterCommit::default());
        }
        let solution = Solution(self.altcha.as_ref().and_then(Solved::read));
        let budgets = &call.app.budgets;
        let taken = budgets.waiting_room(event, call.user, call.address, &solution).await?;
        let joined = async {
            // After the work, which may be asked for first: a token is good once.
            require_person(&call, self.captcha.as_ref().and_then(CaptchaToken::read)).await?;
            rooms.join(event, call.user).await
        };
        match joined.await {
            Ok(visitor) => Done::new(visitor, AfterCommit::default()),
            Err(error) => {
                budgets.give_back(&taken, &Limit::WAITING_ROOM).await;
                Err(error)
            }
        }
    }
}

/// Refuses whom the CAPTCHA service, if there is one, takes for a program. While it does not answer,
/// work is all that joining takes.
async fn require_person(call: &Call, token: Option<String>) -> Result<()> {
    let Some(captcha) = &call.app.captcha else { return Ok(()) };
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        metrics::captcha("missing");
        return Err(Error::CaptchaNeeded);
    };
    match away(captcha.is_person(&token, call.address)).await {
        Ok(true) => {
            metrics::captcha("person");
            Ok(())
        }
        Ok(false) => {
            metrics::captcha("program");
            tracing::info!(
                user_id = call.user.0,
                "the CAPTCHA service takes somebody for a program"
            );
            Err(Error::CaptchaNeeded)
        }
        Err(error) => {
            metrics::captcha("failed");
            tracing::warn!(%error, "somebody joins a waiting room whom no CAPTCHA service has judged");
            Ok(())
        }
    }
}
