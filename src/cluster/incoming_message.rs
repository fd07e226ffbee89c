//! Messages of other relays, old servers and backends on the common channel.

use serde_json::{Value, value::RawValue};

use super::{
    command::{Command, IncomingMessage},
    context::Context,
    fields::{flag, text, unpack},
    refused::Refused,
};
use crate::{
    json::{Object, javascript::js_text},
    message::{
        MessageId,
        new_msg::{MAX_COPIES_SIZE, copies_size},
    },
    names::{Rooms, is_file_safe, nested_room_list},
    sign::{Signature, Subject},
    state::{Reader, Refusal, State, TenantId, Verified, sender},
};

/// Checks and decodes a message of a relay, an old server or a backend. `authentic` says whether it has a valid
/// signature with `redis.secret`.
pub fn decode_message<'a>(
    cx: &mut Context<'_>,
    fields: &Object<'a>,
    authentic: bool,
) -> Result<Option<Command<'a>>, Refused> {
    if fields.get("sys_info").is_some_and(|mark| is_set(mark)) {
        note_sys_info(cx, fields);
        return Ok(None);
    }
    // If there is a secret, only a signed message counts as one of a relay: others can set from_sys as well.
    let signs = cx.shared.publisher.signs();
    let from_sys = fields.contains_key("from_sys") && (cx.shared.trust || authentic);
    // Relays publish a message with its id in the first room.
    let id = MessageId::parse(&text(fields, "id")).filter(|id| id.part_index() == 0);
    let of_relay = authentic || (from_sys && !signs);
    let of_relay = of_relay && id.is_some_and(|id| id.node() == text(fields, "node"));
    if of_relay && !cx.is_new(fields) {
        return Ok(None);
    }
    let state = &mut *cx.state;
    let source = text(fields, "source");
    if source.is_empty() {
        return Err(Refusal::SourceMissing.into());
    }
    let room_ids = fields.get("room_id").map_or_else(String::new, |raw| nested_room_list(raw));
    let rooms = Rooms::parse(&room_ids, state.config().limits.room_id as usize, 0)
        .map_err(|error| Refusal::from_name(error, Refusal::RoomMissing))?
        .iter()
        .len();
    let raw = fields.get("data").map(|raw| raw.get());
    let (tenant, verified) = match from_sys {
        // Sessions in open namespaces may have sources that are not configured.
        true => (state.known_tenant(&source).ok_or(Refusal::SourceUnknown)?, Verified::UNSIGNED),
        false => {
            let tenant = state.tenant(&source)?;
            (tenant, check_signature(state, tenant, fields, (&source, &room_ids, raw))?)
        }
    };
    let filename = text(fields, "filename");
    let filename = match is_file_safe(&filename) && state.may_use_filename(tenant, &filename) {
        true => filename,
        false => "".into(),
    };
    let (json, attachments) = unpack(flag(fields, "binary"), raw.unwrap_or("null"))?;
    // Servers name a file, maybe an empty one, in the messages of backends only.
    let from_client = from_sys && !fields.contains_key("filename");
    let from = fields.get("from").filter(|_| from_client).map_or_else(String::new, |raw| sender::copy(raw));
    let message = IncomingMessage { tenant, room_ids, json, attachments, filename, from_client, from, id };
    // JSON escapes can make the data six times as long as the publishing relay counted.
    let most = if of_relay { 6 * MAX_COPIES_SIZE } else { MAX_COPIES_SIZE };
    if rooms > 1 && copies_size(message.data(), rooms) > most {
        return Err(Refusal::TooLargeForRooms.into());
    }
    state.accept(tenant, verified, state.now)?;
    state.stats.redis_received += 1;
    Ok(Some(Command::Message(message)))
}

/// Whether a value is `true`, the number 1, or `"1"`.
fn is_set(mark: &RawValue) -> bool {
    match serde_json::from_str(mark.get()) {
        Ok(Value::Bool(set)) => set,
        Ok(Value::Number(number)) => number.as_f64() == Some(1.0),
        Ok(Value::String(text)) => text == "1",
        _ => false,
    }
}

