//! What is in the repository: its files, what git knows of them, what cargo knows of its packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The packages whose binaries are deployed.
pub const SHIPPED: [&str; 2] = ["nexus-api", "nexus-worker"];
/// What these are made of.
pub const SHARED: [&str; 3] = ["nexus-common", "nexus-ticket-code", "nexus-ticket-files"];

/// A path of the repository.
pub fn path(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A text file of the repository.
pub fn file(name: impl AsRef<Path>) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder of the repository, by name, subfolders left out.
pub fn folder(name: impl AsRef<Path>) -> Vec<String> {
    let path = path(name);
    let entries =
        std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let files = entries
        .map(|entry| entry.expect("a directory entry"))
        .filter(|entry| entry.path().is_file());
    let mut names: Vec<String> =
        files.map(|file| file.file_name().into_string().expect("a name in UTF-8")).collect();
    names.sort();
    names
}

/// The files that git tracks or would track, by their paths.
pub fn files() -> Vec<String> {
    let listed = run("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    listed.lines().filter(|name| path(name).is_file()).map(str::to_owned).collect()
}

/// Runs a command in the repository's folder, which has to succeed; returns what it prints.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let (code, said) = try_run(program, arguments);
    assert_eq!(code, Some(0), "{program} {}: {said}", arguments.join(" "));
    said
}

/// Runs a command that may fail; returns its exit code and what it prints (on failure, its errors
/// too).
pub fn try_run(program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program).args(arguments).current_dir(path("")).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        said += &String::from_utf8_lossy(&output.stderr);
    }
    (output.status.code(), said)
}

/// The cargo that has built this, offline and with the committed lock file.
pub fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(&cargo, &[arguments, &["--offline", "--locked"]].concat())
}

/// The packages of the workspace, as `cargo metadata` tells of them.
pub fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// Names and versions of everything that the deployed binaries are linked with.
pub fn linked() -> Vec<(String, String)> {
    let mut arguments = vec!["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    SHIPPED.iter().for_each(|package| arguments.extend(["--package", package]));
    let tree = cargo(&arguments);
    let mut linked: Vec<(String, String)> = tree
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| {
            (name.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned())
        })
        .collect();
    linked.sort();
    linked.dedup();
    linked
}

/// The binaries that are deployed.
pub fn binaries() -> Vec<String> {
    let shipped = packages()
        .into_iter()
        .filter(|package| SHIPPED.iter().any(|name| package["name"] == *name));
    let targets =
        shipped.flat_map(|package| package["targets"].as_array().cloned().unwrap_or_default());
    let binaries = targets.filter(|target| target["kind"][0] == "bin");
    let mut names: Vec<String> =
        binaries.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect();
    names.sort();
    names
}
