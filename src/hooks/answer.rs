//! Parsing of the backend's answers.

use core::{error::Error, fmt};

use serde_json::value::RawValue;

use crate::{
    json::{Object, all_fields, array_items, scalar, string},
    language::{Language, say},
    message::client_event::is_list_too_deep,
    names::is_reserved,
    text::without_bom,
};

/// An answer. An empty body and `{}` allow a connect and request nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Whether the client may connect: the field `allow`, or true if neither `allow` nor `error` is present.
    pub allow: bool,
    /// The reason of a refusal, for the client.
    pub error: Option<String>,
    /// The user's id, in place of the login's.
    pub userid: Option<String>,
    /// The user's name, in place of the login's.
    pub username: Option<String>,
    /// The acknowledgement of the event, as a JSON array of its arguments.
    pub ack: Option<&'a str>,
    /// Events to send.
    pub emit: Vec<Emit<'a>>,
    /// Rooms that the session joins.
    pub join: Vec<String>,
    /// Rooms that the session leaves.
    pub leave: Vec<String>,
    /// Whether to end the session.
    pub disconnect: bool,
}

/// An event to send for the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit<'a> {
    /// Its name: not empty, and not one that Socket.IO reserves.
    pub event: String,
    /// Its arguments as JSON, separated by commas, without the brackets.
    pub args: &'a str,
    /// The receivers.
    pub to: To,
    /// The namespace of the receivers; `None`: that of the session.
    pub namespace: Option<String>,
}

/// The receivers of an event of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// The session that the call is about.
    ThisSession,
    /// The members of a room.
    Room(String),
    /// The sessions of a user.
    User(String),
    /// The session with that `socket_id`.
    Session(String),
    /// Every session in the namespace.
    Namespace,
}

/// Why a body is not a valid answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// It is not UTF-8.
    NotUtf8,
    /// It is not a JSON object.
    NotObject,
    /// A field occurs twice: which of them counts would be a guess.
    Repeated(&'static str),
    /// A field has a value that it cannot have.
    Field {
        /// The field.
        name: &'static str,
        /// The expected value, in English and in Chinese.
        expected: (&'static str, &'static str),
    },
}

impl AnswerError {
    /// The error in a language.
    pub fn words(&self, language: Language) -> String {
        match self {
            AnswerError::NotUtf8 => say!(language, "it is not UTF-8", "不是 UTF-8"),
            AnswerError::NotObject => say!(language, "it is not a JSON object", "不是 JSON 对象"),
            AnswerError::Repeated(name) => say!(language, "{name} occurs twice", "{name} 出现了两次"),
            AnswerError::Field { name, expected: (english, chinese) } => {
                say!(language, "{name} must be {english}", "{name} 必须是{chinese}")
            }
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(Language::English))
    }
}

impl Error for AnswerError {}

impl Default for Answer<'_> {
    fn default() -> Self {
        Answer {
            allow: true,
            error: None,
            userid: None,
            username: None,
            ack: None,
            emit: Vec::new(),
            join: Vec::new(),
            leave: Vec::new(),
            disconnect: false,
        }
    }
}

