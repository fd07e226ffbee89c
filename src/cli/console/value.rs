//! Values that a page has logged, as text.
//!
//! remote_debug.js encodes values that JSON lacks as `{"$": kind, …}`. They are shown as the viewer in the browser shows them
//! (demo/remote_debug_show.html). Anyone may send anything, so each type is checked, and all lengths are bounded.

use serde_json::value::RawValue;

use crate::json::{all_fields, quote, string};

/// An argument as text: strings almost as long as they were sent, other values shorter.
pub fn argument(json: &str, encoded: bool) -> String {
    let is_string = json.starts_with('"') || json.starts_with("{\"$\":\"String\"");
    text(json, encoded, &mut if is_string { LONGEST_TEXT } else { LONGEST_VALUE }, 0)
}

/// A value as text of about `room` characters, from which its length is taken. A string within another value has quotes.
/// `encoded` says that `$` has a meaning.
pub fn text(json: &str, encoded: bool, room: &mut usize, depth: u32) -> String {
    if *room == 0 || depth > DEEPEST {
        return "…".into();
    }
    let view = View::new(json, encoded, depth);
    let mut out = cut(&view.text, *room);
    if view.is_string && depth > 0 {
        out = quote(&out);
    }
    *room = room.saturating_sub(out.chars().count() + 2);
    let Some(members) = view.members else {
        return match view.more {
            0 => out,
            more => format!("{out} … {more} more"),
        };
    };
    let mut parts = Vec::new();
    for (name, value) in &members {
        if *room == 0 {
            break;
        }
        let name = match view.is_list {
            true => String::new(),
            false if view.is_map => format!("{name} → "),
            false => format!("{}: ", cut(name, LONGEST_NAME)),
        };
        *room = room.saturating_sub(name.chars().count());
        parts.push(name + &text(value, encoded, room, depth + 1));
    }
    let left = (members.len() - parts.len()) as u64 + view.more;
    if left > 0 {
        parts.push(format!("… {left} more"));
    }
    let (open, close) = if view.is_list { ('[', ']') } else { ('{', '}') };
    let space = if out.is_empty() { "" } else { " " };
    format!("{out}{space}{open}{}{close}", parts.join(", "))
}

/// How to show a value.
#[derive(Default)]
struct View<'a> {
    /// What precedes its members, or all of it.
    text: String,
    is_string: bool,
    /// Its members, if it has any: names with JSON.
    members: Option<Vec<(String, &'a str)>>,
    /// Whether the members have no names.
    is_list: bool,
    /// Whether the names are the keys of a map, as text.
    is_map: bool,
    /// How many members or characters the page has not sent.
    more: u64,
}

