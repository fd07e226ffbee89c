//! Who sent a message of a client, as the other members of the room are told if its source says so (`sender`).

use serde_json::value::RawValue;

use super::registry::State;
use crate::{
    config::SenderFields,
    engineio::Revision,
    json::{Object, ObjectWriter, scalar},
    key::SessionKey,
    text::truncate,
};

impl State {
    /// A JSON object that says who the user of a session is. Empty if its source tells nothing.
    pub fn sender(&self, key: SessionKey) -> String {
        let Some(session) = self.sessions.get(key) else { return String::new() };
        let source = self.tenants[session.tenant.index()].source.as_ref();
        let Some(fields) = source.map(|source| source.sender).filter(|fields| *fields != SenderFields::default())
        else {
            return String::new();
        };
        // With revision 3 the id is that of the Engine.IO session: whoever knows it can use the session.
        let has_id = fields.socket_id && session.form.revision() != Some(Revision::V3);
        let socket_id = if has_id { self.socket_id(key) } else { String::new() };
        let identity = &session.identity;
        write([
            ("userid", if fields.userid { identity.userid() } else { "" }),
            ("username", if fields.username { identity.username() } else { "" }),
            ("socket_id", &socket_id),
        ])
    }
}

/// The object as another relay sent it, without anything that does not belong there. Empty if it is not one.
pub fn copy(raw: &RawValue) -> String {
    let Ok(fields) = serde_json::from_str::<Object<'_>>(raw.get()) else { return String::new() };
    let field = |name: &str| fields.get(name).map(|raw| scalar(raw)).unwrap_or_default();
    let [userid, username, socket_id] = ["userid", "username", "socket_id"].map(field);
    write([("userid", &userid), ("username", &username), ("socket_id", &socket_id)])
}

/// The object with those fields that are not empty.
fn write(fields: [(&'static str, &str); 3]) -> String {
    let mut out = b"{".to_vec();
    let mut object = ObjectWriter::within(&mut out);
    for (name, value) in fields {
        object.nonempty(name, truncate(value, MAX_LENGTH));
    }
    out.push(b'}');
    String::from_utf8(out).expect("it was written as text")
}

/// Bytes of a field, as in a login.
const MAX_LENGTH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::Form,
        state::testing::{Login, session, state},
    };

    #[test]
    fn as_much_as_the_source_tells() {
        let of = |sender: &str, form| {
            let mut state = state(&format!("[sources.one]\nsign_key = \"key\"\n{sender}\n"));
            let key = session(&mut state, Login { userid: "7", form, ..Login::default() });
            (state.sender(key), state.socket_id(key))
        };
        for nothing in ["", "sender = false", "sender = []"] {
            assert_eq!(of(nothing, Form::Json).0, "");
        }
        let (all, id) = of("sender = true", Form::Json);
        assert_eq!(all, format!("{{\"userid\":\"7\",\"socket_id\":\"{id}\"}}"));
        assert_eq!(of("sender = [\"userid\", \"username\"]", Form::Json).0, "{\"userid\":\"7\"}");
        assert_eq!(of("sender = [\"username\"]", Form::Json).0, "{}");
        assert_eq!(of("sender = true", Form::SocketIo3).0, "{\"userid\":\"7\"}", "the id is a secret");
    }

    #[test]
    fn nothing_else_is_copied() {
        let copy = |text: &str| copy(serde_json::from_str(text).unwrap());
        assert_eq!(copy(r#"{"x":1,"username":"a\"b","userid":7}"#), r#"{"userid":"7","username":"a\"b"}"#);
        assert_eq!(copy(&format!(r#"{{"userid":"{}"}}"#, "ä".repeat(300))).len(), r#"{"userid":""}"#.len() + 512);
        for other in ["7", "null", "[]", "\"x\""] {
            assert_eq!(copy(other), "");
        }
    }
}