impl<'a> Answer<'a> {
    /// Reads the body of a response. All decisions are made on parsed values, never on the text. Unknown fields are
    /// ignored. A field that is `null` counts as missing, except `allow`: there `null` means `false`.
    pub fn parse(body: &'a [u8]) -> Result<Answer<'a>, AnswerError> {
        let text = core::str::from_utf8(without_bom(body)).map_err(|_| AnswerError::NotUtf8)?;
        let mut answer = Answer::default();
        if text.trim().is_empty() {
            return Ok(answer);
        }
        let fields = all_fields(text).ok_or(AnswerError::NotObject)?;
        let (mut allow, mut seen) = (None, Vec::new());
        for (name, value) in fields {
            let Some(name) = FIELDS.into_iter().find(|known| *known == name) else { continue };
            if seen.contains(&name) {
                return Err(AnswerError::Repeated(name));
            }
            seen.push(name);
            let is_null = value.get() == "null";
            match name {
                "allow" => allow = Some(!is_null && boolean(name, value)?),
                _ if is_null => {}
                "error" => answer.error = Some(scalar(value).into_owned()),
                "userid" => answer.userid = Some(text_or_number(name, value, TEXT)?),
                "username" => answer.username = Some(text_or_number(name, value, TEXT)?),
                "ack" => answer.ack = Some(array(name, value)?),
                "emit" => answer.emit = emits(value)?,
                "join" => answer.join = names(name, value)?,
                "leave" => answer.leave = names(name, value)?,
                "disconnect" => answer.disconnect = boolean(name, value)?,
                _ => {}
            }
        }
        answer.allow = allow.unwrap_or(answer.error.is_none());
        Ok(answer)
    }
}

impl<'a> Emit<'a> {
    fn parse(value: &'a RawValue) -> Result<Emit<'a>, AnswerError> {
        let wrong = |name, expected| AnswerError::Field { name, expected };
        let fields: Object<'a> = serde_json::from_str(value.get())
            .map_err(|_| wrong("emit", ("an object or a list of objects", "对象或对象的列表")))?;
        let event = fields.get("event").map(|name| scalar(name).into_owned()).unwrap_or_default();
        if event.is_empty() || is_reserved(&event) {
            return Err(wrong(
                "emit: event",
                ("the name of an event that Socket.IO does not reserve", "未被 Socket.IO 保留的事件名"),
            ));
        }
        let args = fields.get("args").map_or(Ok(""), |args| array("emit: args", args).map(array_items))?;
        let (to, namespace) = match fields.get("to").filter(|to| to.get() != "null") {
            None => (To::ThisSession, None),
            Some(to) if is_text(to, "self") => (To::ThisSession, None),
            Some(to) => To::parse(to.get()).ok_or_else(|| {
                wrong(
                    "emit: to",
                    (
                        "\"self\", or an object with one of room, user, socket_id, and with nsp or without",
                        "\"self\"，或含有 room、user、socket_id 之一的对象，可带 nsp",
                    ),
                )
            })?,
        };
        Ok(Emit { event, args, to, namespace })
    }
}

impl To {
    /// Reads the receivers and their namespace.
    fn parse(object: &str) -> Option<(To, Option<String>)> {
        let fields: Object<'_> = serde_json::from_str(object).ok()?;
        let text = |name: &str| fields.get(name).map(|value| scalar(value).into_owned());
        let namespace = text("nsp");
        let to = match (text("room"), text("user"), text("socket_id")) {
            (Some(room), None, None) => To::Room(room),
            (None, Some(user), None) => To::User(user),
            (None, None, Some(session)) => To::Session(session),
            (None, None, None) if namespace.is_some() => To::Namespace,
            _ => return None,
        };
        Some((to, namespace))
    }
}

/// The fields of an answer.
const FIELDS: [&str; 9] = ["allow", "error", "userid", "username", "ack", "emit", "join", "leave", "disconnect"];
const TEXT: (&str, &str) = ("a string or a number", "字符串或数字");
const NAMES: (&str, &str) = ("a name or a list of names", "名称或名称的列表");

fn boolean(name: &'static str, value: &RawValue) -> Result<bool, AnswerError> {
    serde_json::from_str(value.get()).map_err(|_| AnswerError::Field { name, expected: ("true or false", "布尔值") })
}

/// Whether a value is this string, however it is escaped.
fn is_text(value: &RawValue, text: &str) -> bool {
    string(value.get()).is_some_and(|value| value == text)
}

/// A string, or the text of a number.
fn text_or_number(
    name: &'static str,
    value: &RawValue,
    expected: (&'static str, &'static str),
) -> Result<String, AnswerError> {
    match value.get().as_bytes().first() {
        Some(b'"' | b'-' | b'0'..=b'9') => Ok(scalar(value).into_owned()),
        _ => Err(AnswerError::Field { name, expected }),
    }
}

/// A JSON array, as text.
fn array<'a>(name: &'static str, value: &'a RawValue) -> Result<&'a str, AnswerError> {
    let parsed = serde_json::from_str::<Vec<&RawValue>>(value.get());
    parsed.map_err(|_| AnswerError::Field { name, expected: ("a list", "列表") })?;
    match is_list_too_deep(value.get()) {
        true => Err(AnswerError::Field {
            name,
            expected: ("a list of values that are nested at most 100 levels deep", "嵌套不超过 100 层的列表"),
        }),
        false => Ok(value.get()),
    }
}

/// An object or a list of objects.
fn emits(value: &RawValue) -> Result<Vec<Emit<'_>>, AnswerError> {
    let list: Vec<&RawValue> = match value.get().starts_with('[') {
        true => serde_json::from_str(value.get()).map_err(|_| AnswerError::NotObject)?,
        false => vec![value],
    };
    list.into_iter().map(Emit::parse).collect()
}

/// A name or a list of names.
fn names(name: &'static str, value: &RawValue) -> Result<Vec<String>, AnswerError> {
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        return text_or_number(name, value, NAMES).map(|list| vec![list]);
    };
    let item = |item| match text_or_number(name, item, NAMES)? {
        room if room.contains(',') => Err(AnswerError::Field {
            name,
            expected: ("a list of names without commas", "不含逗号的名称的列表"),
        }),
        room => Ok(room),
    };
    list.into_iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Answer<'_>, AnswerError> {
        Answer::parse(text.as_bytes())
    }

    #[test]
    fn answers_that_make_sense() {
        for right in [
            "",
            " \n",
            "{}",
            "{\"allow\":true,\"more\":1}",
            "{\"ack\":[1,{}],\"join\":\"a\",\"leave\":[\"b\",7],\"disconnect\":false}",
            "{\"emit\":[{\"event\":\"e\",\"args\":[1],\"to\":\"self\"},{\"event\":\"e\",\"to\":{\"room\":\"r\"}}]}",
            "{\"emit\":{\"event\":\"e\",\"to\":{\"user\":7,\"nsp\":\"/app\"}},\"ack\":null}",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        let answer = parse("{\"allow\":false,\"error\":\"no\",\"ack\":[ 1 ]}").unwrap();
        assert_eq!((answer.allow, answer.error.as_deref(), answer.ack), (false, Some("no"), Some("[ 1 ]")));
    }

    #[test]
    fn answers_that_make_no_sense() {
        let to = "emit: to must be \"self\", or an object with one of room, user, socket_id, and with nsp or without";
        let event = "emit: event must be the name of an event that Socket.IO does not reserve";
        for (wrong, why) in [
            ("x", "it is not a JSON object"),
            ("[]", "it is not a JSON object"),
            ("null", "it is not a JSON object"),
            ("true", "it is not a JSON object"),
            ("\"allow\"", "it is not a JSON object"),
            ("[{\"allow\":true}]", "it is not a JSON object"),
            ("{\"allow\":true} {\"allow\":false}", "it is not a JSON object"),
            ("{\"allow\":true", "it is not a JSON object"),
            ("{\"allow\":1}", "allow must be true or false"),
            ("{\"allow\":\"no\"}", "allow must be true or false"),
            ("{\"allow\":\"true\"}", "allow must be true or false"),
            ("{\"allow\":[true]}", "allow must be true or false"),
            ("{\"allow\":{\"allow\":true}}", "allow must be true or false"),
            ("{\"allow\":false,\"allow\":true}", "allow occurs twice"),
            ("{\"allow\":true,\"allo\\u0077\":true}", "allow occurs twice"),
            ("{\"error\":\"no\",\"error\":null}", "error occurs twice"),
            ("{\"userid\":{}}", "userid must be a string or a number"),
            ("{\"username\":true}", "username must be a string or a number"),
            ("{\"join\":{\"a\":1}}", "join must be a name or a list of names"),
            ("{\"join\":[\"a\",\"b,c\"]}", "join must be a list of names without commas"),
            ("{\"leave\":[\"a\\u002cb\"]}", "leave must be a list of names without commas"),
            ("{\"leave\":[[\"a\"]]}", "leave must be a name or a list of names"),
            ("{\"disconnect\":\"yes\"}", "disconnect must be true or false"),
            ("{\"ack\":{}}", "ack must be a list"),
            ("{\"emit\":[1]}", "emit must be an object or a list of objects"),
            ("{\"emit\":[{}]}", event),
            ("{\"emit\":[{\"event\":\"disconnect\"}]}", event),
            ("{\"emit\":[{\"event\":\"e\",\"args\":{}}]}", "emit: args must be a list"),
            ("{\"emit\":[{\"event\":\"e\",\"to\":\"all\"}]}", to),
            ("{\"emit\":[{\"event\":\"e\",\"to\":{}}]}", to),
            ("{\"emit\":[{\"event\":\"e\",\"to\":{\"room\":\"r\",\"user\":\"u\"}}]}", to),
        ] {
            assert_eq!(parse(wrong).unwrap_err().to_string(), why, "{wrong}");
        }
        let nested = |depth: usize| format!("{{\"ack\":[{}{}]}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(100)).is_ok());
        let why = "ack must be a list of values that are nested at most 100 levels deep";
        assert_eq!(parse(&nested(101)).unwrap_err().to_string(), why);
        assert_eq!(Answer::parse(b"\xff"), Err(AnswerError::NotUtf8));
    }

    #[test]
    fn allow_decides_and_an_error_alone_refuses() {
        for (text, allow, error) in [
            ("{}", true, None),
            (r#"{"error":"no"}"#, false, Some("no")),
            (r#"{"allow":true,"error":"so what"}"#, true, Some("so what")),
            (r#"{"error":"so what","allow":true}"#, true, Some("so what")),
            (r#"{"allow":false}"#, false, None),
            (r#"{ "allow" : false , "more" : {"allow":true} }"#, false, None),
            (r#"{"allow":null}"#, false, None),
            (r#"{"error":null}"#, true, None),
            (r#"{"error":{}}"#, false, Some("")),
            // The word in places that decide nothing.
            (r#"{"error":"allow"}"#, false, Some("allow")),
            (r#"{"error":"\"allow\""}"#, false, Some("\"allow\"")),
            (r#"{"error":"\"allow\":true"}"#, false, Some("\"allow\":true")),
            (r#"{"error":"no","ack":["allow"]}"#, false, Some("no")),
            (r#"{"error":"no","ack":[{"allow":true}]}"#, false, Some("no")),
            (r#"{"error":{"allow":true}}"#, false, Some("")),
            (r#"{"error":"no","emit":{"event":"allow","args":["allow",true]}}"#, false, Some("no")),
            (r#"{"error":"no","userid":"allow","join":["allow"]}"#, false, Some("no")),
            (r#"{"error":"no","Allow":true,"allow ":true,"\"allow\"":true,"allowed":true}"#, false, Some("no")),
            (r#"{"x":{"error":"no"}}"#, true, None),
            // Keys and values with escapes.
            (r#"{"allo\u0077":false}"#, false, None),
            (r#"{"allo\u0077":true,"error":"no"}"#, true, Some("no")),
            (r#"{"\u0065rror":"\u0061llow"}"#, false, Some("allow")),
        ] {
            let answer = parse(text).unwrap();
            assert_eq!((answer.allow, answer.error.as_deref()), (allow, error), "{text}");
        }
    }

    #[test]
    fn receivers_are_parsed() {
        for this in [r#""self""#, r#""\u0073elf""#, "null"] {
            let text = format!(r#"{{"emit":{{"event":"e","to":{this}}}}}"#);
            assert_eq!(parse(&text).unwrap().emit[0].to, To::ThisSession, "{this}");
        }
        let room = r#"{"emit":{"event":"e","to":{"ro\u006fm":"self"}}}"#;
        assert_eq!(parse(room).unwrap().emit[0].to, To::Room("self".into()));
    }

    #[test]
    fn fields() {
        let text = "{\"userid\":7,\"username\":\"Ann\",\"join\":[\"a\",1],\"leave\":\"b\",\"disconnect\":true,\
                    \"emit\":[{\"event\":\"e\",\"args\":[1, {}],\"to\":{\"nsp\":\"/n\"}},\
                    {\"event\":\"f\",\"to\":{\"socket_id\":\"x\"}}]}";
        let emit = |event: &str, args, to, namespace: Option<&str>| Emit {
            event: event.into(),
            args,
            to,
            namespace: namespace.map(Into::into),
        };
        let expected = Answer {
            userid: Some("7".into()),
            username: Some("Ann".into()),
            join: vec!["a".into(), "1".into()],
            leave: vec!["b".into()],
            disconnect: true,
            emit: vec![emit("e", "1, {}", To::Namespace, Some("/n")), emit("f", "", To::Session("x".into()), None)],
            ..Answer::default()
        };
        assert_eq!(parse(text), Ok(expected));
    }
}