impl<'a> View<'a> {
    fn new(json: &'a str, encoded: bool, depth: u32) -> View<'a> {
        match json.as_bytes().first() {
            Some(b'"') => View::string(string(json).unwrap_or_default().into_owned(), 0),
            Some(b'[') => {
                let list = items(json);
                let text = if list.len() > 3 { format!("Array({})", list.len()) } else { String::new() };
                View::list(text, list, 0)
            }
            Some(b'{') => {
                let fields = Fields(all_fields(json).unwrap_or_default());
                let kind = if encoded { fields.get("$").and_then(string) } else { None };
                kind.and_then(|kind| View::of_kind(&kind, &fields, depth)).unwrap_or_else(|| {
                    let members = fields.0.into_iter().map(|(name, value)| (name, value.get())).collect();
                    View { members: Some(members), ..View::default() }
                })
            }
            _ => View::leaf(cut(json, LONGEST_NAME)),
        }
    }

    /// A value that JSON lacks. `None` if there is no such kind.
    fn of_kind(kind: &str, fields: &Fields<'a>, depth: u32) -> Option<View<'a>> {
        let text = |name: &str, most: usize| fields.text(name, most);
        let (length, more) = (fields.number("length"), fields.number("more"));
        let of_length = |name: &str| format!("{name}({length})");
        Some(match kind {
            "String" => View::string(text("text", LONGEST_TEXT), more),
            "undefined" => View::leaf("undefined".into()),
            "Number" | "Date" => View::leaf(text("value", LONGEST_NAME)),
            "BigInt" => View::leaf(text("value", 2000) + "n"),
            "Symbol" | "RegExp" => View::leaf(text("value", 2000)),
            "Function" => View::leaf(format!("ƒ {}()", text("name", LONGEST_NAME))),
            "Window" => View::leaf(format!("Window {}", text("value", 500))),
            "Element" => View::leaf(text("html", 2000)),
            "Circular" => View::leaf(format!("↺ circular, {} up", fields.number("up"))),
            "Thrown" => View::leaf(format!("⚠ getter throws: {}", text("value", 500))),
            "Unreadable" => View::leaf(format!("⚠ cannot be read: {}", text("value", 500))),
            "Cut" => View::leaf("… (the line is too large)".into()),
            "Error" => {
                let (name, message) = (text("name", LONGEST_NAME), text("message", LONGEST_TEXT));
                let head = if message.is_empty() { name } else { format!("{name}: {message}") };
                let stack = text("stack", LONGEST_TEXT);
                // In some browsers the stack begins with name and message; in others it has only the frames.
                let text = match stack.starts_with(&head) {
                    true => stack,
                    false if stack.is_empty() => head,
                    false => format!("{head}\n{stack}"),
                };
                View { text, members: fields.get("props").map(members), ..View::default() }
            }
            "Object" => {
                let name = text("name", LONGEST_NAME);
                match fields.get("props") {
                    Some(props) => View { text: name, members: Some(members(props)), more, ..View::default() },
                    None if name.is_empty() => View::leaf("Object {…}".into()),
                    None => View::leaf(name + " {…}"),
                }
            }
            "Array" => match fields.get("items") {
                Some(list) => View::list(of_length("Array"), items(list), more),
                None => View::leaf(of_length("Array") + " […]"),
            },
            "Bytes" => View::list(
                of_length(&text("name", LONGEST_NAME)),
                fields.get("items").map_or_else(Vec::new, items),
                more,
            ),
            "Set" => View::list(of_length("Set"), fields.get("items").map_or_else(Vec::new, items), more),
            "Map" => {
                let entry = |(_, item): (String, &'a str)| {
                    let pair = items(item);
                    match pair.as_slice() {
                        [(_, key), (_, value), ..] => (self::text(key, true, &mut { LONGEST_NAME }, depth + 1), *value),
                        _ => ("?".into(), item),
                    }
                };
                let list = fields.get("items").map_or_else(Vec::new, items);
                let members = Some(list.into_iter().map(entry).collect());
                View { text: of_length("Map"), members, is_map: true, more, ..View::default() }
            }
            _ => return None,
        })
    }

    fn leaf(text: String) -> View<'a> {
        View { text, ..View::default() }
    }

    fn string(text: String, more: u64) -> View<'a> {
        View { text, is_string: true, more, ..View::default() }
    }

