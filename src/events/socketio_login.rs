//! Logins of Socket.IO clients to namespaces (docs/protocol.md, Logins, and Socket.IO and Engine.IO).

use core::net::IpAddr;

use crate::{
    clock::Now,
    history::Since,
    http::Fields,
    hub::{
        Hub,
        login::{Login, is_one},
    },
    json::{Object, scalar},
    key::ClientKey,
    message::Form,
    names::room_list,
    sign::{Signature, Terms, token},
    state::{Reader, Refusal, Refused, identity::Agent},
};

/// Handles a client's CONNECT to a namespace: admits it, refuses it, or leaves its session pending until the backend
/// decides.
pub(super) fn connect(hub: &mut Hub, key: ClientKey, namespace: &str, query: &str, auth: &str, now: Now) {
    let Some(socket) = hub.state.socket_mut(key) else { return };
    let (revision, base64, proxied) = (socket.engine.revision, socket.engine.base64, socket.engine.proxied);
    let (handshake, agent) = (socket.handshake.clone(), socket.agent.clone());
    let (ip, handshake_query) = handshake.split_once(' ').expect("the handshake was built with a space");
    let ip = ip.parse().ok();
    let Some(namespace_id) = hub.state.find_namespace(namespace) else {
        record_unknown_namespace(hub, key, namespace, ip, &agent);
        hub.state.count_refusal(key);
        return hub.state.refuse(key, revision, namespace, "Invalid namespace");
    };
    let handshake_fields = Fields::parse(handshake_query.as_bytes());
    let connect_fields = Fields::parse(query.as_bytes());
    let auth_fields: Object<'_> = serde_json::from_str(auth).unwrap_or_default();
    // `auth` overrides the query of the CONNECT packet, which overrides the query of the handshake.
    let field = |name: &str| match (auth_fields.get(name), connect_fields.get(name)) {
        (Some(raw), _) => scalar(raw).into_owned(),
        (None, "") => handshake_fields.get(name).to_owned(),
        (None, value) => value.to_owned(),
    };
    let names = ["source", "userid", "username", "ext_info", "watch_quit", "presence"];
    let [source, userid, username, ext_info, watch_quit, presence] = names.map(field);
    let [sign, sign_type, ts, exp, ro, jwt] = ["sign", "sign_type", "ts", "exp", "ro", token::FIELD].map(field);
    let rooms = auth_fields.get("room_ids").map_or_else(|| Ok(field("room_ids")), |raw| room_list(raw));
    let (room_ids, wrong) = rooms.map_or_else(|error| (String::new(), Some(error)), |list| (list, None));
    // A login is not refused because of a wrong one.
    let parse = |text: &str| Since::parse(text).unwrap_or(Since::Unknown);
    let since = match auth_fields.get("since").map(|raw| (raw.get(), scalar(raw))) {
        Some(("null", _)) | None => connect_fields.find("since").or(handshake_fields.find("since")).map(parse),
        // An object or a list.
        Some((raw, text)) if text.is_empty() && raw != "\"\"" => Some(Since::Unknown),
        Some((_, text)) => Some(parse(&text)),
    };
    let own = |name: &str| auth_fields.get(name).map(|raw| scalar(raw).into_owned()).unwrap_or_default();
    let (pid, offset) = (own("pid"), own("offset"));
    let login = Login {
        source: &source,
        room_ids: &room_ids,
        signature: Signature::of_login(&sign, &sign_type, &ts, Terms { exp: &exp, ro: &ro }),
        jwt: &jwt,
        userid: &userid,
        username: &username,
        ext_info: &ext_info,
        watch_quit: is_one(&watch_quit),
        presence: is_one(&presence),
        form: Form::socketio(revision, base64),
        since,
        pid: &pid,
        offset: &offset,
        proxied,
        ip,
        referer: &agent.referer,
        user_agent: &agent.user_agent,
    };
    let admitted = match wrong {
        None => hub.admit_session(key, namespace_id, &login, &[handshake_query, query].join("&"), auth, now),
        Some(error) => {
            let refusal = Refusal::from_name(error, Refusal::RoomsMissing);
            hub.record_refused_login(Some(key), namespace, &login, refusal);
            Err(refusal)
        }
    };
    let session = match admitted {
        Ok(session) => session,
        Err(refusal) => {
            hub.state.count_refusal(key);
            let explanation = hub.state.explain(&login.subject(), &login.signature, refusal, Reader::Stranger);
            let details = refusal.details(explanation.as_ref());
            return hub.state.refuse_with(key, revision, namespace, &refusal.text(), &details);
        }
    };
    if let Some(socket) = hub.state.socket_mut(key) {
        socket.sessions.push((namespace_id, session));
    }
    if !hub.state.is_pending(session) {
        hub.state.confirm_connect(key, session, auth, now);
        hub.begin_session(session);
    }
}

/// Counts a login to a namespace that is not configured, and writes it to `error.log`.
fn record_unknown_namespace(hub: &mut Hub, key: ClientKey, namespace: &str, ip: Option<IpAddr>, agent: &Agent) {
    hub.state.stats.logins_refused += 1;
    let refused = Refused {
        what: "login",
        source: "",
        is_known: false,
        why: "Invalid namespace",
        reason: None,
        ip,
        facts: &[
            ("namespace", namespace),
            ("transport", hub.state.transport_name(Some(key))),
            ("page", &agent.referer),
        ],
    };
    hub.state.log_refusal(&refused);
    hub.log.error("connect", "Invalid namespace", |line| {
        line.nonempty("nsp", namespace);
        if let Some(ip) = ip {
            line.display("ip", ip);
        }
        line.nonempty("referer", &agent.referer);
        line.nonempty("user_agent", &agent.user_agent);
    });
}
