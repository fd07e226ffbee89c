//! Logins of plain WebSockets (docs/protocol.md, Logins, and Plain WebSocket).

use core::net::IpAddr;
use std::borrow::Cow;

use log::debug;

use super::{
    access::{client_ip, is_proxied, origin_reason, refuses_origin},
    context::Context,
    echo, gate,
    outcome::Outcome,
    refused::refused,
};
use crate::{
    history::Since,
    http::{self, Fields, Head, Reply},
    hub::login::{Admitted, Login, is_one},
    json::quote,
    message::Form,
    sign::{Signature, Terms},
    state::Refusal,
    websocket::handshake,
};

/// `GET /ws?…` with an upgrade. Returns the encoded 101 response, or a refusal, which is an ordinary HTTP reply. Without an
/// upgrade, the reply is what `check` says.
pub fn websocket(head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
    let response = match handshake::accept(head, &cx.hub.config().websocket.protocols) {
        Ok(response) => response,
        Err(handshake::Error::NoUpgrade) if matches!(head.method, "GET" | "HEAD" | "POST") => {
            return check(head, cx).into();
        }
        Err(handshake::Error::NoUpgrade) if head.method == "OPTIONS" => {
            return Reply::new(204, "", &b""[..]).with("Allow", METHODS).into();
        }
        Err(handshake::Error::NoUpgrade) => {
            return Reply::refusal(405, "this is read with GET").with("Allow", METHODS).into();
        }
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
    if refuses_origin(head, cx) {
        return origin_refused(head).into();
    }
    let fields = head.fields();
    let ip = client_ip(cx.peer, head, &config.trusted_proxies);
    let (namespace, mut login) = match websocket_login(head, &fields, ip) {
        Ok(parsed) => parsed,
        Err(why) => return Reply::refusal(400, &why).into(),
    };
    login.proxied = is_proxied(head, cx);
    if cx.refuses_address(login.ip, true) {
        debug!("{} was refused: limits.per_address", Peer(&login));
        return Reply::from(http::Error::TooManyFromAddress).into();
    }
    match cx.hub.admit(namespace, &login, head.query, cx.conn, cx.now) {
        Ok(Admitted { client, pending: true, .. }) => {
            debug!("{} waits for the backend to admit it", Peer(&login));
            Outcome::AwaitBackend { client, response, origin: "".into(), event_source: false }
        }
        Ok(Admitted { client, recovered, .. }) => {
            debug!("{} connected to rooms {:?} of source {:?}", Peer(&login), login.room_ids, login.source);
            let response = match login.form {
                Form::Text if login.since.is_some() => {
                    handshake::with_header(response, RECOVERED, yes_or_no(recovered))
                }
                _ => response,
            };
            Outcome::Upgrade { client, response }
        }
        Err(refusal) => {
            debug!("{} was refused: {}", Peer(&login), refusal.text());
            refuse(head, cx, &login, refusal).into()
        }
    }
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// Tells text clients, which have no frame for it, whether messages since their position are missing.
const RECOVERED: &str = "Relay-Recovered";

/// The answer to a refused login, with an explanation of its signature for those who may read one.
pub(super) fn refuse(head: &Head<'_>, cx: &mut Context<'_>, login: &Login<'_>, refusal: Refusal) -> Reply {
    let reader = gate::reader(head, cx);
    let explanation = cx.hub.state.explain(&login.subject(), &login.signature, refusal, reader);
    refused(401, refusal, explanation.as_ref())
}

/// The answer to a page whose origin is refused.
pub(super) fn origin_refused(head: &Head<'_>) -> Reply {
    let reason = quote(&origin_reason(head.origin));
    let body = format!("{{\"code\":0,\"msg\":\"this origin is not allowed\",\"data\":\"\",\"reason\":{reason}}}");
    Reply::json(403, body.into_bytes())
}

/// The methods of the path of WebSockets.
const METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// Answers the GET or POST of a page whose WebSocket did not open, because browsers hide the answer to a handshake: says why the
/// same request with an upgrade would be refused, or with 426 that it would not. Opens no session and calls no backend.
///
/// A page of an origin that is not listed may read that, but nothing about the login. With `echo=1` it answers with what relay
/// sees of the request instead.
fn check(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    let config = cx.hub.config().clone();
    let fields = head.fields();
    if is_one(fields.get("echo")) {
        return echo::echo(head, cx).with("Cache-Control", "no-store");
    }
    let ip = client_ip(cx.peer, head, &config.trusted_proxies);
    let reply = match websocket_login(head, &fields, ip) {
        _ if refuses_origin(head, cx) => origin_refused(head).with("Access-Control-Allow-Origin", "*"),
        _ if head.query.is_empty() => handshake::Error::NoUpgrade.into(),
        Err(why) => Reply::refusal(400, &why),
        Ok((namespace, login)) => match cx.hub.check_login(namespace, &login, cx.now) {
            Ok(_) => handshake::Error::NoUpgrade.into(),
            Err(refusal) => {
                debug!("{} would be refused: {}", Peer(&login), refusal.text());
                refuse(head, cx, &login, refusal)
            }
        },
    };
    reply.with("Cache-Control", "no-store")
}

/// The namespace and the login in the query of a WebSocket, or what is wrong with them.
fn websocket_login<'a>(
    head: &'a Head<'_>,
    fields: &'a Fields<'_>,
    ip: Option<IpAddr>,
) -> Result<(&'a str, Login<'a>), Cow<'static, str>> {
    let since = fields.find("since").map(Since::parse).transpose().map_err(|error| error.to_string())?;
    // As the time of an hmac signature 1 is too old to be meant.
    let form = match fields.get("format") {
        "" | "json" if since.is_some() || fields.get("ts") == "1" => Form::JsonTime,
        "" | "json" => Form::Json,
        "text" => Form::Text,
        _ => return Err("format is json or text".into()),
    };
    let (namespace, mut login) = login(head, fields, ip, form);
    if form == Form::Text && namespace != "/" {
        return Err("format=text is for the namespace / only".into());
    }
    login.since = since;
    Ok((namespace, login))
}

/// The namespace and the login in the query of a request.
pub(super) fn login<'a>(
    head: &'a Head<'_>,
    fields: &'a Fields<'_>,
    ip: Option<IpAddr>,
    form: Form,
) -> (&'a str, Login<'a>) {
    let namespace = match fields.get("nsp") {
        "" => "/",
        namespace => namespace,
    };
    let terms = Terms { exp: fields.get("exp"), ro: fields.get("ro") };
    let login = Login {
        source: fields.get("source"),
        room_ids: fields.get("room_ids"),
        signature: Signature::of_login(fields.get("sign"), fields.get("sign_type"), fields.get("ts"), terms),
        jwt: gate::login_token(head, fields),
        userid: fields.get("userid"),
        username: fields.get("username"),
        ext_info: fields.get("ext_info"),
        watch_quit: is_one(fields.get("watch_quit")),
        presence: is_one(fields.get("presence")),
        form,
        since: None,
        pid: "",
        offset: "",
        proxied: false,
        ip,
        referer: &head.referer,
        user_agent: &head.user_agent,
    };
    (namespace, login)
}

/// A login in a log line. Names are escaped: clients choose them.
pub(super) struct Peer<'a>(pub &'a Login<'a>);

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
