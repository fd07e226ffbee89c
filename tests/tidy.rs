//! House rules as a test: which module may import which, no circles between files, access to the operating system only
//! from the server, the length of files, and the terms in comments. A violation names the file and line, and what to
//! do.
#![allow(missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

/// How the modules of a floor may import each other.
enum Sideways {
    /// Only the pairs that are named here: importer, imported.
    Only(&'static [(&'static str, &'static str)]),
    /// Those further left in the list of the floor.
    ToTheLeft,
    /// Any; a test for circles between files limits it.
    Any,
}

/// Modules from the bottom up, as in docs/architecture.md, Floors: the index is the floor. A module imports modules of
/// lower floors, and of its own floor as stated here. `websocket` imports `http` because a WebSocket begins as an HTTP
/// request.
const FLOORS: [(&[&str], Sideways); 8] = [
    (
        &[
            "clock",
            "config",
            "frame",
            "health",
            "histogram",
            "journal",
            "json",
            "key",
            "language",
            "limits",
            "manual",
            "memory",
            "names",
            "outbox",
            "room_hash",
            "sign",
            "spelling",
            "text",
            "tls",
            "trace",
            "version",
        ],
        Sideways::Any,
    ),
    (&["engineio", "http", "redis", "socketio", "websocket"], Sideways::Only(&[("websocket", "http")])),
    (&["message", "state"], Sideways::ToTheLeft),
    (
        &["message_log", "acks", "history", "hooks", "cluster", "presence", "recovery", "receipts", "live"],
        Sideways::ToTheLeft,
    ),
    (&["hub"], Sideways::Only(&[])),
    (&["events", "api"], Sideways::ToTheLeft),
    (&["server"], Sideways::Only(&[])),
    (&["cli", "fuzzing"], Sideways::Only(&[])),
];

/// The first floor that may touch sockets, files, threads and clocks.
const WORLD: &str = "server";

/// Lines a file may have, tests included, unless its head says why it is longer (a line `//! Long because …`).
const MOST_LINES: usize = 450;

struct File {
    /// The path below `src/`, such as `state/room.rs`.
    path: String,
    /// The path of its module, such as `["state", "room"]`.
    module: Vec<String>,
    text: String,
    /// The text before the inline tests, with spaces in place of comments and the contents of strings, so that line
    /// numbers stay the same.
    code: String,
}

/// An import: the line it is on, and the file it leads to.
struct Import {
    line: usize,
    path: String,
    to: String,
}

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|(modules, _)| modules.contains(&module));
    found.unwrap_or_else(|| panic!("src/{module} is on no floor: add it to FLOORS here and to docs/architecture.md"))
}

/// Whether module `here` may import module `there`.
fn may_import(here: &str, there: &str) -> bool {
    let (own, other) = (floor(here), floor(there));
    if own != other || here == there {
        return other <= own;
    }
    let (modules, sideways) = &FLOORS[own];
    let place = |module: &str| modules.iter().position(|other| *other == module);
    match sideways {
        Sideways::Only(pairs) => pairs.contains(&(here, there)),
        Sideways::ToTheLeft => place(there) < place(here),
        Sideways::Any => true,
    }
}

fn files() -> Vec<File> {
    fn walk(folder: &Path, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                into.push((path.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let mut files: Vec<_> = found
        .into_iter()
        .map(|(path, text)| {
            let path = path.strip_prefix(&format!("{}/", root.to_str().unwrap())).unwrap().to_owned();
            let mut module: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let code = blank(text.split("#[cfg(test)]\nmod tests").next().unwrap());
            File { path, module, text, code }
        })
        .filter(|file| !["lib", "main"].contains(&file.module[0].as_str()))
        .collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// Replaces comments and the contents of strings with spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    let wipe = |out: &mut Vec<u8>, range: std::ops::Range<usize>| {
        out[range].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let begin = at;
        if rest.starts_with(b"//") {
            at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            wipe(&mut out, begin..at);
        } else if rest.starts_with(b"r#\"") || rest.starts_with(b"r\"") {
            let end: &[u8] = if rest[1] == b'#' { b"\"#" } else { b"\"" };
            let skip = 1 + end.len();
            let length = rest[skip..].windows(end.len()).position(|found| found == end).unwrap_or(rest.len() - skip);
            wipe(&mut out, at + skip..at + skip + length);
            at += skip + length + end.len();
        } else if rest[0] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            wipe(&mut out, begin + 1..at.min(bytes.len()));
            at += 1;
        } else if rest.starts_with(b"'\"'") || rest.starts_with(b"'\\\"'") {
            at += if rest[1] == b'\\' { 4 } else { 3 };
        } else {
            at += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// All paths in `tree`, which may have groups in braces: `a::{b, c::{d}}` is `a::b` and `a::c::d`.
fn expand(prefix: &[String], tree: &str, into: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut path = prefix.to_vec();
        path.extend(tree[..open].split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&path, &inner[begin..at], into);
                    begin = at + 1;
                }
                _ => {}
            }
        }
        return expand(&path, &inner[begin..], into);
    }
    let one = tree.split(" as ").next().unwrap();
    if !one.is_empty() {
        let mut path = prefix.to_vec();
        path.extend(one.split("::").map(|part| part.trim().to_owned()));
        into.push(path);
    }
}

