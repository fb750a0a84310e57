//! What Nexus gives to those who deploy it, `ops/` and `docs/deploy.md`: these may name only what
//! exists, and have to name all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use nexus_tests::program::binary;
use nexus_tests::repository::{binaries, file, folder, path};

/// The values of a directive of a unit, in order.
fn values<'a>(unit: &'a str, directive: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('=')).collect()
}

fn value<'a>(unit: &'a str, directive: &str) -> &'a str {
    let values = values(unit, directive);
    assert_eq!(values.len(), 1, "{directive} is set once");
    values[0]
}

/// The command lines of a unit, `%i` replaced by each instance that there can be.
fn commands(name: &str, unit: &str) -> Vec<Vec<String>> {
    let queues = binaries()
        .into_iter()
        .filter_map(|name| Some(name.strip_prefix("nexus-worker-")?.to_owned()));
    let instances: Vec<String> =
        if name == "nexus-worker@.service" { queues.collect() } else { vec!["3000".into()] };
    let start = value(unit, "ExecStart");
    let words =
        |instance: &String| start.replace("%i", instance).split(' ').map(str::to_owned).collect();
    instances.iter().map(words).collect()
}

fn services() -> Vec<(String, String)> {
    let names = folder("ops/systemd").into_iter().filter(|name| name.ends_with(".service"));
    names.map(|name| (name.clone(), file(format!("ops/systemd/{name}")))).collect()
}

/// Runs one of our binaries.
fn said(words: &[&str]) -> String {
    let output = Command::new(binary(words[0])).args(&words[1..]).output().expect("a process");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_process_has_a_unit_and_a_line_in_the_procfile() {
    let mut started = BTreeSet::new();
    for (name, unit) in services() {
        for words in commands(&name, &unit) {
            let program =
                words[0].strip_prefix("/usr/local/bin/").expect("where binaries are installed");
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            words[0] = program;
            // It exists, and knows what it is told.
            said(&[&words[..], &["--help"]].concat());
            started.insert(words.join(" "));
        }
    }
    assert!(started.remove("nexus-api migrate"), "migrations have a unit");
    let procfile = file("Procfile");
    let processes: BTreeSet<String> =
        procfile.lines().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    assert_eq!(started, processes);

    let programs = started.iter().map(|command| command.split(' ').next().unwrap().to_owned());
    let mut programs: Vec<String> = programs.chain(["nexus-jobs".to_owned()]).collect();
    programs.sort();
    assert_eq!(programs, binaries(), "whatever is shipped is run, or is for operators");
}

#[test]
fn every_queue_has_a_worker_and_every_kind_of_job_a_handler_in_it() {
    // What there is: the queues by name, and the kinds with their queues, as the sources say it.
    let jobs = file("common/src/types/queue.rs");
    let queues: BTreeMap<&str, &str> = jobs
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" = \""))
        .collect();
    let workers: BTreeSet<String> = binaries()
        .iter()
        .filter_map(|name| Some(name.strip_prefix("nexus-worker-")?.to_owned()))
        .collect();
    assert_eq!(queues.values().map(ToString::to_string).collect::<BTreeSet<_>>(), workers);
    let mut kinds: Vec<(String, String)> = Vec::new();
    for name in folder("common/src/jobs") {
        for job in file(format!("common/src/jobs/{name}")).split("\nimpl Job for ").skip(1) {
            let constant = |name: &str| {
                let rest = job.split_once(&format!("const {name} = ")).expect("a constant").1;
                rest.split_once(';').expect("its end").0.trim_matches('"').to_owned()
            };
            let queue = constant("QUEUE: Queue");
            let queue = queues[queue.strip_prefix("Queue::").expect("a queue")];
            kinds.push((queue.to_owned(), constant("KIND: &'static str")));
        }
    }
    kinds.sort();

    let mut handled: Vec<(String, String)> = Vec::new();
    for queue in workers {
        let listed = said(&[&format!("nexus-worker-{queue}"), "--list-kinds"]);
        handled.extend(listed.lines().map(|kind| (queue.clone(), kind.to_owned())));
    }
    assert_eq!(handled, kinds, "a worker that finds two handlers for a kind does not start");
    let page = file("docs/jobs.md");
    for (queue, kind) in &kinds {
        let rows = page.lines().filter(|line| line.starts_with(&format!("| {queue} | ")));
        assert_eq!(
            rows.filter(|row| row.contains(&format!("`{kind}`"))).count(),
            1,
            "{kind} in docs/jobs.md"
        );
    }
}

