//! Logins of plain WebSockets (docs/protocol.md, Logins, and Plain WebSocket).

use log::debug;

use super::{
    access::{client_ip, origin_allowed},
    context::Context,
    outcome::Outcome,
};
use crate::{
    http::{self, Head, Reply},
    hub::login::{Login, is_one},
    message::Form,
    sign::Signature,
    websocket::handshake,
};

/// `GET /ws?…` with an upgrade. Returns the encoded 101 response, or a refusal, which is an ordinary HTTP reply.
pub fn websocket(head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
    let response = match handshake::accept(head) {
        Ok(response) => response,
        Err(error) => return Reply::from(error).into(),
    };
    if cx.stopping {
        return Reply::refusal(503, "relay is stopping, come back").with("Retry-After", "1").into();
    }
    if cx.hub.state.is_short_of_memory() {
        cx.hub.state.stats.memory_connections_refused += 1;
        return Reply::from(http::Error::Memory).into();
    }
    let config = cx.hub.config().clone();
    if !origin_allowed(head.origin, &config) {
        debug!("upgrade refused to origin {:?}: it is not in origins", head.origin);
        return Reply::refusal(403, "this origin is not allowed").into();
    }
    let fields = head.fields();
    let form = match fields.get("format") {
        "" | "json" => Form::Json,
        "text" => Form::Text,
        _ => return Reply::refusal(400, "format is json or text").into(),
    };
    let namespace = match fields.get("nsp") {
        "" => "/",
        namespace => namespace,
    };
    if form == Form::Text && namespace != "/" {
        return Reply::refusal(400, "format=text is for the namespace / only").into();
    }
    let login = Login {
        source: fields.get("source"),
        room_ids: fields.get("room_ids"),
        signature: Signature::new(fields.get("sign"), fields.get("sign_type"), fields.get("ts")),
        userid: fields.get("userid"),
        username: fields.get("username"),
        ext_info: fields.get("ext_info"),
        watch_quit: is_one(fields.get("watch_quit")),
        form,
        ip: client_ip(cx.peer, head, &config.trusted_proxies),
        referer: &head.referer,
        user_agent: &head.user_agent,
    };
    if cx.refuses_address(login.ip, true) {
        debug!("{} was refused: limits.per_address", Peer(&login));
        return Reply::from(http::Error::TooManyFromAddress).into();
    }
    match cx.hub.admit(namespace, &login, head.query, cx.conn, cx.now) {
        Ok((client, true)) => {
            debug!("{} waits for the backend to admit it", Peer(&login));
            Outcome::AwaitBackend { client, response }
        }
        Ok((client, false)) => {
            debug!("{} connected to rooms {:?} of source {:?}", Peer(&login), login.room_ids, login.source);
            Outcome::Upgrade { client, response }
        }
        Err(refusal) => {
            debug!("{} was refused: {}", Peer(&login), refusal.text());
            Reply::refusal(401, &refusal.text()).into()
        }
    }
}

/// A login in a log line. Names are escaped: clients choose them.
struct Peer<'a>(&'a Login<'a>);

impl core::fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Login { userid, username, ip, .. } = self.0;
        write!(f, "{userid:?} ({username:?}) from ")?;
        match ip {
            Some(ip) => write!(f, "{ip}"),
            None => f.write_str("a unix socket"),
        }
    }
}
