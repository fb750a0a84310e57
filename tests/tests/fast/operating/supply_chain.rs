//! The dependencies of Nexus, as far as the lock file tells; `make audit` asks cargo-deny about the
//! rest.

use std::collections::{BTreeMap, BTreeSet};

use nexus_tests::repository::{cargo, file, linked, packages, path};

/// Every crate of which more than one version is built, with those versions, as cargo resolves the
/// workspace for this machine.
fn doubled() -> BTreeMap<String, BTreeSet<String>> {
    let tree =
        cargo(&["tree", "--workspace", "--all-features", "--prefix", "none", "--format", "{p}"]);
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, rest) in tree.lines().filter_map(|line| line.split_once(" v")) {
        let version = rest.split(' ').next().unwrap();
        versions.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

/// Those that `deny.toml` knows and explains.
fn explained() -> BTreeMap<String, BTreeSet<String>> {
    let policy = file("deny.toml");
    let list = policy.split_once("\nskip = [").unwrap().1.split_once("\n]").unwrap().0;
    let mut explained: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in list.lines().filter(|line| !line.is_empty()) {
        let spec = line.split('"').nth(1).unwrap();
        let reason = line.split("reason = \"").nth(1).unwrap_or_default();
        assert!(reason.len() > 5, "{line} says why");
        let (name, version) = spec.split_once('@').unwrap();
        explained.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    explained
}

#[test]
fn every_doubled_crate_is_explained_and_nothing_else() {
    let explained = explained();
    for (name, versions) in doubled() {
        let known = explained.get(&name).cloned().unwrap_or_default();
        let new: Vec<&String> = versions.difference(&known).collect();
        // One of them is the version that everything ought to have.
        assert!(
            new.len() <= 1,
            "{name} is built in the versions {versions:?}; deny.toml explains {known:?}"
        );
        assert!(
            known.is_subset(&versions),
            "{name}: deny.toml explains {known:?}, built are {versions:?}"
        );
    }
    let doubled = doubled();
    let idle: Vec<&String> = explained.keys().filter(|name| !doubled.contains_key(*name)).collect();
    assert_eq!(idle, Vec::<&String>::new(), "deny.toml explains what is not there");
}

#[test]
fn every_crate_comes_from_crates_io_with_a_checksum_or_its_patch_is_explained() {
    let (lock, patched) = (file("Cargo.lock"), file("vendor/README.md"));
    let mut ours = 0;
    for package in lock.split("\n[[package]]\n").skip(1) {
        if package.contains("\nsource = ") {
            assert!(
                package.contains(
                    "\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n"
                ),
                "{package}"
            );
            assert!(package.contains("\nchecksum = \""), "{package}");
            continue;
        }
        let name = package.split('"').nth(1).unwrap();
        if name.starts_with("nexus-") {
            ours += 1;
        } else {
            assert!(path("vendor").join(name).is_dir(), "{package}");
            assert!(patched.contains(&format!("`{name}/src/")), "{name}");
        }
    }
    assert!(ours > 3);
}

#[test]
fn every_package_of_ours_has_the_licence_whose_text_is_here() {
    for package in packages() {
        assert_eq!(package["license"], "MIT OR Apache-2.0", "{}", package["name"]);
    }
    assert!(path("LICENSE-MIT").is_file() && path("LICENSE-APACHE").is_file());
}

#[test]
fn tls_is_rustls_with_ring_and_nothing_else() {
    let lock = file("Cargo.lock");
    for other in [
        "openssl",
        "openssl-sys",
        "native-tls",
        "aws-lc-rs",
        "aws-lc-sys",
        "boring",
        "schannel-sys",
    ] {
        assert!(!lock.contains(&format!("\nname = \"{other}\"\n")), "{other}");
    }
    let linked = linked();
    let versions = |wanted: &str| linked.iter().filter(|(name, _)| name == wanted).count();
    assert_eq!((versions("rustls"), versions("ring")), (1, 1));
}
