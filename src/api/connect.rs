//! Logging in: the same parameters in the query, whatever the transport (contract section 3).

use log::debug;

use super::{
    access::{client_ip, origin_allowed},
    context::Context,
    outcome::Outcome,
};
use crate::{
    http::{Head, Reply},
    hub::login::{Login, is_one},
    message::Form,
    sign::Signature,
    websocket::handshake,
};

/// `GET /ws?…` with an upgrade: 101, or why not, before anything is upgraded.
pub fn websocket(head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
    let response = match handshake::accept(head) {
        Ok(response) => response,
        Err(error) => return Reply::from(error).into(),
    };
    if cx.stopping {
        return Reply::refusal(503, "relay is stopping, come back").with("Retry-After", "1").into();
    }
    let config = cx.hub.config().clone();
    if !origin_allowed(head.origin, &config) {
        debug!("upgrade refused to origin {:?}", head.origin);
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
    match cx.hub.admit(namespace, &login, head.query, cx.conn, cx.now) {
        Ok((client, true)) => {
            debug!("{} waits for the backend", Peer(&login));
            Outcome::Ask { client, response }
        }
        Ok((client, false)) => {
            debug!("{} came to {:?} of {}", Peer(&login), login.room_ids, login.source);
            Outcome::Upgrade { client, response }
        }
        Err(refusal) => {
            debug!("{} was refused: {}", Peer(&login), refusal.text());
            Reply::refusal(401, &refusal.text()).into()
        }
    }
}

/// A login as the log shows it: escaped, since it is whatever somebody typed.
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
