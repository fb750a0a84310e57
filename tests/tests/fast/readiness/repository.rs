//! What the repository and its binaries contain, and what they do not (findings 6, 16 to 19).

use std::collections::BTreeSet;

use nexus_tests::repository::{
    SHARED, SHIPPED, binaries, cargo, file, folder, linked, packages, path, run, try_run,
};
use nexus_tests::{Stack, json};

/// The Node service's `.gitignore` hid `migrations`.
#[tokio::test]
async fn finding_06_a_clone_has_every_migration() {
    let (ignored, _) = try_run("git", &["check-ignore", "--quiet", "migrations/9999_new.sql"]);
    assert_eq!(ignored, Some(1), "a new migration is not ignored");
    let tracked = run("git", &["ls-files", "migrations"]);
    let tracked: Vec<&str> =
        tracked.lines().filter_map(|path| path.strip_prefix("migrations/")).collect();
    assert_eq!(folder("migrations"), tracked, "every migration is in version control");
    let migrations = tracked.iter().filter(|name| name.ends_with(".sql"));

    // And all of them, byte for byte, are in the binary.
    let stack = Stack::builder().workers([]).start().await;
    let applied = stack
        .rows("SELECT lpad(version::text, 4, '0') AS version, encode(checksum, 'hex') AS checksum FROM _sqlx_migrations ORDER BY 1")
        .await;
    let mut applied = applied.iter();
    for name in migrations {
        let digest = run("sha384sum", &[&format!("migrations/{name}")]);
        let row = applied.next().unwrap_or_else(|| panic!("{name} was not applied"));
        assert_eq!(row["version"].as_str(), name.get(..4));
        assert_eq!(row["checksum"].as_str(), digest.split(' ').next(), "{name}");
    }
    assert_eq!(applied.next(), None);
}

/// The Node service had `bcrypt` and `bcryptjs`.
#[tokio::test]
async fn finding_16_one_hasher_makes_new_hashes() {
    const HASHERS: [&str; 9] = [
        "argon2",
        "argonautica",
        "balloon-hash",
        "bcrypt",
        "pbkdf2",
        "pwhash",
        "rust-argon2",
        "scrypt",
        "yescrypt",
    ];
    let linked: Vec<String> = linked().into_iter().map(|(name, _)| name).collect();
    let hashers: Vec<&str> =
        HASHERS.into_iter().filter(|name| linked.iter().any(|linked| linked == name)).collect();
    assert_eq!(hashers, ["argon2", "bcrypt"]);

    // bcrypt is there for the hashes that the Node service has left, and makes none: clippy, which
    // is part of `make check`, refuses the calls.
    assert!(file("clippy.toml").contains("\"bcrypt::hash\","), "the rule is in force");

    let stack = Stack::builder().workers([]).start().await;
    let new = json!({ "email": "new@nexus.example", "password": "Passw0rd!" });
    stack.anonymous().post("/auth/register", new).await.ok();
    let stored = stack.row("SELECT password FROM users WHERE email = 'new@nexus.example'").await;
    assert!(
        stored["password"].as_str().is_some_and(|hash| hash.starts_with("$argon2id$")),
        "{stored}"
    );
}

/// The Node service shipped `@types` packages.
#[test]
fn finding_17_nothing_that_only_development_needs_is_linked_into_what_is_deployed() {
    let linked: BTreeSet<String> = linked().into_iter().map(|(name, _)| name).collect();
    let mut for_development = BTreeSet::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap().to_owned();
        if SHIPPED.contains(&name.as_str()) || SHARED.contains(&name.as_str()) {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let only_tests = dependencies.filter(|dependency| dependency["kind"] == "dev");
            for_development.extend(
                only_tests.map(|dependency| dependency["name"].as_str().unwrap().to_owned()),
            );
        } else {
            for_development.insert(name);
        }
    }
    assert!(for_development.contains("nexus-tests") && for_development.contains("proptest"));
    assert_eq!(linked.intersection(&for_development).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The Node service was built with the TypeScript that happened to be installed.
#[test]
fn finding_18_the_compiler_and_every_dependency_are_pinned() {
    let toolchain = file("rust-toolchain.toml");
    let pinned = value(&toolchain, "channel");
    let used = cargo(&["version"]);
    assert_eq!(used.split(' ').nth(1), Some(pinned), "built with what rust-toolchain.toml names");
    for component in ["clippy", "rustfmt"] {
        assert!(value(&toolchain, "components").contains(component), "make test needs {component}");
    }
    for package in packages() {
        let least = package["rust_version"].as_str().unwrap_or_default();
        assert!(
            pinned.starts_with(&format!("{least}.")),
            "{}: rust-version {least}",
            package["name"]
        );
    }

    assert_eq!(run("git", &["ls-files", "Cargo.lock"]).trim(), "Cargo.lock");
    // Fails when the lock file does not say everything.
    cargo(&["tree", "--workspace", "--depth", "0"]);
    assert!(release_recipe().contains("cargo build --locked"));
}

/// The Node service compiled its test scripts into `dist`.
#[test]
fn finding_19_no_test_is_in_what_is_deployed() {
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect()
    };
    let of_tests: BTreeSet<String> =
        ["test", "tests", "bench", "probe", "sandbox", "fuzz", "mock", "spike"]
            .map(str::to_owned)
            .into();
    let sources = run("git", &["ls-files", "api", "common/src", "worker"]);
    for source in sources.lines() {
        assert!(words(source).is_disjoint(&of_tests), "{source} is no test");
    }
    for binary in binaries() {
        assert!(words(&binary).is_disjoint(&of_tests), "{binary} is no test");
    }

    // `make release` builds the two packages, and installs their binaries: these, and no others.
    let recipe = release_recipe();
    let built = recipe.lines().find(|line| line.trim_start().starts_with("cargo build")).unwrap();
    let words: Vec<&str> = built.split_whitespace().collect();
    let packages: Vec<&str> =
        words.windows(2).filter(|pair| pair[0] == "-p").map(|pair| pair[1]).collect();
    assert_eq!(packages, SHIPPED);
    let summed =
        recipe.lines().find_map(|line| line.trim_start().strip_prefix("sha256sum ")).unwrap();
    let summed = summed.split(" | ").next().unwrap_or_default();
    let mut installed: Vec<&str> = summed.split_whitespace().collect();
    installed.sort_unstable();
    assert_eq!(installed, binaries());
    assert!(path("tests").is_dir(), "that is where tests are");
}

/// What `make release` would run.
fn release_recipe() -> String {
    run("make", &["--dry-run", "--no-print-directory", "release"])
}

fn value<'a>(toml: &'a str, key: &str) -> &'a str {
    let line = toml.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='));
    line.unwrap_or_else(|| panic!("{key} is not set")).trim().trim_matches('"')
}