/// Checks a message's signature with the key of its source.
fn check_signature(
    state: &mut State,
    tenant: TenantId,
    fields: &Object<'_>,
    (source, room_id, raw): (&str, &str, Option<&str>),
) -> Result<Verified, Refused> {
    let verify = state.tenants[tenant.index()].source.as_ref().is_none_or(|source| source.publish_msg_verify);
    let from_sys = fields.contains_key("from_sys");
    if !verify && !from_sys {
        return Ok(Verified::UNSIGNED);
    }
    let (sign, sign_type, ts) = (text(fields, "sign"), text(fields, "sign_type"), text(fields, "ts"));
    if sign.is_empty() && from_sys {
        return Err(Refused::FromSys);
    }
    if sign.is_empty() {
        return Err(Refusal::NotifySignMissing.into());
    }
    let signature = Signature::new(&sign, &sign_type, &ts);
    // A signature may cover the data as node-socket-im converts it to text, or verbatim as in notifications.
    let signed = js_text(raw);
    let verify = |data: &str| {
        let subject = Subject::Notify { source, room_id, data: data.as_bytes() };
        state.verify(tenant, &subject, &signature, state.now)
    };
    let verified = verify(&signed).or_else(|_| verify(raw.unwrap_or_default()));
    verified.map_err(|refusal| {
        let data = raw.unwrap_or_default().as_bytes();
        state.explain(&Subject::Notify { source, room_id, data }, &signature, refusal, Reader::Stranger);
        refusal.into()
    })
}

/// Copies a log line of an old server to `sys.log`. The file that it names is ignored.
fn note_sys_info(cx: &mut Context<'_>, fields: &Object<'_>) {
    cx.state.stats.redis_received += 1;
    if cx.shared.trust && text(fields, "key") == "system_start" {
        // When an old server starts, it deletes all presence records.
        cx.shared.records.deleted_by_old_server = true;
    }
    cx.log.old_server(|line| {
        let fields = fields.iter().filter(|(name, _)| !["sys_info", "log_file"].contains(&&***name));
        for (name, value) in fields.take(MAX_COPIED_FIELDS) {
            line.copied(name, value.get());
        }
    });
}

