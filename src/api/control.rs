//! Operators' commands: reload pages and end sessions (docs/protocol.md, POST /api/refresh, and POST /api/disconnect).

use log::info;

use super::{
    access::client_ip,
    body::{Body, body, text_or_number},
    context::Context,
    gate::gate,
    html::{escape, page},
    outcome::Outcome,
};
use crate::{
    cluster::RefreshTarget as Target,
    http::{Fields, Framing, Head, Reply, Request},
    journal::{More, Reason, What},
    json::Object,
    key::SessionKey,
    state::TenantId,
    text::Count,
    trace::Quoted,
    websocket::Close,
};

/// `POST /api/refresh`: sends `refreshPage` to a room (`source` and `room_id`), a source, a session (`socket_id`), or with
/// `all=1` to all sessions.
pub fn refresh(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let params = Params::read(request, cx, &["source", "room_id", "room", "socket_id", "all"])?;
    let source = params.source(cx)?;
    let room = match (params.get("room_id"), params.get("room")) {
        (Some(_), Some(_)) => return Err(Reply::refusal(400, "give room_id or room, not both")),
        (room_id, room) => room_id.or(room),
    };
    let target = match (source, room, params.get("socket_id"), params.get("all")) {
        (None, None, None, Some("1" | "true")) => Target::All,
        (source, None, Some(socket_id), None) => Target::Session(source, socket_id.into()),
        (Some(source), None, None, None) => Target::Source(source),
        (Some(source), Some(room), None, None) => Target::Room(source, room.into()),
        (None, Some(_), None, None) => return Err(Reply::refusal(400, "source can not be null!")),
        _ => return Err(Reply::refusal(400, "give source and room_id, source alone, socket_id, or all=1")),
    };
    let to = params.shown(cx);
    let sessions = cx.hub.refresh(&target);
    log_command("POST /api/refresh", &to, sessions, request, cx);
    Ok(done(sessions))
}

/// Logs what an operator or a backend has done to sessions.
fn log_command(command: &str, to: &str, sessions: usize, request: &Request<'_>, cx: &Context<'_>) {
    let ip = client_ip(cx.peer, &request.head, &cx.hub.config().trusted_proxies);
    let from = ip.map_or_else(|| "a unix socket".to_owned(), |ip| ip.to_string());
    info!("{command} from {from}: {to}: {}", Count(sessions as u64, "session"));
}

/// The value of a parameter, as the log may have it. The `socket_id` of a 1.x or 2.x client has the id of its Engine.IO session,
/// with which anybody could take the session over.
fn shown(name: &str, value: &str, cx: &Context<'_>) -> String {
    let state = &cx.hub.state;
    match name {
        "socket_id" => match state.find_session(value) {
            Some(key) => state.sids.socket(state.name_of(key)),
            None => "of no session here".into(),
        },
        _ => Quoted(value).to_string(),
    }
}

/// `POST /api/disconnect`: ends the sessions of a user (`userid`, in one `source` or in all), or one session
/// (`socket_id`). Sessions that are not found here may be on other relays, so the command is published.
pub fn disconnect(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let params = Params::read(request, cx, &["source", "userid", "socket_id"])?;
    let source = params.source(cx)?;
    let sessions: Vec<SessionKey> = match (params.get("userid"), params.get("socket_id")) {
        (None, Some(socket_id)) => params.session(socket_id, source, cx).into_iter().collect(),
        (Some(userid), None) => cx.hub.state.sessions_of_user(source, userid),
        (None, None) => return Err(Reply::refusal(400, "userid or socket_id can not be null!")),
        (Some(_), Some(_)) => {
            return Err(Reply::refusal(400, "give userid or socket_id, not both"));
        }
    };
    let found =
        !sessions.is_empty() || params.get("socket_id").is_some_and(|name| cx.hub.state.find_session(name).is_some());
    if !found || params.get("userid").is_some() {
        cx.hub.cluster.publish_disconnect(&mut cx.hub.state, source, params.get("userid"), params.get("socket_id"));
    }
    let to = params.shown(cx);
    for session in &sessions {
        let by = More { reason: BY_OPERATOR, ..More::default() };
        cx.hub.state.write_journal(*session, What::SentAway, by);
        cx.hub.expel(*session, Close::OPERATOR, cx.now);
    }
    cx.hub.expel_away(source, params.get("userid"), params.get("socket_id"));
    log_command("POST /api/disconnect", &to, sessions.len(), request, cx);
    Ok(done(sessions.len()))
}

