//! The differences between two configurations, key by key, for operators. Secrets are never shown.

use core::fmt;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use toml_span::{Value, value::ValueInner};

use crate::text::{text_without_bom, truncate};

/// The text of a configuration, and what its files had in them.
#[derive(Clone, Debug, Default)]
pub struct Source {
    text: String,
    /// A hash of each file, by its name in the text.
    files: BTreeMap<String, u64>,
}

/// The keys that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The first of them, in the order of their names.
    pub list: Vec<Change>,
    /// The number of further ones.
    pub more: usize,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name with all sections, such as `limits.body`.
    pub key: String,
    /// Its value before, as TOML; `None` if it was not set.
    pub old: Option<String>,
    /// Its value now.
    pub new: Option<String>,
    /// The value is a file with other content than before.
    pub content: bool,
    /// It takes effect after a restart.
    pub restart: bool,
}

impl Source {
    /// A configuration of this text, without files.
    pub fn new(text: String) -> Source {
        Source { text, files: BTreeMap::new() }
    }

    /// Notes the content of a file that the text names.
    pub fn add_file(&mut self, name: String, content: &str) {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        self.files.insert(name, hasher.finish());
    }

    /// The keys that differ in `new`.
    pub fn changes(&self, new: &Source) -> Changes {
        let [old_values, new_values] = [self, new].map(Source::values);
        let keys: BTreeSet<&String> = old_values.keys().chain(new_values.keys()).collect();
        let mut changes = Changes::default();
        for key in keys {
            let (old, value) = (old_values.get(key), new_values.get(key));
            if old == value {
                continue;
            }
            if changes.list.len() == MAX_CHANGES {
                changes.more += 1;
                continue;
            }
            let shown = |leaf: Option<&Leaf>| leaf.map(|leaf| leaf.shown(key));
            let content = matches!((old, value), (Some(old), Some(new)) if old.value == new.value);
            changes.list.push(Change {
                key: key.clone(),
                old: shown(old),
                new: shown(value),
                content,
                restart: matches!(key.as_str(), "listen" | "admin.listen"),
            });
        }
        changes
    }

    /// Each key that is set. The text is known to be valid.
    fn values(&self) -> BTreeMap<String, Leaf> {
        let mut values = BTreeMap::new();
        if let Ok(mut root) = toml_span::parse(text_without_bom(&self.text)) {
            self.collect(String::new(), &mut root, &mut values);
        }
        values
    }

    fn collect(&self, path: String, value: &mut Value<'_>, values: &mut BTreeMap<String, Leaf>) {
        match value.take() {
            ValueInner::Table(table) => {
                for (key, mut value) in table {
                    let key = quoted_key(&key.name);
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    self.collect(path, &mut value, values);
                }
            }
            ValueInner::Array(mut list) if list.iter().any(|value| value.as_table().is_some()) => {
                for (index, value) in list.iter_mut().enumerate() {
                    self.collect(format!("{path}[{}]", index + 1), value, values);
                }
            }
            other => {
                let name = match &other {
                    ValueInner::String(name) if names_file(&path) => Some(name),
                    _ => None,
                };
                let file = name.and_then(|name| self.files.get(&**name).copied());
                values.insert(path, Leaf { value: toml(other), file });
            }
        }
    }
}

/// The value of a key.
#[derive(PartialEq)]
struct Leaf {
    /// As TOML.
    value: String,
    /// The hash of the file that it names.
    file: Option<u64>,
}

impl Leaf {
    /// The value, unless it is a secret. It is cut if it is long.
    fn shown(&self, key: &str) -> String {
        if is_secret(key) {
            return HIDDEN.into();
        }
        let value = without_password(&self.value);
        let cut = truncate(&value, MAX_VALUE_LEN);
        if cut.len() < value.len() { format!("{cut}…") } else { value }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        let (old, new) = (value(&self.old), value(&self.new));
        match () {
            () if self.content => write!(f, "{}: {new} has other content", self.key)?,
            () if old == new => write!(f, "{}: another value, which is not shown", self.key)?,
            () => write!(f, "{}: {old} → {new}", self.key)?,
        }
        f.write_str(if self.restart { " (takes effect after a restart)" } else { "" })
    }
}

/// Whether the value of a key is a secret. Its last name decides.
fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    let is = |word: &&str| last.contains(*word);
    !last.ends_with("_file") && last != "key_prefix" && ["key", "secret", "token", "pass"].iter().any(is)
}

/// Whether the value of a key is the name of a file.
fn names_file(key: &str) -> bool {
    key.ends_with("_file") || key == "socketio.client_js"
}