/// Fields of an old server's log line that are copied. Its own lines have five.
const MAX_COPIED_FIELDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::{
        super::{channel::Channel, context::Shared, incoming::decode, testing},
        *,
    };
    use crate::{message::Data, message_log::MessageLog, sign::to_hex};

    struct Relay {
        shared: Shared,
        state: State,
        log: MessageLog,
    }

    impl Relay {
        fn new(secret: Option<&[u8]>, trust: bool) -> Relay {
            let mut shared = Shared { trust, ..Shared::default() };
            shared.publisher.introduce("aaaaaa".into(), "192.0.2.7");
            shared.publisher.configure(Some((secret, 300)));
            Relay { shared, state: testing::state(), log: MessageLog::new(true) }
        }

        fn decode<'a>(&mut self, text: &'a str) -> Option<IncomingMessage<'a>> {
            let Relay { shared, state, log } = self;
            match decode(&mut Context { shared, state, log }, &Channel::Messages, text.as_bytes())? {
                Command::Message(message) => Some(message),
                other => panic!("{other:?}"),
            }
        }

        fn refused(&mut self, text: &str) -> String {
            assert_eq!(self.decode(text), None);
            let lines = String::from_utf8(self.log.take().into_values().flatten().collect()).unwrap();
            let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
            line["error"].as_str().unwrap().to_owned()
        }
    }

    fn sign(data: &str) -> String {
        to_hex(&Subject::Notify { source: "demo", room_id: "r", data: data.as_bytes() }.md5(testing::KEY.as_bytes()))
    }

    #[test]
    fn a_message_of_a_relay() {
        let mut relay = Relay::new(None, true);
        let text = |seq: u64| {
            format!(
                "{{\"source\":\"demo\",\"data\":{{\"a\": 1.0}},\"room_id\":\"r1,,r2,r1\",\"filename\":\"a.log\",\
                 \"from_sys\":true,\"ip\":\"192.0.2.8\",\"id\":\"1km9g41o7vkabc123\",\"seq\":{seq},\"node\":\"abc123\"}}"
            )
        };
        let (first, later) = (text(5), text(8));
        let message = relay.decode(&first).unwrap();
        assert_eq!(message.rooms(), ["r1", "r2", "r1"]);
        assert_eq!((message.data(), &*message.filename), (Data::Json("{\"a\": 1.0}"), "a.log"));
        assert!(matches!(message.json, std::borrow::Cow::Borrowed(_)), "data is not copied");
        assert_eq!(message.id, MessageId::parse("1km9g41o7vkabc123"));
        assert_eq!(relay.decode(&first), None, "it is received once");
        assert!(relay.decode(&later).is_some());
        let stats = &relay.state.stats;
        assert_eq!((stats.redis_received, stats.redis_missed, stats.redis_refused), (2, 2, 0));
    }

    #[test]
    fn bytes_and_files() {
        let mut relay = Relay::new(None, true);
        let text = r#"{"source":"demo","data":{"_base64":"AP8="},"room_id":["r",7],"from_sys":1,"binary":true,"filename":"../x"}"#;
        let message = relay.decode(text).unwrap();
        assert_eq!((message.rooms(), &*message.filename, message.id), (vec!["r", "7"], "", None));
        assert_eq!(message.data().only_bytes(), Some(&[0, 255][..]));
        let part = r#"{"source":"demo","room_id":"r","from_sys":1,"id":"1km9g41o7vkabc123.1"}"#;
        assert_eq!(relay.decode(part).unwrap().id, None, "it is not the id of a publication");
        let other = r#"{"source":"demo","room_id":"r","from_sys":1,"filename":"x_msg.log"}"#;
        let message = relay.decode(other).unwrap();
        assert_eq!((&*message.filename, message.data()), ("", Data::Json("null")), "the file belongs to demo_x");
        let wrong =
            r#"{"source":"demo","data":{"_placeholder":true,"num":0},"room_id":"r","from_sys":1,"binary":true}"#;
        assert_eq!(relay.refused(wrong), "a placeholder without its attachment");
    }

    #[test]
    fn messages_of_backends_are_signed() {
        let mut relay = Relay::new(None, true);
        for (data, signed) in
            [("\"x\"", "x"), ("1.0", "1"), ("1.0", "1.0"), ("[1,null]", "1,"), ("{}", "[object Object]")]
        {
            let text = format!(
                r#"{{"source":"demo","data":{data},"room_id":"r","sign":"{}","node":"abc123","seq":1}}"#,
                sign(signed)
            );
            assert!(relay.decode(&text).is_some(), "{data} {signed}");
        }
        let wrong = r#"{"source":"demo","data":"x","room_id":"r","sign":"0"}"#;
        assert_eq!(
            relay.refused(wrong),
            "api notify sign verify failed! (sign must have 32 hexadecimal digits with md5)"
        );
        let missing = r#"{"source":"demo","data":"x","room_id":"r"}"#;
        assert_eq!(relay.refused(missing), Refusal::NotifySignMissing.text());
        let mut relay = Relay::new(None, false);
        let from_sys = r#"{"source":"demo","data":"x","room_id":"r","from_sys":true}"#;
        let why = "from_sys does not replace a signature, because redis.trust_from_sys is false";
        assert_eq!(relay.refused(from_sys), why);
        let signed = format!(r#"{{"source":"demo","data":"x","room_id":"r","from_sys":true,"sign":"{}"}}"#, sign("x"));
        assert!(relay.decode(&signed).is_some());
    }

    #[test]
    fn an_hmac_signature_of_a_backend_is_used_once() {
        let mut relay = Relay::new(None, true);
        let (ts, now) = ("1000.5", crate::clock::Now { unix: 1000, ..Default::default() });
        relay.state.now = now;
        let subject = Subject::Notify { source: "demo", room_id: "r", data: b"x" };
        let sign = to_hex(&subject.hmac(testing::KEY.as_bytes(), ts));
        let text = format!(
            r#"{{"source":"demo","data":"x","room_id":"r","sign":"{sign}","sign_type":"hmac-sha256","ts":"{ts}"}}"#
        );
        assert!(!relay.decode(&text).expect("it is signed").from_client);
        assert!(relay.refused(&text).starts_with("sign was used before! ("));
        let again = text.replace(&sign, &sign.to_uppercase());
        assert!(relay.refused(&again).starts_with("sign was used before! ("));
    }

    #[test]
    fn only_messages_of_backends_name_a_file() {
        let mut relay = Relay::new(None, true);
        let signed = format!(r#"{{"source":"demo","data":"x","room_id":"r","sign":"{}"}}"#, sign("x"));
        for (text, from_client) in [
            (r#"{"source":"demo","data":"x","room_id":"r","filename":"","from_sys":true}"#, false),
            (r#"{"source":"demo","data":"x","room_id":"r","from_sys":true}"#, true),
            (&*signed, false),
        ] {
            assert_eq!(relay.decode(text).expect("it is accepted").from_client, from_client, "{text}");
        }
    }

    #[test]
    fn only_messages_of_clients_say_who_sent_them() {
        let mut relay = Relay::new(None, true);
        let from = r#""from":{"userid":"7","socket_id":"x"}"#;
        for (text, copied) in [
            (format!(r#"{{"source":"demo","data":"x","room_id":"r","from_sys":true,{from}}}"#), true),
            (format!(r#"{{"source":"demo","data":"x","room_id":"r","filename":"","from_sys":true,{from}}}"#), false),
            (format!(r#"{{"source":"demo","data":"x","room_id":"r","sign":"{}",{from}}}"#, sign("x")), false),
        ] {
            let message = relay.decode(&text).expect("it is accepted");
            assert_eq!(message.from, if copied { &from[7..] } else { "" }, "{text}");
        }
    }

    #[test]
    fn wrong_sources_and_rooms() {
        let mut relay = Relay::new(None, true);
        let long = "x".repeat(129);
        for (text, why) in [
            (r#"{"room_id":"r","from_sys":1}"#.into(), Refusal::SourceMissing),
            (r#"{"source":"nobody","room_id":"r","from_sys":1}"#.into(), Refusal::SourceUnknown),
            (r#"{"source":"open","room_id":"r"}"#.into(), Refusal::SourceUnknown),
            (r#"{"source":"demo","from_sys":1}"#.into(), Refusal::RoomMissing),
            (r#"{"source":"demo","room_id":["r","a\nb"],"from_sys":1}"#.into(), Refusal::ControlCharacter("room_id")),
            (format!(r#"{{"source":"demo","room_id":"{long}","from_sys":1}}"#), Refusal::RoomTooLong(128)),
        ] {
            assert_eq!(relay.refused(&text), why.text(), "{text}");
        }
        assert!(
            relay.decode(r#"{"source":"open","room_id":"r","from_sys":1}"#).is_some(),
            "an open namespace's source"
        );
        let rooms = vec!["r"; 7000].join(",");
        let data = "x".repeat(10_000);
        let wide = format!(r#"{{"source":"demo","room_id":"{rooms}","data":"{data}","from_sys":1}}"#);
        assert_eq!(relay.refused(&wide), Refusal::TooLargeForRooms.text());
        let of_relay = wide.replace("}", r#","id":"1km9g41o7vkabc123","seq":1,"node":"abc123"}"#);
        assert!(relay.decode(&of_relay).is_some(), "the publishing relay has checked that");
    }

    /// It may be written with escapes, or in another form of the number.
    #[test]
    fn the_mark_of_a_log_line_is_parsed() {
        let is_set = |json: &str| is_set(serde_json::from_str(json).unwrap());
        for set in ["true", "1", "1.0", "1e0", r#""1""#, r#""\u0031""#] {
            assert!(is_set(set), "{set}");
        }
        for other in ["false", "null", "0", "11", r#""true""#, r#""\"1\"""#, "[1]", r#"{"a":true}"#] {
            assert!(!is_set(other), "{other}");
        }
    }

    #[test]
    fn logs_of_old_servers() {
        let mut relay = Relay::new(None, true);
        let text = r#"{"sys_info":true,"key":"system_start","log_file":"/etc/passwd","x":1}"#;
        assert_eq!(relay.decode(text), None);
        assert!(relay.shared.records.deleted_by_old_server);
        let (path, lines) = relay.log.take().pop_first().unwrap();
        let lines = String::from_utf8(lines).unwrap();
        assert!(path.ends_with("/sys.log") && lines.contains("\"key\":\"system_start\",\"x\":1"), "{path} {lines}");
        assert!(!lines.contains("passwd"));
        let mut relay = Relay::new(None, false);
        assert_eq!(relay.decode(text), None);
        assert!(!relay.shared.records.deleted_by_old_server, "anyone may have published it");
    }
}
