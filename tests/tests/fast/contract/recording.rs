//! The wire contract, as it was recorded of the Node service: every exchange is made again, and its
//! outcome is the recorded one, or the one that a named rule expects instead.

use std::path::Path;

use nexus_tests::replay::{Case, Replay, Report, differences, load, rules};

#[tokio::test]
async fn every_recorded_exchange_comes_out_as_recorded_or_as_a_rule_says() {
    let recording = load();
    let rules = rules::rules();
    let mut report = Report::new(&rules);
    let mut replay = Replay::start().await;
    for exchange in &recording {
        let mut live = replay.send(exchange, &recording).await;
        let truth = replay.settle().await;
        let case = Case { exchange, recording: &recording, truth: &truth };
        let mut expected = exchange.outcome.clone();
        let applied =
            (0..rules.len()).filter(|&index| rules[index].apply(&case, &mut expected)).collect();
        replay.listen(exchange, &expected, &mut live).await;
        report.add(exchange, applied, differences(&expected, &live, &mut replay.names));
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract-report.md");
    std::fs::write(&path, report.to_string()).expect("the report");
    println!("{report}\nalso in {}", path.display());

    assert_eq!(recording.len(), 478);
    assert_eq!(report.unexplained(), 0, "exchanges that differ and no rule says why");
    assert_eq!(report.idle(), [""; 0], "rules that have nothing to do");
    replay.end().await;
}
