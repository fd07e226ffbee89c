//! What relay answers over HTTP: the table of routes, methods, CORS, and the gate before what only operators may see.

pub mod admin;
pub mod assets;
pub mod connect;
pub mod control;
pub mod emit;
pub mod engineio;
pub mod html;
pub mod message_log;
pub mod notify;
pub mod online;
pub mod view;

use core::net::IpAddr;

use self::{
    message_log::File,
    view::{Kind, Look, View},
};

use crate::{
    clock::Now,
    config::{Config, Network},
    http::{Head, Reply, Request},
    hub::Hub,
    key::{ClientKey, ConnKey},
};

/// What a route may know and change.
pub struct Context<'a> {
    /// The meaning.
    pub hub: &'a mut Hub,
    /// What does not change while relay runs.
    pub site: &'a Site,
    /// Wrong admin tokens.
    pub guesses: &'a mut admin::Guesses,
    /// The connection the request came on.
    pub conn: ConnKey,
    /// The address of who is at its other end; none for a Unix socket.
    pub peer: Option<IpAddr>,
    /// The clocks.
    pub now: Now,
    /// How many connections there are.
    pub connections: usize,
    /// How many there may be, and how many clients.
    pub places: usize,
    /// Whether relay is taking its leave.
    pub stopping: bool,
}

/// What does not change while relay runs.
pub struct Site {
    /// What operators show.
    pub admin_token: String,
    /// This machine's address, as the old pages name it.
    pub server_ip: String,
    /// The client bundle that is served beside Socket.IO.
    pub client_js: Option<assets::Asset>,
}

/// What becomes of a request.
pub enum Outcome {
    /// It is answered.
    Reply(Reply),
    /// The connection is a WebSocket from here on, once `response` is out.
    Upgrade {
        /// Who was let in.
        client: ClientKey,
        /// The bytes of the 101.
        response: Vec<u8>,
    },
    /// The same, if the backend lets it in: until then it waits.
    Ask {
        /// Who wants in.
        client: ClientKey,
        /// The bytes of the 101.
        response: Vec<u8>,
    },
    /// It waits for what Redis knows of siblings.
    Count(View),
    /// It waits for a page of the message log.
    Read(message_log::Page),
    /// It is a poll that waits for packets.
    Parked {
        /// For whom.
        client: ClientKey,
        /// The page that may read the answer; nothing if no page asked.
        origin: Box<str>,
    },
    /// The connection is a WebSocket that tries to take over from polling, once `response` is out.
    Probe {
        /// From whose.
        client: ClientKey,
        /// The bytes of the 101.
        response: Vec<u8>,
    },
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Outcome {
        Outcome::Reply(reply)
    }
}

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
        () if is("/healthz") => get(head, || admin::healthz(cx)),
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
            "GET" | "HEAD" => match admin::gate(head, "", cx) {
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
                let look = Look { hub: cx.hub, site: cx.site, now: cx.now, connections: cx.connections };
                view.render(&look).into()
            }
            Operators::Control(page) => page(head, cx).into(),
            Operators::LogHtml(file) => message_log::html(head, file, cx),
            Operators::LogJson(file) => message_log::json(head, file, cx),
        }
    }
}

const OPERATORS: &[(&str, Operators)] = &[
    ("/api/stats", Operators::View(Kind::Stats)),
    ("/metrics", Operators::Look(|_, cx| admin::metrics(cx))),
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

/// Says which pages may read the answer (Fetch standard, CORS protocol).
fn cors(reply: Reply, head: &Head<'_>, config: &Config) -> Reply {
    const ALLOW: &str = "Access-Control-Allow-Origin";
    if config.origins.iter().any(|origin| origin == "*") {
        return reply.with(ALLOW, "*");
    }
    let reply = reply.with("Vary", "Origin");
    match !head.origin.is_empty() && origin_allowed(head.origin, config) {
        true => reply.with(ALLOW, head.origin.to_owned()),
        false => reply,
    }
}

/// Whether a page of that origin may call. What sends no Origin is no page.
fn origin_allowed(origin: &str, config: &Config) -> bool {
    let listed = |known: &String| known == "*" || known.eq_ignore_ascii_case(origin);
    origin.is_empty() || config.origins.iter().any(listed)
}

/// Who is really at the other end: the last address of `X-Forwarded-For` that no trusted proxy wrote down for another.
fn client_ip(peer: Option<IpAddr>, head: &Head<'_>, trusted: &[Network]) -> Option<IpAddr> {
    let mut client = peer;
    for hop in head.forwarded_for.rsplit(',') {
        if !trusted.iter().any(|network| network.contains(client)) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(ip) => client = Some(ip.to_canonical()),
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded() {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        let trusted = ["10.0.0.0/8", "unix"].map(|network| Network::parse(network).unwrap());
        let client = |peer: &str, forwarded: &'static str| {
            let head = Head { forwarded_for: forwarded.into(), ..Head::default() };
            client_ip(ip(peer), &head, &trusted)
        };
        assert_eq!(client("10.0.0.1", "1.1.1.1, 2.2.2.2"), ip("2.2.2.2"));
        assert_eq!(client("10.0.0.1", "1.1.1.1, 10.3.3.3"), ip("1.1.1.1"));
        assert_eq!(client("9.9.9.9", "1.1.1.1"), ip("9.9.9.9"), "who is not trusted can say what it likes");
        assert_eq!(client("unix", "1.1.1.1"), ip("1.1.1.1"));
        assert_eq!(client("10.0.0.1", "1.1.1.1, evil"), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", ""), ip("10.0.0.1"));
    }

    #[test]
    fn paths() {
        assert_eq!((normal("/a/"), normal("/"), normal("/a"), normal("")), ("/a", "/", "/a", ""));
    }
}
