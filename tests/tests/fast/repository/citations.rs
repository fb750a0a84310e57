//! The documents, headings and files that code and documents cite exist. And documents are laid out
//! to be read in an editor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use nexus_tests::repository::{files, path};

/// The texts of the repository, by path. What is no text cites nothing.
fn texts() -> BTreeMap<String, String> {
    let read = |name: String| Some((std::fs::read_to_string(path(&name)).ok()?, name));
    files().into_iter().filter_map(read).map(|(text, name)| (name, text)).collect()
}

fn is_document(name: &str) -> bool {
    name.ends_with(".md")
}

/// The lines of a document outside of code, each with its number.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let (mut is_fenced, mut is_indented, mut is_blank) = (false, false, true);
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        // Indented code begins behind an empty line; otherwise a list item goes on.
        is_indented = line.starts_with("    ") && (is_blank || is_indented);
        is_blank = line.trim().is_empty();
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced && !is_indented {
            lines.push((number, line));
        }
    }
    lines
}

/// What `#…` may name in a document: its headings, as GitHub makes anchors of them, and the anchors
/// that it sets itself.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(document) {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            anchors.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
        let set = line.split("<a id=\"").skip(1).filter_map(|rest| rest.split_once('"'));
        anchors.extend(set.map(|(anchor, _)| anchor.to_owned()));
    }
    anchors
}

/// A document or file that something refers to, and perhaps a part of it.
type Citation<'a> = (&'a str, Option<&'a str>);

/// The documents that a text names: `docs/limits.md`, `docs/contract.md#seats`, `README.md`.
fn cited(text: &str) -> Vec<Citation<'_>> {
    const END: &str = ".md";
    let in_path = |c: char| c.is_ascii_alphanumeric() || "_-./$".contains(c);
    let mut cited = Vec::new();
    for (at, _) in text.match_indices(END) {
        let (before, after) = text.split_at(at + END.len());
        if after.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let name = before.rsplit(|c| !in_path(c)).next().unwrap_or_default();
        let name = name.trim_start_matches("../");
        let is_ours = name.contains('/') || name.starts_with(|c: char| c.is_ascii_uppercase());
        let is_elsewhere = name.starts_with(['/', '$']) || name.starts_with("target/");
        if is_ours && !is_elsewhere {
            let anchor = after.strip_prefix('#').map(|anchor| {
                let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
                anchor.split(ends).next().unwrap_or_default()
            });
            cited.push((name, anchor));
        }
    }
    cited
}

/// Where the relative links of a document lead.
fn links(document: &str) -> Vec<Citation<'_>> {
    let mut links = Vec::new();
    for (_, line) in prose(document) {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            let (name, anchor) = target.split_once('#').unwrap_or((target, ""));
            links.push((name, Some(anchor).filter(|anchor| !anchor.is_empty())));
        }
    }
    links
}

/// Without `..`.
fn normal(path: &Path) -> String {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal.to_string_lossy().into_owned()
}

/// What a text refers to in vain.
fn broken(name: &str, text: &str, texts: &BTreeMap<String, String>) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap();
    let leads = |target: &str, anchor: Option<&str>| match (texts.get(target), anchor) {
        (Some(document), Some(anchor)) => anchors(document).contains(anchor),
        (None, _) => path(target).is_dir() && anchor.is_none(),
        (Some(_), None) => true,
    };
    let mut broken = Vec::new();
    let mut blame = |(target, anchor): Citation| {
        let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
        broken.push(format!("{name}: {target}{anchor}"));
    };
    for (target, anchor) in cited(text) {
        // A document names its neighbours as they are to it.
        let neighbour = normal(&folder.join(target));
        let found = leads(target, anchor) || is_document(name) && leads(&neighbour, anchor);
        if !found {
            blame((target, anchor));
        }
    }
    for (target, anchor) in if is_document(name) { links(text) } else { vec![] } {
        let of = if target.is_empty() { name.to_owned() } else { normal(&folder.join(target)) };
        if !leads(&of, anchor) {
            blame((target, anchor));
        }
    }
    broken
}

