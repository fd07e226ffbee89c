//! House rules as a test: which floor may know which, and what belongs to the world alone.
#![allow(missing_docs)]

use std::{fs, path::Path};

/// Modules by floor; a module may import from its own and lower floors. On floor 2, `http` serves `websocket` (its
/// upgrade is a request), and on floor 3 the routes know the hub.
const FLOORS: [(&str, u32); 21] = [
    ("clock", 1),
    ("config", 1),
    ("frame", 1),
    ("key", 1),
    ("limits", 1),
    ("names", 1),
    ("outbox", 1),
    ("plain", 1),
    ("sign", 1),
    ("engineio", 2),
    ("http", 2),
    ("redis", 2),
    ("socketio", 2),
    ("websocket", 2),
    ("hooks", 3),
    ("siblings", 3),
    ("hub", 3),
    ("api", 3),
    ("server", 4),
    ("cli", 5),
    ("fuzzing", 5),
];

fn floor(module: &str) -> u32 {
    FLOORS.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module} is on no floor")).1
}

fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push((path.to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn all() -> Vec<(String, String, u32)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let inside = |path: &str| path.split_once("/src/").map(|(_, inside)| inside.to_owned()).unwrap();
    let module = |path: &str| inside(path).split(['/', '.']).next().unwrap().to_owned();
    let kept = found.into_iter().filter(|(path, _)| !["lib", "main", "bin"].contains(&module(path).as_str()));
    kept.map(|(path, text)| (inside(&path), text, floor(&module(&path)))).collect()
}

/// The part of a file before its inline tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

/// Every `crate::module` in a text, also within `use crate::{a::…, b::…}`.
fn imports(text: &str) -> Vec<String> {
    let mut modules = Vec::new();
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + 7..];
        let Some(list) = rest.strip_prefix('{') else {
            modules.push(name(rest));
            continue;
        };
        let (mut depth, mut item) = (1, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => modules.push(name(std::mem::take(&mut item).trim())),
                _ => item.push(c),
            }
            if depth == 0 {
                break;
            }
        }
        modules.push(name(item.trim()));
    }
    modules.retain(|module| !module.is_empty());
    modules
}

#[test]
fn nobody_looks_up() {
    let mut seen = 0;
    for (path, text, floor_here) in all() {
        for module in imports(code(&text)) {
            seen += 1;
            assert!(
                floor(&module) <= floor_here,
                "{path} (floor {floor_here}) knows {module} (floor {})",
                floor(&module)
            );
        }
    }
    assert!(seen > 50, "the imports are not found any more");
    for (path, text, _) in all().into_iter().filter(|(path, ..)| path.starts_with("http/") || path.starts_with("hub/"))
    {
        let forbidden = if path.starts_with("http/") { "websocket" } else { "api" };
        assert!(!imports(code(&text)).contains(&forbidden.to_owned()), "{path} knows {forbidden}, sideways");
    }
}

#[test]
fn the_world_is_touched_on_its_floor_only() {
    for (path, text, floor) in all().into_iter().filter(|(_, _, floor)| *floor < 4) {
        for word in [
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
        ] {
            assert!(!code(&text).contains(word), "{path} (floor {floor}) has {word}");
        }
    }
    for (path, text, _) in all() {
        assert!(!code(&text).contains("RefCell"), "{path} has a RefCell");
    }
}

#[test]
fn a_file_is_one_noun() {
    for (path, text, _) in all() {
        let lines = code(&text).lines().count();
        assert!(lines <= 700, "{path} has {lines} lines: it was two nouns");
    }
}

/// The limits in the README are the limits in the code.
#[test]
fn the_readme_knows_every_limit() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for limit in relay::limits::TABLE {
        let shown = if limit.is_duration() { limit.default / 1000 } else { limit.default };
        let row = format!("| `{}` | {shown} | {} | {} |", limit.key, limit.unit, limit.effect);
        assert!(readme.contains(&row), "README lacks the row {row}");
    }
}
