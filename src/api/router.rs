//! The table of paths and methods.

use super::{
    access::cors,
    assets, connect,
    context::Context,
    control, emit, engineio, gate,
    message_log::{self, File},
    notify, online,
    outcome::Outcome,
    snapshot::Snapshot,
    status,
    view::{Kind, View},
};
use crate::http::{Head, Reply, Request};

/// Answers a request.
pub fn route(request: &Request<'_>, cx: &mut Context<'_>) -> Outcome {
    let head = &request.head;
    let path = head.path();
    let path = normal(&path);
    let config = cx.hub.config().clone();
    let is = |known: &str| path == known || path.eq_ignore_ascii_case(known);
    if is("/api/notify") {
        return cors(post(head, || notify::single(request, cx)), head, &config).into();
    }
    if is(normal(&config.websocket.path)) || (path == "/" && head.upgrade) {
        return connect::websocket(head, cx);
    }
    if config.socketio.paths.iter().any(|known| is(normal(known))) {
        return engineio::request(request, cx);
    }
    let reply = match () {
        () if is("/api/notify/batch") => cors(post(head, || notify::batch(request, cx)), head, &config),
        () if is("/healthz") => get(head, || status::healthz(cx)),
        () if is("/demo") && !head.path().ends_with('/') => get(head, || {
            // Its links are relative, for relays behind a proxy's path.
            Reply::new(301, "text/plain", &b""[..]).with("Location", "demo/")
        }),
        () if is("/api/emit") => {
            cors(post(head, || emit::emit(request, cx).unwrap_or_else(|refusal| refusal)), head, &config)
        }
        () if is("/api/refresh") => post(head, || control::refresh(request, cx).unwrap_or_else(|refusal| refusal)),
        () if is("/api/disconnect") => {
            post(head, || control::disconnect(request, cx).unwrap_or_else(|refusal| refusal))
        }
        () if cx.site.client_js.is_some() && config.socketio.paths.iter().any(|known| is_client_js(path, known)) => {
            get(head, || cx.site.client_js.as_ref().map_or_else(not_found, |script| script.reply(head.if_none_match)))
        }
        () if let Some(page) = Operators::find(path) => match head.method {
            "GET" | "HEAD" => match gate::gate(head, "", cx) {
                Ok(()) => return page.answer(head, cx),
                Err(refusal) => refusal,
            },
            _ => get(head, not_found),
        },
        () => match assets::find(path) {
            Some(asset) => get(head, || asset.reply(head.if_none_match)),
            None => not_found(),
        },
    };
    reply.into()
}

/// What only operators see, by its path.
#[derive(Clone, Copy)]
enum Operators {
    Look(fn(&Head<'_>, &Context<'_>) -> Reply),
    View(Kind),
    Control(fn(&Head<'_>, &mut Context<'_>) -> Reply),
    LogHtml(File),
    LogJson(File),
}

impl Operators {
    fn find(path: &str) -> Option<Operators> {
        OPERATORS.iter().find(|(known, _)| path.eq_ignore_ascii_case(known)).map(|(_, page)| *page)
    }

    fn answer(self, head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
        match self {
            Operators::Look(page) => page(head, cx).into(),
            Operators::View(kind) => {
                let view = View::new(kind, head, cx.hub);
                if view.must_wait(cx.hub, cx.now) {
                    return Outcome::Count(view);
                }
                let snapshot = Snapshot { hub: cx.hub, site: cx.site, now: cx.now, connections: cx.connections };
                view.render(&snapshot).into()
            }
            Operators::Control(page) => page(head, cx).into(),
            Operators::LogHtml(file) => message_log::html(head, file, cx),
            Operators::LogJson(file) => message_log::json(head, file, cx),
        }
    }
}

const OPERATORS: &[(&str, Operators)] = &[
    ("/api/stats", Operators::View(Kind::Stats)),
    ("/metrics", Operators::Look(|_, cx| status::metrics(cx))),
    ("/api/online", Operators::View(Kind::Online)),
    ("/api/users", Operators::View(Kind::Users)),
    ("/api/today", Operators::View(Kind::Today)),
    ("/api/rooms", Operators::Look(online::rooms)),
    ("/api/log/client", Operators::LogJson(File::Of("client.log"))),
    ("/api/log/sys", Operators::LogJson(File::Of("sys.log"))),
    ("/api/log/error", Operators::LogJson(File::Of("error.log"))),
    ("/api/log/messages", Operators::LogJson(File::Messages)),
    ("/online", Operators::View(Kind::OnlinePage)),
    ("/today", Operators::View(Kind::TodayPage)),
    ("/read_connections", Operators::View(Kind::ConnectionsPage)),
    ("/readmsglocation", Operators::View(Kind::MessagesPage)),
    ("/sessionlocation", Operators::View(Kind::SessionsPage)),
    ("/readmsg", Operators::LogHtml(File::Messages)),
    ("/clientlog", Operators::LogHtml(File::Of("client.log"))),
    ("/readsysmsg", Operators::LogHtml(File::Of("sys.log"))),
    ("/errorlog", Operators::LogHtml(File::Of("error.log"))),
    ("/refreshpage", Operators::Control(control::refresh_page)),
];

fn not_found() -> Reply {
    Reply::refusal(404, "not found")
}

/// Whether that is the client bundle beside a path of Socket.IO.
fn is_client_js(path: &str, known: &str) -> bool {
    path.strip_prefix(normal(known)).is_some_and(|rest| rest == "/socket.io.js")
}

/// The path that paths are compared with: one slash at the end does not matter, nor does the case.
fn normal(path: &str) -> &str {
    match path.strip_suffix('/') {
        None | Some("") => path,
        Some(rest) => rest,
    }
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
        "OPTIONS" => Reply::new(204, "", &b""[..])
            .with("Allow", "POST, OPTIONS")
            .with("Access-Control-Allow-Methods", "POST")
            .with("Access-Control-Allow-Headers", "Content-Type")
            .with("Access-Control-Max-Age", "86400"),
        _ => Reply::refusal(405, "this is called with POST").with("Allow", "POST, OPTIONS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!((normal("/a/"), normal("/"), normal("/a"), normal("")), ("/a", "/", "/a", ""));
    }
}
