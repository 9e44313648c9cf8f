//! The plan of the house as a test: which room of `src/` may use which. The table says why in ARCHITECTURE.md; a new
//! room gets a row here first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The ground. Every room may use all of it; a room of the ground those before it.
const GROUND: [&str; 5] = ["error", "id", "data", "codec", "time"];

/// The rooms above the ground, and the rooms that each may use besides it.
const ROOMS: [(&str, &[&str]); 13] = [
    ("event_loop", &[]),
    ("storage", &[]),
    ("exec", &[]),
    ("state", &[]),
    ("checkpoint", &["event_loop", "storage", "state"]),
    ("listener", &["event_loop"]),
    ("brokers", &[]),
    ("output", &["brokers"]),
    ("dataset", &["exec", "storage", "output"]),
    ("backpressure", &["listener"]),
    ("input", &["event_loop", "storage", "listener", "brokers", "output", "dataset", "exec", "backpressure"]),
    ("dstream", &["exec", "storage", "output", "dataset", "state", "input", "listener"]),
    ("scheduler", &["event_loop", "listener", "state", "checkpoint", "dstream", "input", "exec"]),
];

/// May use everything; nobody may use it.
const FRONT_DOOR: [&str; 6] = ["config", "context", "testing", "prelude", "kafka", "lib"];

/// The rooms that code in `room` may name; `None` for those that may name all.
fn allowed(room: &str) -> Option<Vec<&'static str>> {
    if FRONT_DOOR.contains(&room) {
        return None;
    }
    if let Some(place) = GROUND.iter().position(|ground| *ground == room) {
        return Some(GROUND[..=place].to_vec());
    }
    let (own, uses) = ROOMS.iter().find(|(name, _)| *name == room)?;
    Some(GROUND.iter().chain(*uses).chain([own]).copied().collect())
}

fn is_known(room: &str) -> bool {
    GROUND.contains(&room) || FRONT_DOOR.contains(&room) || ROOMS.iter().any(|(name, _)| *name == room)
}

/// What is wrong with a file, a line each. `path` is relative to `src/`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let room = module[0];
    if !is_known(room) {
        return vec![format!(
            "src/{path}: the room `{room}` is not in the table of tests/house.rs: give it a row there"
        )];
    }
    let Some(allowed) = allowed(room) else { return Vec::new() };
    let code = without_tests(&code_only(text));
    let wrong = |(line, used): (usize, String)| {
        let place = format!("src/{path}:{line}");
        if !is_known(&used) {
            Some(format!("{place}: `crate::{used}` is no room: name the thing by the room it lives in"))
        } else if allowed.contains(&used.as_str()) {
            None
        } else {
            let allowed = allowed.join("`, `");
            Some(format!(
                "{place}: `{room}` uses `{used}`, which is not below it (it may use `{allowed}`): \
                 move what both need down, or hand it in from above"
            ))
        }
    };
    names_from_the_root(&code, &module).into_iter().filter_map(wrong).collect()
}

/// The first names of all paths that begin at the root of the crate, with their lines: of `crate::room::..`, of each
/// element of `crate::{..}`, and of `super::super::..` where that is the root.
fn names_from_the_root(code: &str, module: &[&str]) -> Vec<(usize, String)> {
    let to_the_root = "super::".repeat(module.len());
    let mut names = Vec::new();
    for root in ["crate::", &to_the_root] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| is_name(c) || (c == ':' && root != "crate::")) {
                continue;
            }
            let line = 1 + code[..at].matches('\n').count();
            let path = code[at + root.len()..].trim_start();
            match path.strip_prefix('{') {
                None => names.push((line, first_name(path))),
                Some(group) => {
                    for (offset, name) in elements(group) {
                        names.push((line + offset, name));
                    }
                }
            }
        }
    }
    names.sort();
    names
}

/// The first names of the elements of a group, whose brace is open, with how many lines further down they are.
fn elements(group: &str) -> Vec<(usize, String)> {
    let (mut depth, mut line, mut is_start) = (0, 0, true);
    let mut names = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '\n' => line += 1,
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            c if depth == 0 && is_start && !c.is_whitespace() => {
                names.push((line, first_name(&group[at..])));
                is_start = false;
            }
            _ => {}
        }
    }
    names
}

fn first_name(path: &str) -> String {
    let end = path.find(|c| !is_name(c)).unwrap_or(path.len());
    path[..end].to_string()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The text with comments, strings and characters blanked out. Lines stay.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_name = code.chars().next_back().is_some_and(is_name);
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, 1),
            'r' | 'b' if !after_name && raw_string(rest).is_some() => raw_string(rest).unwrap_or(1),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string whose first `open` bytes have been seen.
