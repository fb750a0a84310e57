//! The worker of the notifications queue.

use std::process::ExitCode;

use nexus_common::jobs::{
    Queue,
    notifications::{EmailPartRefund, EmailRefund, SmsPartRefund, SmsRefund},
};
use nexus_worker::handlers::{
    account_mails, cancellation_notices, event_notices,
    notifications::{self, Notifications},
    refund_notices::{self, Refund},
    transfers,
};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Notifications, Notifications::from_env, |worker| {
        worker
            .on(account_mails::verify_email)
            .on(account_mails::recover_password)
            .on(account_mails::account_notice)
            .on(account_mails::account_erased)
            .on(account_mails::email_replaced)
            .on(account_mails::phone_replaced)
            .on(notifications::email_tickets)
            .on(notifications::sms_tickets)
            .on(cancellation_notices::email_cancellation)
            .on(cancellation_notices::sms_cancellation)
            .on(transfers::email_offer)
            .on(transfers::email_transferred)
            .on(event_notices::email_notice)
            .on(event_notices::sms_notice)
            .on(|cx, job: EmailRefund, _| refund_notices::email(cx, Refund::Whole(job.refund_id)))
            .on(|cx, job: SmsRefund, _| refund_notices::sms(cx, Refund::Whole(job.refund_id)))
            .on(|cx, job: EmailPartRefund, _| {
                refund_notices::email(cx, Refund::Part(job.refund_id))
            })
            .on(|cx, job: SmsPartRefund, _| refund_notices::sms(cx, Refund::Part(job.refund_id)))
            .keys(Notifications::keys)
    })
}
