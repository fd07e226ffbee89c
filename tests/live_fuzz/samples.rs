//! Values that several protocols send.

use relay::sign::{Subject, to_hex};

use crate::{
    support::{KEY, form},
    wire::Case,
};

/// JSON values, for messages and arguments.
pub const VALUES: [&str; 12] = [
    "\"hello\"",
    "{\"text\":\"hi\",\"n\":[1,2.50,-3e2]}",
    "[1,[2,[3,[4]]],{\"a\":{\"b\":null}}]",
    "\"\\ud83d\\ude00 \\u0000 ä €\"",
    "12345678901234567890",
    "{\"_base64\":\"AP8=\"}",
    "{\"userId\":\"7\"}",
    "\"{\\\"userId\\\":\\\"7\\\"}\"",
    "{\"_placeholder\":true,\"num\":0}",
    "true",
    "null",
    "\"\"",
];

/// Lists of rooms.
pub const ROOMS: [&str; 8] = ["room", "a", "a,b", "a,b,c,a", ",,a,", "房间", "*", "room/1?x=%2C&y"];

/// Names of events: those of relay, of rules, and others.
pub const EVENTS: [&str; 16] = [
    "postMsg",
    "join",
    "leave",
    "ping",
    "ack",
    "say",
    "all",
    "echo",
    "call",
    "others",
    "nothing",
    "user_login",
    "check_app_status",
    "call_up",
    "newMsg",
    "refreshPage",
];

/// Namespaces and rules of every kind but hooks. Sessions that are left behind end soon.
pub const NAMESPACES: &str = r#"
[socketio]
ping_interval = 2
ping_timeout = 2
connect_timeout = 2
[namespaces."/chat"]
auth = "open"
source = "demo"
join = true
welcome = { event = "auth", data = "$auth" }
rules = [
  { event = "say", send = "rooms", ack = "echo" },
  { event = "others", send = "others", as = "said", volatile = true },
  { event = "all", send = "namespace", ack = { ok = 1 } },
  { event = "call", send = "user", to = "/chat", ack = "peer" },
  { event = "echo", send = "self", ack = "peer" },
  { event = "nothing", send = "drop" },
]
[namespaces."/web"]
auth = "open"
source = "demo"
pairing = "/app"
forward = ["call_up"]
[namespaces."/app"]
auth = "open"
source = "demo"
pairing = "/web"
"#;

pub fn md5(subject: &Subject) -> String {
    to_hex(&subject.md5(KEY.as_bytes()))
}

/// The query of a login, mostly a right one.
pub fn login(case: &mut Case) -> String {
    let room_ids = case.text(&ROOMS, 8);
    let userid = case.text(&["7", "8", "", "ü"], 8);
    let ext_info = case.text(&["", "{\"a\":1}", "x"], 8);
    let sign = md5(&Subject::Connect { source: "demo", userid: "", room_ids: &room_ids });
    let watch_quit = case.random.pick(&["0", "1", "1x"]);
    let mut fields = vec![
        ("source", "demo"),
        ("room_ids", &room_ids),
        ("sign", &sign),
        ("userid", &userid),
        ("username", "spring"),
        ("ext_info", &ext_info),
        ("watch_quit", watch_quit),
    ];
    let at = case.random.below(fields.len());
    if case.random.once_in(8) {
        fields.remove(at);
    }
    if case.random.once_in(3) {
        fields.push(("nsp", case.random.pick(&["/chat", "/web", "/app", "/", "/none"])));
    }
    form(&fields)
}
