//! Routing: chooses an endpoint by path and method (docs/protocol.md, Paths).

use super::{
    access::{client_ip, refuses_origin},
    assets, connect,
    context::Context,
    control,
    cors::without_credentials as cors,
    emit, engineio, front, gate, history, live,
    message_log::{self, File},
    metrics,
    notify::{self, Notified},
    online,
    outcome::Outcome,
    path::normal,
    presence, sessions,
    snapshot::Snapshot,
    status, stream, trace,
    view::{Kind, View},
    why,
};
use crate::{
    config::Config,
    http::{Head, Reply, Request},
    hub::Hub,
    limits::MAX_BEFORE_LOGIN,
    trace::Quoted,
};

/// Handles a request.
pub fn route(request: &Request<'_>, cx: &mut Context<'_>) -> Outcome {
    if !cx.hub.state.traces.is_on() {
        return answer(request, cx);
    }
    let head = &request.head;
    let ip = client_ip(cx.peer, head, &cx.hub.config().trusted_proxies);
    let outcome = answer(request, cx);
    let (method, path) = (Quoted(head.method), head.path());
    // Without the query, which can have a token.
    let path = Quoted(&path);
    match &outcome {
        Outcome::Reply(reply) => {
            cx.hub.state.trace_address(ip, format_args!("request {method} {path}: status {}", reply.status));
        }
        Outcome::Upgrade { .. } | Outcome::Probe { .. } | Outcome::Last(_) => {
            cx.hub.state.trace_address(ip, format_args!("request {method} {path}: accepted"));
        }
        _ => cx.hub.state.trace_address(ip, format_args!("request {method} {path}: is answered later")),
    }
    outcome
}

fn answer(request: &Request<'_>, cx: &mut Context<'_>) -> Outcome {
    let head = &request.head;
    let path = head.path();
    let path = normal(&path);
    let config = cx.hub.config().clone();
    let is = |known: &str| path == known || path.eq_ignore_ascii_case(known);
    if cx.metrics_only {
        return get(head, || match () {
            () if is("/metrics") => metrics::metrics(head, cx),
            () if is("/healthz") => status::healthz(head, cx),
            () if is("/readyz") => status::readyz(cx),
            () => not_found(),
        })
        .into();
    }
    // The browser of such a page asks before it sends this header, and gets no permission: with it the page is relay's own, which
    // need not be listed.
    let is_own_page = !head.authorization.is_empty();
    if !head.origin.is_empty() && !is_own_page && ["/api/notify", "/api/notify/batch", "/api/emit"].into_iter().any(is)
    {
        // The request is answered, but a page of another origin cannot read the answer.
        refuses_origin(head, cx);
    }
    if is("/api/notify") {
        return notified(head, &config, || notify::single(request, cx));
    }
    if stream::is_stream(head, &config) {
        return stream::stream(head, cx);
    }
    if is(normal(&config.websocket.path)) || (path == "/" && head.upgrade) {
        // Browsers hide the answer to a handshake from the page, which can still find the cause with fetch.
        return match connect::websocket(head, cx) {
            Outcome::Reply(reply) => cors(reply, head, &config).into(),
            other => other,
        };
    }
    if config.socketio.paths.iter().any(|known| is(normal(known))) {
        return engineio::request(request, cx);
    }
    if is("/api/notify/batch") {
        return notified(head, &config, || notify::batch(request, cx));
    }
    if is("/api/reload") && head.method == "POST" {
        return control::reload(request, cx);
    }
    let reply = match () {
        () if path == "/" => get(head, || front::front(head, cx)),
        () if is("/healthz") => get(head, || status::healthz(head, cx)),
        () if is("/readyz") => get(head, || status::readyz(cx)),
        () if (is("/demo") || is("/console")) && !head.path().ends_with('/') => get(head, || {
            // Links of the pages are relative, so that relay works under a path of a proxy.
            let to = if is("/demo") { "demo/" } else { "console/" };
            Reply::new(301, "text/plain", &b""[..]).with("Location", to)
        }),
        () if is("/api/emit") => {
            cors(post(head, || emit::emit(request, cx).unwrap_or_else(|refusal| refusal)), head, &config)
        }
        () if is("/api/history") => cors(get(head, || history::history(head, cx)), head, &config),
        () if is("/api/presence") => cors(get(head, || presence::presence(head, cx)), head, &config),
        () if is("/api/refresh") => {
            fresh(post(head, || control::refresh(request, cx).unwrap_or_else(|refusal| refusal)))
        }
        () if is("/api/disconnect") => {
            fresh(post(head, || control::disconnect(request, cx).unwrap_or_else(|refusal| refusal)))
        }
        () if is("/api/reload") => fresh(post(head, not_found)),
        () if is("/api/trace") && !matches!(head.method, "GET" | "HEAD") => fresh(match head.method {
            "POST" => trace::change(request, cx).unwrap_or_else(|refusal| refusal),
            "OPTIONS" => Reply::new(204, "", &b""[..]).with("Allow", GET_AND_POST),
            _ => Reply::refusal(405, "this is called with POST").with("Allow", GET_AND_POST),
        }),
        () if cx.site.client_js.is_some() && config.socketio.paths.iter().any(|known| is_client_js(path, known)) => {
            get(head, || cx.site.client_js.as_ref().map_or_else(not_found, |script| script.reply(head.if_none_match)))
        }
        () => match (OperatorRoute::find(path), assets::find(path)) {
            (Some(route), _) if matches!(head.method, "GET" | "HEAD") => match gate::gate(head, "", cx) {
                Ok(()) => return route.answer(head, cx),
                Err(refusal) => refusal,
            },
            (Some(_), _) => get(head, not_found),
            (None, Some(asset)) => get(head, || asset.reply(head.if_none_match)),
            (None, None) => cors(not_found(), head, &config),
        },
    };
    reply.into()
}