/// Every path of this crate in a file's code, in `use` declarations and in expressions.
fn imports(file: &File, modules: &BTreeMap<Vec<String>, String>) -> Vec<Import> {
    let mut found: Vec<(usize, Vec<String>)> = Vec::new();
    let code = &file.code;
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = &code[..at];
            // `super::super::x` is found by its first part; `$crate::` and `pub(in crate::x)` are no imports.
            if before.ends_with(|c: char| is_name(c) || c == '$' || c == ':') || before.ends_with("in ") {
                continue;
            }
            let rest = &code[at..];
            let end = if before.trim_end().ends_with("use") {
                rest.find(';').unwrap_or(rest.len())
            } else {
                rest.find(|c: char| !is_name(c) && c != ':').unwrap_or(rest.len())
            };
            let mut paths = Vec::new();
            expand(&[], &rest[..end], &mut paths);
            let line = before.matches('\n').count() + 1;
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
    }
    let mut imports = Vec::new();
    for (line, path) in found {
        let mut module = file.module.clone();
        let mut parts = path.iter().peekable();
        while let Some(part) = parts.peek() {
            match part.as_str() {
                "crate" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                _ => break,
            }
            parts.next();
        }
        // Follow the path as long as it names modules; the rest is an item in the last of them.
        for part in parts {
            let mut deeper = module.clone();
            deeper.push(part.clone());
            if !modules.contains_key(&deeper) {
                break;
            }
            module = deeper;
        }
        if let Some(to) = modules.get(&module)
            && *to != file.path
        {
            imports.push(Import { line, path: path.join("::"), to: to.clone() });
        }
    }
    imports
}

fn modules(files: &[File]) -> BTreeMap<Vec<String>, String> {
    files.iter().map(|file| (file.module.clone(), file.path.clone())).collect()
}

#[test]
fn imports_go_down() {
    let files = files();
    let modules = modules(&files);
    let (mut seen, mut wrong) = (0, String::new());
    for file in &files {
        let here = &file.module[0];
        for Import { line, path, to } in imports(file, &modules) {
            seen += 1;
            let there = to.split(['/', '.']).next().unwrap();
            if !may_import(here, there) {
                let (own, other) = (floor(here), floor(there));
                writeln!(
                    wrong,
                    "src/{}:{line}: `{path}` imports {there} (floor {other}) from {here} (floor {own}): move what both need \
                     to a lower floor, or pass it in as an argument",
                    file.path
                )
                .unwrap();
            }
        }
    }
    assert!(seen > 300, "only {seen} imports were found: the test does not see them any more");
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_circles_between_files() {
    let files = files();
    let modules = modules(&files);
    let graph: BTreeMap<&str, Vec<Import>> =
        files.iter().map(|file| (file.path.as_str(), imports(file, &modules))).collect();
    let reach = |from: &str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(path) = open.pop() {
            for import in graph.get(path.as_str()).into_iter().flatten() {
                if reached.insert(import.to.clone()) {
                    open.push(import.to.clone());
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = graph.keys().map(|path| (*path, reach(path))).collect();
    let mut wrong = String::new();
    for (path, imports) in &graph {
        for Import { line, path: name, to } in imports {
            if reached[to.as_str()].contains(*path) {
                writeln!(
                    wrong,
                    "src/{path}:{line}: `{name}` leads to src/{to}, which leads back here: import an item from the file that \
                     defines it, not from the mod.rs that re-exports it, or move what both need into a file of its own"
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn only_the_server_touches_the_world() {
    let mut wrong = String::new();
    for file in files() {
        let pure = floor(&file.module[0]) < floor(WORLD);
        let words: &[&str] = match pure {
            true => &[
                "Instant::now",
                "SystemTime::now",
                "std::net",
                "std::fs",
                "std::env",
                "std::thread",
                "mio::",
                "socket2",
                "RefCell",
                "unsafe",
            ],
            false => &["RefCell"],
        };
        for (number, line) in file.code.lines().enumerate() {
            // What the compiler knows about the target is not the world.
            let line = line.replace("std::env::consts", "");
            for word in words.iter().filter(|word| line.contains(**word)) {
                writeln!(
                    wrong,
                    "src/{}:{}: `{word}` belongs to src/{WORLD}: take the time as an argument, and hand out what is to be done as \
                     an effect",
                    file.path,
                    number + 1
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_file_is_one_noun() {
    let mut wrong = String::new();
    for file in files() {
        let lines = file.text.lines().count();
        let excused =
            file.text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains("Long because"));
        if lines > MOST_LINES && !excused {
            writeln!(
                wrong,
                "src/{}: {lines} lines, more than {MOST_LINES}: split it by noun, or say why in its head (`//! Long because …`)",
                file.path
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_hub_stays_small() {
    let files = files();
    let methods: usize = files
        .iter()
        .filter(|file| file.module[0] == "hub")
        .map(|file| {
            file.code
                .lines()
                .filter(|line| line.starts_with("    pub fn ") || line.starts_with("    pub(crate) fn "))
                .count()
        })
        .sum();
    assert!(methods > 5, "the methods of Hub are not found any more");
    assert!(methods < 56, "Hub has {methods} methods that others call: a feature's own methods belong to its struct");
}

/// Comments must not use these words, for which the field has standard terms. Comments with backticks are not checked,
/// because they may quote names of a protocol.
#[test]
fn comments_use_the_terms_of_the_field() {
    const REPLACED: [&str; 9] = [
        "contract section",
        "(contract",
        "siblings",
        "/// The same, ",
        "takes its leave",
        "takes leave",
        "passed on to the letter",
        "is not spoken",
        "whoever looks",
    ];
    let mut wrong = String::new();
    for file in files() {
        for (number, line) in file.text.lines().enumerate() {
            let comment = line.find("//").map_or("", |at| &line[at..]);
            for word in REPLACED.iter().filter(|word| comment.contains(**word) && !comment.contains("`")) {
                writeln!(wrong, "src/{}:{}: `{word}`: say it in plain words", file.path, number + 1).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
