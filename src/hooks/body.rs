//! The body of a call: a JSON object with the event and the session that it is about.

use super::call::Kind;
use crate::{
    http::Fields,
    json::{ObjectWriter, write_string, write_strings},
    key::SessionKey,
    message::{ClientEvent, bytes::write_base64},
    sign::token,
    socketio::placeholder,
    state::State,
};

/// Begins a body with the fields that every call has.
pub fn begin(state: &State, key: SessionKey, kind: Kind, rooms: &[&str]) -> Vec<u8> {
    let mut body = b"{".to_vec();
    let Some(session) = state.sessions.get(key) else { return body };
    let ip = session.identity.ip().map(|ip| ip.to_string()).unwrap_or_default();
    let mut object = ObjectWriter::within(&mut body);
    object.text("event", kind.name());
    object.text("nsp", &state.namespaces[session.namespace as usize].name);
    object.text("socket_id", &state.socket_id(key));
    object.text("source", &state.tenants[session.tenant.index()].name);
    object.text("userid", state.user_of(key));
    object.text("username", session.identity.username());
    object.text("ip", &ip);
    object.display("ts", state.now.unix);
    object.raw("rooms", |out| write_strings(out, rooms));
    body
}

/// Adds the login of a client: the fields of its query without the signature, and its auth payload, which is JSON or
/// empty. If relay has checked the login (`is_checked`), both are without the token.
pub fn add_login(body: &mut Vec<u8>, query: &str, auth: &str, is_checked: bool) {
    let fields = Fields::parse(query.as_bytes());
    let mut object = ObjectWriter::within(body);
    object.raw("query", |out| {
        let mut known: Vec<&str> = Vec::new();
        out.push(b'{');
        for (name, value) in fields.iter() {
            // A signature works like a password: anyone who has it can log in with it.
            let is_secret = name == "sign" || (name == token::FIELD && is_checked);
            if is_secret || known.contains(&name) || known.len() >= MOST_QUERY {
                continue;
            }
            if !known.is_empty() {
                out.push(b',');
            }
            known.push(name);
            write_string(out, name);
            out.push(b':');
            write_string(out, value);
        }
        out.push(b'}');
    });
    let auth = match auth {
        "" => "null".into(),
        auth if is_checked => token::without_token(auth),
        auth => auth.into(),
    };
    object.raw("auth", |out| out.extend_from_slice(auth.as_bytes()));
}

/// Adds a client's event. Binary data in its arguments becomes `{"_base64":"…"}`.
pub fn add_event(body: &mut Vec<u8>, event: &ClientEvent<'_>) {
    let mut object = ObjectWriter::within(body);
    object.text("name", event.name);
    object.raw("args", |out| match event.attachments {
        [] => out.extend_from_slice(event.list.as_bytes()),
        attachments => placeholder::replace(event.list, out, |number, out| {
            write_base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
        }),
    });
}

/// Adds that the session was lost, and whether its user is back.
pub fn add_loss(body: &mut Vec<u8>, returned: bool) {
    let mut object = ObjectWriter::within(body);
    object.text("reason", "lost");
    object.raw("returned", |out| out.extend_from_slice(if returned { b"true" } else { b"false" }));
}

/// Ends a body with the id of the call.
pub fn finish(mut body: Vec<u8>, id: &str) -> Box<str> {
    ObjectWriter::within(&mut body).text("id", id);
    body.push(b'}');
    String::from_utf8(body).expect("a body is made of text only").into()
}

/// Fields of a query that are sent to the backend.
const MOST_QUERY: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_a_login_is_not_passed_on() {
        let body = |is_checked| {
            let mut body = b"{".to_vec();
            let query = "source=a&sign=s&jwt=secret&%6Awt=secret&x=1";
            add_login(&mut body, query, r#"{"jwt":"secret","\u006awt":"secret","y":[ 2 ]}"#, is_checked);
            String::from_utf8(body).unwrap()
        };
        assert_eq!(body(true), r#"{"query":{"source":"a","x":"1"},"auth":{"y":[ 2 ]}"#);
        // The backend decides, so it needs the token.
        let whole =
            r#"{"query":{"source":"a","jwt":"secret","x":"1"},"auth":{"jwt":"secret","\u006awt":"secret","y":[ 2 ]}"#;
        assert_eq!(body(false), whole);
    }
}