    fn list(text: String, members: Vec<(String, &'a str)>, more: u64) -> View<'a> {
        View { text, members: Some(members), is_list: true, more, ..View::default() }
    }
}

/// The fields of an object.
pub struct Fields<'a>(pub Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The JSON of a field. If it occurs twice, the last one counts, as in JavaScript.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// A field as text of at most `most` characters; empty if it is missing.
    pub fn text(&self, name: &str, most: usize) -> String {
        match self.get(name) {
            None | Some("null") => String::new(),
            Some(json) => cut_silently(&string(json).unwrap_or_else(|| json.into()), most),
        }
    }

    /// A field as a whole number; 0 if it is none, or is negative.
    pub fn number(&self, name: &str) -> u64 {
        let number = self.get(name).and_then(|json| json.parse::<f64>().ok()).filter(|number| number.is_finite());
        number.unwrap_or(0.0) as u64
    }
}

/// The items of a list, with their indices in place of names. None if it is no list.
fn items(json: &str) -> Vec<(String, &str)> {
    let list: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    list.into_iter().map(|item| (String::new(), item.get())).collect()
}

/// The members of an object. None if it is no object.
fn members(json: &str) -> Vec<(String, &str)> {
    all_fields(json).unwrap_or_default().into_iter().map(|(name, value)| (name, value.get())).collect()
}

/// The first `most` characters, with a mark if there are more.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

fn cut_silently(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// How deep members are shown.
const DEEPEST: u32 = 20;
/// Characters of a value that is no string.
const LONGEST_VALUE: usize = 2_000;
/// Characters of a name.
const LONGEST_NAME: usize = 100;
/// Characters of a text.
const LONGEST_TEXT: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn show(json: &str) -> String {
        text(json, true, &mut 10_000, 0)
    }

    #[test]
    fn plain_values() {
        for (json, shown) in [
            ("\"a\\nb\"", "a\nb"),
            ("null", "null"),
            ("-1.5e3", "-1.5e3"),
            ("[]", "[]"),
            ("[1,\"two\",[3]]", "[1, \"two\", [3]]"),
            ("[1,2,3,4]", "Array(4) [1, 2, 3, 4]"),
            ("{\"z\":1,\"a\":{\"b\":\"c\\\"d\"}}", "{z: 1, a: {b: \"c\\\"d\"}}"),
            ("{}", "{}"),
            ("{\"$\":\"Nothing\",\"a\":1}", "{$: \"Nothing\", a: 1}"),
            ("{\"$\":1}", "{$: 1}"),
            ("{\"$\":\"__proto__\"}", "{$: \"__proto__\"}"),
        ] {
            assert_eq!(show(json), shown, "{json}");
        }
        let plain = text("{\"$\":\"undefined\"}", false, &mut 100, 0);
        assert_eq!(plain, "{$: \"undefined\"}", "in other messages it is a name");
    }

    #[test]
    fn values_that_json_lacks() {
        for (json, shown) in [
            (r#"{"$":"undefined"}"#, "undefined"),
            (r#"{"$":"Number","value":"-0"}"#, "-0"),
            (r#"{"$":"BigInt","value":"12"}"#, "12n"),
            (r#"{"$":"Symbol","value":"Symbol(s)"}"#, "Symbol(s)"),
            (r#"{"$":"Function","name":"Car"}"#, "ƒ Car()"),
            (r#"{"$":"Circular","up":2}"#, "↺ circular, 2 up"),
            (r#"{"$":"Thrown","value":"no"}"#, "⚠ getter throws: no"),
            (r#"{"$":"Unreadable","value":""}"#, "⚠ cannot be read: "),
            (r#"{"$":"Cut"}"#, "… (the line is too large)"),
            (r#"{"$":"String","text":"lo","more":7}"#, "lo … 7 more"),
            (r#"{"$":"Array","length":250,"items":[0,1],"more":248}"#, "Array(250) [0, 1, … 248 more]"),
            (r#"{"$":"Array","length":3}"#, "Array(3) […]"),
            (r#"{"$":"Object","name":"Car","props":{"wheels":4},"more":0}"#, "Car {wheels: 4}"),
            (r#"{"$":"Object","name":"","props":{"$":"x"},"more":2}"#, "{$: \"x\", … 2 more}"),
            (r#"{"$":"Object","name":""}"#, "Object {…}"),
            (r#"{"$":"Object","name":"Promise"}"#, "Promise {…}"),
            (r#"{"$":"Bytes","name":"Uint8Array","length":3,"items":[1,2,3],"more":0}"#, "Uint8Array(3) [1, 2, 3]"),
            (r#"{"$":"Set","length":2,"items":[1,"two"],"more":0}"#, "Set(2) [1, \"two\"]"),
            (
                r#"{"$":"Map","length":2,"items":[["key",{"v":1}],[{"o":1},2]],"more":0}"#,
                "Map(2) {\"key\" → {v: 1}, {o: 1} → 2}",
            ),
            (r#"{"$":"Error","name":"E","message":"m","stack":"E: m\n at f"}"#, "E: m\n at f"),
            (r#"{"$":"Error","name":"E","message":"m","stack":"f@x:1"}"#, "E: m\nf@x:1"),
            (r#"{"$":"Error","name":"E","message":"","stack":"","props":{"code":5}}"#, "E {code: 5}"),
        ] {
            assert_eq!(show(json), shown, "{json}");
        }
    }

    /// Fields of any type, and values that are too long or too deep.
    #[test]
    fn hostile_values() {
        for (json, shown) in [
            (r#"{"$":"Error","name":[1],"message":{"a":1},"stack":7,"props":"x"}"#, "[1]: {\"a\":1}\n7 {}"),
            (r#"{"$":"Map","length":-1,"items":[1,[2]],"more":"x"}"#, "Map(0) {? → 1, ? → [2]}"),
            (r#"{"$":"Set","length":1e999,"items":"no","more":1.9}"#, "Set(0) [… 1 more]"),
            (r#"{"$":"Object","name":null,"props":[1],"more":0}"#, "{}"),
            (r#"{"$":"undefined","$":"Cut"}"#, "… (the line is too large)"),
        ] {
            assert_eq!(show(json), shown, "{json}");
        }
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(show(&deep), format!("{}…{}", "[".repeat(21), "]".repeat(21)));
        // Keys of maps within keys.
        let map = |key: &str| format!("{{\"$\":\"Map\",\"length\":1,\"items\":[[{key},1]]}}");
        let deep = (0..30).fold("1".to_owned(), |key, _| map(&key));
        assert_eq!(show(&deep).matches("Map(1)").count(), 21);
        let wide = format!("[{}0]", "123456789,".repeat(100_000));
        let shown = text(&wide, true, &mut 1000, 0);
        assert!(shown.len() < 2000 && shown.ends_with(" more]"), "{shown}");
        let long = format!("{{\"{}\":\"{}\"}}", "n".repeat(10_000), "三".repeat(10_000));
        let shown = text(&long, true, &mut 1000, 0);
        assert!(shown.chars().count() < 1200 && shown.contains("n…: \"三"), "{shown}");
    }
}