/// Answers a request with notifications, at once or when their receipts are done.
fn notified(head: &Head<'_>, config: &Config, answer: impl FnOnce() -> Result<Notified, Reply>) -> Outcome {
    let reply = match head.method {
        "POST" => match answer() {
            Ok(Notified::Later(answer)) => return Outcome::AwaitReceipts { answer, origin: head.origin.into() },
            Ok(Notified::Now(reply)) | Err(reply) => reply,
        },
        _ => post(head, not_found),
    };
    cors(reply, head, config).into()
}

/// Bytes that the body of a request may have while it is incomplete. Only requests that bring a signature, and clients that
/// have logged in, may use the memory for a large one.
pub fn max_body(head: &Head<'_>, hub: &Hub) -> u64 {
    let (path, config) = (head.path(), hub.config());
    let path = normal(&path);
    let is = |known: &str| path.eq_ignore_ascii_case(known);
    if is("/api/notify") || is("/api/notify/batch") || is("/api/emit") {
        return config.limits.body;
    }
    let socketio = config.socketio.paths.iter().any(|known| is(normal(known)));
    let client = if socketio { hub.state.find_engine(head.fields().get("sid")) } else { None };
    match client.is_some_and(|client| hub.state.has_session(client)) {
        true => config.limits.body,
        false => MAX_BEFORE_LOGIN,
    }
}

/// A GET endpoint that needs the admin token.
#[derive(Clone, Copy)]
enum OperatorRoute {
    /// Reads the state of this relay.
    Read(fn(&Head<'_>, &Context<'_>) -> Reply),
    /// Shows a list that includes other relays. May wait for Redis.
    View(Kind),
    /// Begins a stream, or looks at connections.
    Open(fn(&Head<'_>, &mut Context<'_>) -> Outcome),
    /// Executes a command.
    Control(fn(&Head<'_>, &mut Context<'_>) -> Reply),
    /// Shows a file of the message log as HTML.
    LogHtml(File),
    /// Shows a file of the message log as JSON.
    LogJson(File),
}

impl OperatorRoute {
    fn find(path: &str) -> Option<OperatorRoute> {
        OPERATOR_ROUTES.iter().find(|(known, _)| path.eq_ignore_ascii_case(known)).map(|(_, route)| *route)
    }