/// `GET /refreshpage`: node-socket-im's page (docs/protocol.md, Old pages). `room` is the source directly followed by
/// the room id, or a session's id; with `source` it is a room id. Without either, all sessions get `refreshPage`.
pub fn refresh_page(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    let fields = head.fields();
    let room = fields.all("room").next();
    // `source=` together with a room counts as absent. Alone it is an unknown source, so that it refreshes no session
    // instead of all.
    let source = fields.all("source").next().filter(|source| !source.is_empty() || room.is_none());
    let tenant = source.and_then(|source| cx.hub.state.known_tenant(source));
    let target = match (source, tenant, room) {
        (None, _, None) => Some(Target::All),
        (None, _, Some(room)) => Some(Target::Prefixed(room.into())),
        (Some(_), Some(tenant), None) => Some(Target::Source(tenant)),
        (Some(_), Some(tenant), Some(room)) => Some(Target::Room(tenant, room.into())),
        (Some(_), None, _) => None,
    };
    if let Some(target) = target {
        cx.hub.refresh(&target);
    }
    page("refreshPage", format!("refreshPage:{}", escape(room.unwrap_or("undefined"))))
}

/// `POST /api/reload`: reads the configuration again, and answers with what has changed.
pub fn reload(request: &Request<'_>, cx: &mut Context<'_>) -> Outcome {
    match Params::read(request, cx, &[]) {
        Ok(_) if cx.stopping => Reply::refusal(503, STOPPING).into(),
        Ok(_) => Outcome::AwaitReload,
        Err(refusal) => refusal.with("Cache-Control", "no-store").into(),
    }
}

/// The reason of a refusal during the shutdown.
pub const STOPPING: &str = "relay is stopping, come back";

fn done(sessions: usize) -> Reply {
    let body = format!("{{\"code\":1,\"msg\":\"\",\"data\":{{\"sessions\":{sessions}}}}}");
    Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store")
}

/// The parameters of a command: the fields of the query, and of a body that is a form or JSON. Unknown, repeated and
/// empty fields are refused: if one were ignored, the command could reach more sessions than intended.
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads the parameters and checks the admin token, which may be one of them.
    pub fn read(request: &Request<'_>, cx: &mut Context<'_>, known: &[&str]) -> Result<Params, Reply> {
        let mut params = Params { pairs: owned(&request.head.fields()) };
        let empty = request.head.framing == Framing::Absent || request.body.is_empty();
        let read = if empty { Ok(()) } else { params.read_body(request) };
        // The token is checked first: only operators learn what is wrong with the body.
        gate(&request.head, params.get("token").unwrap_or_default(), cx)?;
        read?;
        for (index, (name, value)) in params.pairs.iter().enumerate().filter(|(_, (name, _))| name != "token") {
            let wrong = match () {
                () if !known.contains(&&**name) => format!("unknown field {name:?}"),
                () if value.is_empty() => format!("{name} is empty"),
                () if params.pairs[..index].iter().any(|(before, _)| before == name) => {
                    format!("{name} is given twice")
                }
                () => continue,
            };
            return Err(Reply::refusal(400, &wrong));
        }
        Ok(params)
    }

    fn read_body(&mut self, request: &Request<'_>) -> Result<(), Reply> {
        match body(request)? {
            Body::Form(form) => self.pairs.extend(owned(&form.fields())),
            Body::Json(text) => {
                let wrong = |_| Reply::refusal(400, "the body must be a JSON object of strings and numbers");
                let fields: Object<'_> = serde_json::from_str(text).map_err(wrong)?;
                for (name, value) in fields.iter() {
                    let value = match value.get() {
                        "true" => "true".into(),
                        _ => text_or_number(value)?,
                    };
                    self.pairs.push((name.clone().into_owned(), value.into_owned()));
                }
            }
        }
        Ok(())
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The parameters as the log may have them.
    fn shown(&self, cx: &Context<'_>) -> String {
        let pairs = self.pairs.iter().filter(|(name, _)| name != "token");
        let words: Vec<_> = pairs.map(|(name, value)| format!("{name} {}", shown(name, value, cx))).collect();
        words.join(", ")
    }

    fn source(&self, cx: &Context<'_>) -> Result<Option<TenantId>, Reply> {
        let Some(source) = self.get("source") else { return Ok(None) };
        let unknown = || Reply::refusal(404, "this source can not be configured!");
        cx.hub.state.known_tenant(source).map(Some).ok_or_else(unknown)
    }

    /// The session with this id, if it belongs to `source` or no source is given.
    fn session(&self, socket_id: &str, source: Option<TenantId>, cx: &Context<'_>) -> Option<SessionKey> {
        let found = cx.hub.state.find_session(socket_id)?;
        (source.is_none() || cx.hub.state.tenant_of(found) == source).then_some(found)
    }
}

fn owned(fields: &Fields<'_>) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

const BY_OPERATOR: Reason<'static> =
    Reason::fixed("an operator, with POST /api/disconnect", "管理员，通过 POST /api/disconnect");
