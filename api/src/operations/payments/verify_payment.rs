//! `GET /payments/verify/:orderId`

use nexus_common::{
    Error, payments::orders::PaymentVerification, storage::postgres::promptly_from,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        fields::{Field, Text},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct VerifyPayment {
    /// A payment's id is accepted, too.
    #[schema(value_type = String, min_length = 1, example = "order_9A33XWu170gUtm")]
    order_id: Text,
}

impl Endpoint for VerifyPayment {
    type Caller = Caller;
    type Response = One<PaymentVerification>;

    fn spec() -> Operation {
        Operation::private("verify_payment", "Check whether a payment has arrived")
            .failures([Error::OrderNotFound])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let order_id = self.order_id.read().unwrap_or_default();
        let state = app.payment_states.call((order_id, caller.user));
        Ok(One(promptly_from(&app.db, state).await?))
    }
}