/// A value with the user and the password of each URL in it replaced.
fn without_password(value: &str) -> String {
    let mut shown = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(['/', '"', '?', '#']).unwrap_or(after.len());
        // A password may have a slash that should have been escaped.
        let user = after[..end].rfind('@').or_else(|| after.split('"').next().and_then(|url| url.rfind('@')));
        rest = user.map_or(after, |user| &after[user..]);
        if user.is_some() {
            shown.push('…');
        }
    }
    shown + rest
}

/// A key as it is written in TOML.
fn quoted_key(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.is_empty() && key.bytes().all(is_bare) { key.into() } else { format!("{key:?}") }
}

/// A value as TOML. Control characters, and those that change the direction of text, are escaped.
fn toml(value: ValueInner<'_>) -> String {
    match value {
        ValueInner::String(text) => format!("{text:?}"),
        ValueInner::Integer(number) => number.to_string(),
        ValueInner::Float(number) => number.to_string(),
        ValueInner::Boolean(is) => is.to_string(),
        ValueInner::Array(list) => {
            let list: Vec<String> = list.into_iter().map(|mut value| toml(value.take())).collect();
            format!("[{}]", list.join(", "))
        }
        // Tables of a list have names of their own.
        ValueInner::Table(_) => "{…}".into(),
    }
}

/// What stands for a secret.
const HIDDEN: &str = "(not shown)";
/// The keys that are listed.
const MAX_CHANGES: usize = 100;
/// Bytes of a value.
const MAX_VALUE_LEN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(old: &str, new: &str) -> Vec<String> {
        let changes = Source::new(old.into()).changes(&Source::new(new.into()));
        changes.list.iter().map(Change::to_string).collect()
    }

    #[test]
    fn keys_with_old_and_new_values() {
        let old = "listen = [\"a:1\"]\nsign_window = 9\n[limits]\nbody = 5000\n[sources.a]\nsign = [\"md5\"]\n";
        let new = "listen = [\"a:1\", \"b:2\"]\n[limits]\nbody = 6000\n[sources.\"b.c\"]\nsign_key = \"k\"\n\
                   [[tls.certificates]]\ncert_file = \"x\"\n";
        let expected = [
            "limits.body: 5000 → 6000",
            "listen: [\"a:1\"] → [\"a:1\", \"b:2\"] (takes effect after a restart)",
            "sign_window: 9 → not set",
            "sources.\"b.c\".sign_key: not set → (not shown)",
            "sources.a.sign: [\"md5\"] → not set",
            "tls.certificates[1].cert_file: not set → \"x\"",
        ];
        assert_eq!(lines(old, new), expected);
        assert!(lines(old, old).is_empty());
        // The order, comments and the way of writing do not matter.
        assert!(lines(old, &format!("\u{feff}# more\n{}", old.replace("[limits]\nbody", "limits.body"))).is_empty());
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = |word: &str| {
            format!(
                "[admin]\ntoken = \"{word}\"\n[sources.token]\nsign_key = \"{word}\"\nclient_posts = \"none\"\n\
                 [[sources.token.jwt.keys]]\nsecret = \"{word}\"\n[hooks]\nsecret = \"{word}\"\nurl = \"http://u:{word}@h/x\"\n\
                 [redis]\nurl = \"redis://u:{word}/@h:1/0\"\npassword = \"{word}\"\nsentinel_password = \"{word}\"\n"
            )
        };
        let lines = lines(&text("opensesame"), &text("shibboleth"));
        assert_eq!(lines.len(), 8, "{lines:?}");
        assert!(lines.iter().all(|line| line.ends_with(": another value, which is not shown")), "{lines:?}");
        assert_eq!(without_password("[\"a://h\", \"b://u:p@h:1\"]"), "[\"a://h\", \"b://…@h:1\"]");
    }

    #[test]
    fn files_with_other_content() {
        let source = |content: &str| {
            let mut source = Source::new("[admin]\ntoken_file = \"t\"\n[redis]\nkey_prefix = \"t\"\n".into());
            source.add_file("t".into(), content);
            source
        };
        let changes = source("one").changes(&source("two"));
        let lines: Vec<String> = changes.list.iter().map(Change::to_string).collect();
        assert_eq!(lines, ["admin.token_file: \"t\" has other content"]);
        assert_eq!(source("one").changes(&source("one")), Changes::default());
    }

    #[test]
    fn long_lists_and_values_are_cut_and_control_characters_escaped() {
        let many =
            |number: usize| (0..150).fold(String::from("[limits]\n"), |all, key| all + &format!("k{key} = {number}\n"));
        let changes = Source::new(many(1)).changes(&Source::new(many(2)));
        assert_eq!((changes.list.len(), changes.more), (100, 50));
        let [line] = &lines("", &format!("x = \"\\u001b\\u202e{}\"", "三".repeat(500)))[..] else {
            panic!("one line")
        };
        assert!(
            line.starts_with("x: not set → \"\\u{1b}\\u{202e}三") && line.ends_with('…') && line.len() < 300,
            "{line}"
        );
    }
}