    fn answer(self, head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
        match self {
            OperatorRoute::Read(page) => page(head, cx).into(),
            OperatorRoute::View(kind) => {
                let view = View::new(kind, head, cx.hub);
                if view.must_wait(cx.hub, cx.now) {
                    return Outcome::AwaitLookup(view);
                }
                let snapshot = Snapshot { hub: cx.hub, site: cx.site, now: cx.now, connections: cx.connections };
                view.render(&snapshot).into()
            }
            OperatorRoute::Open(open) => open(head, cx),
            OperatorRoute::Control(page) => page(head, cx).into(),
            OperatorRoute::LogHtml(file) => message_log::html(head, file, cx),
            OperatorRoute::LogJson(file) => message_log::json(head, file, cx),
        }
    }
}

const OPERATOR_ROUTES: &[(&str, OperatorRoute)] = &[
    ("/api/stats", OperatorRoute::View(Kind::Stats)),
    ("/metrics", OperatorRoute::Read(metrics::metrics)),
    ("/api/online", OperatorRoute::View(Kind::Online)),
    ("/api/users", OperatorRoute::View(Kind::Users)),
    ("/api/today", OperatorRoute::View(Kind::Today)),
    ("/api/why", OperatorRoute::Open(why::why)),
    ("/api/trace", OperatorRoute::Read(trace::list)),
    ("/api/rooms", OperatorRoute::Read(online::rooms)),
    ("/api/sessions", OperatorRoute::Read(sessions::sessions)),
    ("/api/session", OperatorRoute::Open(sessions::session)),
    ("/api/generations", OperatorRoute::Read(sessions::generations)),
    ("/api/live", OperatorRoute::Open(live::live)),
    ("/api/log/client", OperatorRoute::LogJson(File::Of("client.log"))),
    ("/api/log/sys", OperatorRoute::LogJson(File::Of("sys.log"))),
    ("/api/log/error", OperatorRoute::LogJson(File::Of("error.log"))),
    ("/api/log/messages", OperatorRoute::LogJson(File::Messages)),
    ("/online", OperatorRoute::View(Kind::OnlinePage)),
    ("/today", OperatorRoute::View(Kind::TodayPage)),
    ("/read_connections", OperatorRoute::View(Kind::ConnectionsPage)),
    ("/readmsglocation", OperatorRoute::View(Kind::MessagesPage)),
    ("/sessionlocation", OperatorRoute::View(Kind::SessionsPage)),
    ("/readmsg", OperatorRoute::LogHtml(File::Messages)),
    ("/clientlog", OperatorRoute::LogHtml(File::Of("client.log"))),
    ("/readsysmsg", OperatorRoute::LogHtml(File::Of("sys.log"))),
    ("/errorlog", OperatorRoute::LogHtml(File::Of("error.log"))),
    ("/refreshpage", OperatorRoute::Control(control::refresh_page)),
];

const GET_AND_POST: &str = "GET, HEAD, POST, OPTIONS";

/// An answer to an operator, which nobody may keep.
fn fresh(reply: Reply) -> Reply {
    match reply.headers.iter().any(|(name, _)| *name == "Cache-Control") {
        true => reply,
        false => reply.with("Cache-Control", "no-store"),
    }
}

fn not_found() -> Reply {
    Reply::refusal(404, "not found")
}

/// Whether this is the path of `socketio.client_js`: `socket.io.js` below a path of Socket.IO.
fn is_client_js(path: &str, known: &str) -> bool {
    path.strip_prefix(normal(known)).is_some_and(|rest| rest == "/socket.io.js")
}

fn get(head: &Head<'_>, answer: impl FnOnce() -> Reply) -> Reply {
    match head.method {
        "GET" | "HEAD" => answer(),
        "OPTIONS" => Reply::new(204, "", &b""[..]).with("Allow", "GET, HEAD, OPTIONS"),
        _ => Reply::refusal(405, "this is read with GET").with("Allow", "GET, HEAD, OPTIONS"),
    }
}

fn post(head: &Head<'_>, answer: impl FnOnce() -> Reply) -> Reply {
    match head.method {
        "POST" => answer(),
        "OPTIONS" => Reply::new(204, "", &b""[..]).with("Allow", "POST, OPTIONS"),
        _ => Reply::refusal(405, "this is called with POST").with("Allow", "POST, OPTIONS"),
    }
}