#[test]
fn every_document_and_heading_that_is_cited_exists_and_every_relative_link_leads_there() {
    let texts = texts();
    let cites: usize = texts.values().map(|text| cited(text).len()).sum();
    assert!(cites > 200, "{cites}");
    let broken: Vec<String> =
        texts.iter().flat_map(|(name, text)| broken(name, text, &texts)).collect();
    assert_eq!(broken, [""; 0]);
}

#[test]
fn what_is_cited_in_vain_is_found() {
    let contract = "# The contract\n\n## Existing data\n\n1. <a id=\"change-1\"></a>Asks.\n";
    let texts = BTreeMap::from([("docs/contract.md".to_owned(), contract.to_owned())]);
    let found = |name: &str, text: String| broken(name, &text, &texts);
    // Put together, or this file would cite them, too.
    let md = ".md";
    let right = "docs/contract.md, docs/contract.md#existing-data, docs/contract.md#change-1.";
    assert_eq!(found("src/lib.rs", right.to_owned()), [""; 0]);
    for wrong in ["docs/contact{}", "docs/contract{}#change-0", "CONTRACT{}"] {
        let wrong = wrong.replace("{}", md);
        assert_eq!(found("src/lib.rs", wrong.clone()), [format!("src/lib.rs: {wrong}")]);
    }
    let document = format!("docs/other{md}");
    assert_eq!(found(&document, "[data](contract.md#existing-data)".to_owned()), [""; 0]);
    assert_eq!(
        found(&document, "[data](contract.md#nothing), [more](other.md)".to_owned()),
        [format!("{document}: contract.md#nothing"), format!("{document}: other.md")]
    );
}

#[test]
fn every_file_that_a_document_names_exists() {
    let texts = texts();
    let folders: BTreeSet<&str> =
        texts.keys().filter_map(|name| name.split_once('/')).map(|(folder, _)| folder).collect();
    // The changelog may name files that have gone.
    let documents = texts.iter().filter(|(name, _)| is_document(name) && *name != "CHANGELOG.md");
    let mut missing = Vec::new();
    for (name, text) in documents {
        let lines: Vec<&str> = prose(text).into_iter().map(|(_, line)| line).collect();
        let text = lines.join("\n");
        let words = text.split('`').skip(1).step_by(2);
        for word in words.filter(|word| !word.contains([' ', '\n', '#', '<', '*', '{', '…', '$']))
        {
            let is_path = word.split_once('/').is_some_and(|(folder, _)| folders.contains(folder));
            let is_source = [".rs", ".sql"].iter().any(|end| word.ends_with(end));
            let tail = format!("/{word}");
            if (is_path && !path(word).exists())
                || (is_source && !texts.keys().any(|name| name == word || name.ends_with(&tail)))
            {
                missing.push(format!("{name}: {word}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn documents_are_wrapped_and_the_readme_is_short() {
    let texts = texts();
    assert!(texts["README.md"].lines().count() <= 150);
    let mut long = Vec::new();
    for (name, text) in &texts {
        let is_wrapped = name.starts_with("docs/") || name == "README.md";
        for (number, line) in if is_wrapped && is_document(name) { prose(text) } else { vec![] } {
            if line.chars().count() > 100 && !line.starts_with('|') {
                long.push(format!("{name}:{number}"));
            }
        }
    }
    assert_eq!(long, [""; 0], "lines of more than 100 columns that are no table");
}

#[test]
fn every_test_in_the_table_of_attacks_exists() {
    let tests: String = texts()
        .into_iter()
        .filter(|(name, _)| name.starts_with("tests/tests/"))
        .map(|(_, text)| text)
        .collect();
    let document = std::fs::read_to_string(path("docs/abuse.md")).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut named = 0;
    for row in rows {
        let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test in {row}");
        for name in names {
            assert!(tests.contains(&format!("fn {name}(")), "there is no test {name}");
            named += 1;
        }
    }
    assert!(named > 20, "{named} tests");
}
