//! How the source is built: files do not use each other in a circle, and rooms depend in one
//! direction. Read from the paths in `use` declarations and in code.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use nexus_tests::repository::path;

/// A module, from the crate's root: `["seats", "locks"]`.
type Module = Vec<String>;

/// The modules of a crate, each with those of the same crate that it names. That a parent declares
/// its children, and that they use what it holds for all of them, says nothing.
struct Modules(BTreeMap<Module, BTreeSet<Module>>);

impl Modules {
    fn of(root: &str) -> Self {
        let root = path(root);
        let files: BTreeMap<Module, PathBuf> =
            sources(&root).into_iter().map(|file| (module(&root, &file), file)).collect();
        let named = files.iter().map(|(from, file)| {
            let text = std::fs::read_to_string(file).expect("a source file");
            let targets = paths(&text).into_iter().filter_map(|path| {
                let mut target = absolute(from, &path)?;
                while !files.contains_key(&target) {
                    target.pop()?;
                }
                let is_family = from.starts_with(&target) || target.starts_with(from);
                (!is_family).then_some(target)
            });
            (from.clone(), targets.collect())
        });
        Self(named.collect())
    }

    /// Modules that are reached from themselves.
    fn in_circles(&self) -> Vec<String> {
        let reached = |start: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
            while let Some(module) = next.pop() {
                next.extend(self.0[module].iter().filter(|target| seen.insert((*target).clone())));
            }
            seen
        };
        let modules = self.0.keys().filter(|module| reached(module).contains(*module));
        modules.map(|module| module.join("::")).collect()
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of sources");
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    paths
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn module(root: &Path, file: &Path) -> Module {
    let name = file.strip_prefix(root).expect("a file of the root").with_extension("");
    let mut module: Module = name.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if ["mod", "lib", "main"].contains(&module.last().expect("a name").as_str()) {
        module.pop();
    }
    module
}

/// Every path of the crate that a file names, its tests and comments left out.
fn paths(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let starts = ["crate::", "super::", "self::"].iter().flat_map(|root| code.match_indices(root));
    let outermost = starts.filter(|(at, _)| {
        !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    });
    outermost.flat_map(|(at, _)| expand(tree(&code[at..]))).collect()
}

/// The path, or tree of paths, at the beginning of a text.
fn tree(text: &str) -> &str {
    let mut depth = 0_usize;
    let end = text.find(|c: char| match c {
        '{' => {
            depth += 1;
            false
        }
        '}' if depth > 0 => {
            depth -= 1;
            false
        }
        _ if depth > 0 => false,
        _ => !(c.is_alphanumeric() || c == '_' || c == ':'),
    });
    &text[..end.unwrap_or(text.len())]
}

/// `a::{b, c::{d, e}}` as the three paths that it is.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, inside)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(expand).map(|part| format!("{}{part}", prefix.trim())).collect()
}

/// Where a path leads, from the crate's root.
fn absolute(from: &Module, path: &str) -> Option<Module> {
    let mut segments =
        path.split("::").map(|segment| segment.split(" as ").next().unwrap_or_default().trim());
    let mut target = match segments.next()? {
        "crate" => Module::new(),
        "self" => from.clone(),
        _ => from[..from.len().checked_sub(1)?].to_vec(),
    };
    for segment in segments.filter(|segment| !segment.is_empty()) {
        match segment {
            "super" => drop(target.pop()?),
            "self" => {}
            segment => target.push(segment.to_owned()),
        }
    }
    Some(target)
}

/// The rooms of `common`, as its documentation lists them: each uses those before it. Rooms of one
/// line do not know each other.
const ROOMS: [&[&str]; 17] = [
    &["types"],
    &["error", "tls"],
    &["config"],
    &["observability"],
    &["storage"],
    &["audit"],
    &["limiter", "realtime", "jobs", "providers"],
    &["accounts"],
    &["events"],
    &["seats"],
    &["tickets"],
    &["ledger"],
    &["bookings"],
    &["payments"],
    &["door", "waiting_rooms"],
    &["idempotency", "books", "retention"],
    &["lib"],
];

#[test]
fn what_is_shared_stands_in_one_direction() {
    let floor = |room: &str| {
        let floor = ROOMS.iter().position(|rooms| rooms.contains(&room));
        floor.unwrap_or_else(|| panic!("{room} has no place among the rooms"))
    };
    let mut wrong = Vec::new();
    for (from, targets) in &Modules::of("common/src").0 {
        let Some(room) = from.first() else { continue };
        for target in targets.iter().filter(|target| target.first() != Some(room)) {
            if target.first().is_some_and(|other| floor(other) >= floor(room)) {
                wrong.push(format!("{} uses {}", from.join("::"), target.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_uses_another_that_uses_it() {
    for root in ["common/src", "api/src", "worker/src"] {
        let circles = Modules::of(root).in_circles();
        assert!(circles.is_empty(), "{root}: {circles:#?}");
    }
}

#[test]
fn paths_are_read_however_they_are_written() {
    let text = "use crate::{a::{self, B}, c::d};\nuse super::e as f;\nfn g() { crate::h::i(); } // crate::j\n";
    let read: BTreeSet<Module> = paths(text)
        .iter()
        .filter_map(|path| absolute(&vec!["x".to_owned(), "y".to_owned()], path))
        .collect();
    let expected: BTreeSet<Module> =
        [&["a"][..], &["a", "B"], &["c", "d"], &["x", "e"], &["h", "i"]]
            .iter()
            .map(|module| module.iter().map(ToString::to_string).collect())
            .collect();
    assert_eq!(read, expected);
}