#[test]
fn units_give_a_process_no_more_than_it_needs() {
    for (name, unit) in services() {
        for (directive, wanted) in [
            ("DynamicUser", "yes"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateTmp", "yes"),
            ("PrivateDevices", "yes"),
            ("MemoryDenyWriteExecute", "yes"),
            ("SystemCallArchitectures", "native"),
        ] {
            assert_eq!(value(&unit, directive), wanted, "{name}: {directive}");
        }
        for directive in ["MemoryMax", "LimitNOFILE", "TasksMax"] {
            assert!(!value(&unit, directive).is_empty(), "{name}: {directive}");
        }
        assert!(!values(&unit, "EnvironmentFile").is_empty(), "{name}");
        for setting in values(&unit, "Environment").iter().flat_map(|line| line.split(' ')) {
            let variable = setting.split('=').next().unwrap();
            assert!(file(".env.example").contains(&format!("\n{variable}=")), "{name}: {variable}");
        }
        if value(&unit, "Type") != "oneshot" {
            assert_eq!(value(&unit, "Restart"), "always", "{name}");
            assert_eq!(value(&unit, "RestartPreventExitStatus"), "78", "{name}");
            // SHUTDOWN_GRACE_MS of workers and the API's grace are ten seconds.
            assert!(value(&unit, "TimeoutStopSec").parse::<u32>().unwrap() > 10, "{name}");
        }
    }
}

#[test]
fn the_image_has_every_binary_and_an_ordinary_user() {
    let containerfile = file("ops/Containerfile");
    let stages: Vec<&str> = containerfile.split("\nFROM ").skip(1).collect();
    let [build, run] = stages[..] else { panic!("two stages: {}", stages.len()) };
    let toolchain = file("rust-toolchain.toml");
    let pinned = value(&toolchain.replace(" = ", "="), "channel").trim_matches('"').to_owned();
    assert!(
        build.starts_with(&format!("docker.io/library/rust:{pinned}-slim-")),
        "the pinned compiler"
    );
    assert!(!containerfile.contains(":latest"));

    let copied = run.lines().filter_map(|line| line.trim().strip_prefix("/nexus/target/dist/"));
    let mut copied: Vec<&str> = copied.map(|line| line.trim_end_matches([' ', '\\'])).collect();
    copied.sort_unstable();
    assert_eq!(copied, binaries());
    let user = run.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    assert!(!user.starts_with('0') && !user.contains("root"), "{user}");
    assert!(!run.contains("RUN "), "nothing is installed");
    let command = run.lines().find_map(|line| line.strip_prefix("CMD ")).expect("a command");
    assert_eq!(command, r#"["/usr/local/bin/nexus-api", "serve"]"#);
}

#[test]
fn the_guide_names_what_there_is() {
    let guide = file("docs/deploy.md");
    for name in folder("ops/systemd") {
        let name = name.split(['@', '.']).next().unwrap();
        assert!(guide.contains(name), "{name}");
    }
    for name in binaries() {
        assert!(guide.contains(&name), "{name}");
    }
    // Paths of the repository, and targets of the Makefile, in code.
    let makefile = file("Makefile");
    for code in guide.split('`').skip(1).step_by(2) {
        let is_path = ["ops/", "docs/", "bench/"].iter().any(|folder| code.starts_with(folder));
        assert!(!is_path || path(code).exists(), "{code}");
        if let Some(target) = code.strip_prefix("make ") {
            let target = target.split(' ').next().unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{code}");
        }
    }
    // What operators are told to type.
    for line in guide.lines().filter_map(|line| line.strip_prefix("    ")) {
        let words: Vec<&str> =
            line.split_whitespace().skip_while(|word| word.contains('=')).collect();
        if let [program @ ("nexus-api" | "nexus-jobs"), command, ..] = words[..] {
            said(&[program, command, "--help"]);
        }
    }
}

#[test]
fn every_binary_says_its_version() {
    let manifest = file("Cargo.toml").replace(" = ", "=");
    let version = values(&manifest, "version")[0].trim_matches('"');
    for name in binaries() {
        let said = said(&[&name, "--version"]);
        assert!(said.starts_with(&format!("{name} {version}")), "{said}");
    }
}
