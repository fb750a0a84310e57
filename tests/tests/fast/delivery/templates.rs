//! An installation's own templates.

use nexus_tests::settings::TempDir;
use nexus_tests::{SOON, Stack};

use super::delivered;

#[tokio::test]
async fn an_installation_replaces_texts_and_terms() {
    let folder = TempDir::create();
    let own =
        "Subject: Your tickets, {{ name }}!\n\nCome to {{ event.name }} at {{ event.place }}.\n";
    std::fs::write(folder.join("tickets.txt"), own).unwrap();
    std::fs::write(folder.join("terms.txt"), "No refunds after doors open.").unwrap();
    let stack = super::with_wallets().env("TEMPLATES_DIR", folder.display()).start().await;
    let (buyer, _, booking, _) = delivered(&stack, "A1").await;
    let mail = stack.mailed(&stack.address(&buyer).await, "Your tickets").await;
    assert_eq!(mail.subject, "Your tickets, User 1!");
    assert!(mail.text.starts_with("Come to Monsoon Jazz Night at Mumbai."), "{}", mail.text);
    assert!(mail.html.contains("Your tickets, attached too"), "the built-in one: {}", mail.html);
    // The terms are compressed in the PDF, and not in a pass.
    let pass = buyer.get(&format!("/bookings/{}/tickets.pkpass", booking.id)).await;
    assert!(pass.text.contains("No refunds after doors open."));
}

#[tokio::test]
async fn a_worker_with_a_template_that_cannot_be_used_says_so_and_does_not_start() {
    let folder = TempDir::create();
    let mut stack = Stack::builder().workers(["notifications"]).start().await;
    stack.worker("notifications").stop().await;
    let worker = stack.worker("notifications");
    worker.set_env("TEMPLATES_DIR", &folder.display().to_string());
    for (name, problem) in [
        ("refund.html", "the template refund.html is wrong"),
        ("ticket.txt", "there is no template ticket.txt"),
    ] {
        let file = folder.join(name);
        std::fs::write(&file, "Subject: x\n{{ amuont }}").unwrap();
        worker.start();
        worker.wait_for_log(&format!("TEMPLATES_DIR: {problem}"), SOON).await;
        assert_ne!(worker.exit_code().await, Some(0));
        std::fs::remove_file(file).unwrap();
    }
}