fn quoted(text: &str, open: usize) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(open) {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

/// The length of `r#".."#`, if the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let raw = text.trim_start_matches('b').strip_prefix('r')?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    let begin = text.len() - body.len();
    let close = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&close).map_or(text.len(), |end| begin + end + close.len()))
}

/// The length of a character; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => text[2..].find('\'').map_or(0, |at| {
            // `'\''` has one more.
            if text[2..].starts_with('\'') { 4 } else { at + 3 }
        }),
        (_, Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Blanks out the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(TEST) {
        let (before, item) = rest.split_at(at);
        kept.push_str(before);
        let (mut depth, mut end) = (0, item.len());
        for (at, c) in item.char_indices().skip(TEST.len()) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                end = at + 1;
                break;
            }
        }
        kept.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    kept + rest
}

/// The modules that a file declares under `#[cfg(test)]` and keeps in files of their own.
fn test_files(file: &Path, text: &str) -> Vec<PathBuf> {
    let folder = file.with_extension("");
    let declared = code_only(text);
    let declared = declared.split("#[cfg(test)]").skip(1).filter_map(|item| item.trim_start().strip_prefix("mod "));
    let names = declared.filter_map(|item| item.split_once(';')).filter(|(name, _)| name.chars().all(is_name));
    names.map(|(name, _)| folder.join(format!("{name}.rs"))).collect()
}

fn rust_files(folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(path);
        }
    }
}

#[test]
fn rooms_use_what_is_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeSet::new();
    rust_files(&src, &mut files);
    let texts: Vec<_> = files.iter().map(|file| (file, fs::read_to_string(file).expect("a source file"))).collect();
    let tests: BTreeSet<_> = texts.iter().flat_map(|(file, text)| test_files(file, text)).collect();
    let mut wrong = Vec::new();
    let is_test = |file: &Path| tests.iter().any(|test| file == test || file.starts_with(test.with_extension("")));
    for (file, text) in texts.iter().filter(|(file, _)| !is_test(file)) {
        let path = file.strip_prefix(&src).expect("a file of src").to_string_lossy().replace('\\', "/");
        wrong.extend(violations(&path, text));
    }
    assert!(wrong.is_empty(), "the house is not as planned:\n{}", wrong.join("\n"));
}

#[test]
fn a_planted_violation_is_found() {
    let text = r##"//! Like [`crate::context`].
use crate::exec::Runtime;
use crate::{
    data::{Data, Key},
    scheduler::State as Life, // not below
};

/* use crate::listener::Event; */
fn name<'a>(quote: char) -> &'a str {
    let _ = ('"', '\'', "crate::config::Config", r#"crate::"input""#);
    super::super::context::name(crate::Time::ZERO)
}

#[cfg(test)]
mod tests {
    use crate::testing::run;
    fn nothing() {}
}

pub use crate::dstream::DStream;
"##;
    let found = violations("dataset/narrow.rs", text);
    let places: Vec<_> = found.iter().map(|found| found.split_once(": ").expect("a place").0).collect();
    assert_eq!(places, [5, 11, 11, 20].map(|line| format!("src/dataset/narrow.rs:{line}")), "{found:#?}");
    assert!(found[0].contains("`dataset` uses `scheduler`") && found[0].contains("it may use `error`"), "{}", found[0]);
    assert!(found[1].contains("`crate::Time` is no room"), "{}", found[1]);
    assert!(found[2].contains("`dataset` uses `context`"), "{}", found[2]);
    assert!(found[3].contains("`dataset` uses `dstream`"), "{}", found[3]);
}

#[test]
fn the_ground_is_built_from_the_left() {
    assert_eq!(violations("data.rs", "use crate::error::Error;"), [""; 0]);
    assert_eq!(violations("error.rs", "use crate::data::Data;").len(), 1);
    assert_eq!(violations("exec/pool.rs", "use super::super::listener::Event; use super::Stage;").len(), 1);
}

#[test]
fn an_unknown_room_is_found() {
    let found = violations("attic/boxes.rs", "");
    assert_eq!(
        found,
        ["src/attic/boxes.rs: the room `attic` is not in the table of tests/house.rs: give it a row there"]
    );
}

#[test]
fn tests_in_files_of_their_own_may_look_up() {
    let file = Path::new("src/input/kafka.rs");
    let declared = test_files(file, "mod reader;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod inline { mod a; }");
    assert_eq!(declared, [Path::new("src/input/kafka/tests.rs")]);
}
