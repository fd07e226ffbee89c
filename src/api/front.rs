//! The front page: what relay is, that it runs, and where to go (docs/protocol.md, Front page).

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use form_urlencoded::byte_serialize;
use sha2::{Digest, Sha256};

use super::{
    context::Context,
    gate::{gate, has_token},
    html::{attribute, guarded},
};
use crate::{
    config::{Config, DEMO_KEYS, Source},
    http::{Head, Reply},
};

/// `GET /`. Programs get the greeting of node-socket-im, browsers a page. With the admin token the page has the operators'
/// endpoints.
pub fn front(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    if !accepts_html(head.accept) {
        return Reply::new(200, HTML, GREETING.as_bytes()).with("Vary", "Accept");
    }
    let texts = match head.fields().get("lang") {
        "zh" => &CHINESE,
        "en" => &ENGLISH,
        _ if prefers_chinese(head.accept_language) => &CHINESE,
        _ => &ENGLISH,
    };
    let checked = if has_token(head) { Some(gate(head, "", cx)) } else { None };
    let (refusal, operator) = match checked {
        None => (None, texts.form.to_owned()),
        Some(Ok(())) => (None, endpoints(texts, head, cx)),
        Some(Err(refusal)) => {
            let why = if refusal.status == 429 { texts.locked } else { texts.wrong };
            (Some(refusal), format!("<p role=\"alert\">{why}</p>\n{}", texts.form))
        }
    };
    let config = cx.hub.config();
    let demo = if has_demo(config) { format!("\n<li>{}</li>", texts.demo) } else { String::new() };
    let paths: Vec<String> = config.socketio.paths.iter().map(|path| attribute(path)).collect();
    let page = fill(
        texts.page,
        &[
            ("style", STYLE),
            ("greeting", GREETING),
            ("demo", &demo),
            ("ws", &attribute(&config.websocket.path)),
            ("socketio", &paths.join("</code>, <code>")),
            ("operator", &operator),
        ],
    );
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
        BASE64.encode(Sha256::digest(STYLE))
    );
    let status = refusal.as_ref().map_or(200, |refusal| refusal.status);
    let mut reply =
        guarded(Reply::new(status, HTML, page.into_bytes()), policy).with("Vary", "Accept, Accept-Language");
    let headers = refusal.map(|refusal| refusal.headers).unwrap_or_default();
    reply.headers.extend(headers.into_iter().filter(|(name, _)| *name == "Retry-After"));
    reply
}

/// The endpoints for operators, as links with the token.
fn endpoints(texts: &Texts, head: &Head<'_>, cx: &Context<'_>) -> String {
    let (hub, fields) = (&cx.hub, head.fields());
    let (minutes, node) = (cx.now.time.micros() / 60_000_000, hub.cluster.node());
    let cluster = if hub.cluster.is_on() { format!(" · {node}") } else { String::new() };
    let facts = [
        format!("relay {}{cluster}", env!("CARGO_PKG_VERSION")),
        format!("{} h {} min", minutes / 60, minutes % 60),
        format!("{} {}", cx.connections, texts.connections),
        format!("{} {}", hub.state.session_count(), texts.sessions),
        format!("{} {}", hub.state.room_count(), texts.rooms),
    ];
    // A token in the header is not in the address, so links have none.
    let token = fields.get("token");
    let token: String = if token.is_empty() { String::new() } else { format!("token={}", encoded(token)) };
    let link = |path: &str, query: &str| {
        let query = [query, &token].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&amp;");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        format!("<a href=\"{path}{query}\"><code>{path}</code></a>")
    };
    let mut list = format!("<p>{}</p>\n<dl>", facts.join(" · "));
    let rows = if hub.log.is_on() { texts.endpoints.len() } else { texts.endpoints.len() - 1 };
    for (paths, what) in &texts.endpoints[..rows] {
        let links: Vec<String> = paths.iter().map(|path| link(path, "")).collect();
        list += &format!("\n<dt>{}</dt><dd>{what}</dd>", links.join(" · "));
    }
    let names = hub.config().source_names();
    for name in names.iter().take(MAX_SOURCES) {
        let query = format!("source={}", encoded(name));
        let links: Vec<String> = OF_SOURCE.iter().map(|path| link(path, &query)).collect();
        list += &format!("\n<dt>{}</dt><dd>{} <code>{}</code></dd>", links.join(" · "), texts.source, attribute(name));
    }
    if names.len() > MAX_SOURCES {
        list += &format!("\n<dd>… {}</dd>", names.len() - MAX_SOURCES);
    }
    list + "\n<dt><code>POST /api/refresh</code> · <code>POST /api/disconnect</code></dt><dd>"
        + texts.commands
        + "</dd>\n</dl>"
}

/// Whether the demo pages work: they sign with the public key of the source `demo`.
fn has_demo(config: &Config) -> bool {
    config.sources.get(DEMO_KEYS[0].0).is_some_and(Source::has_demo_key)
}

/// Whether a client lists HTML in `Accept` (RFC 9110 section 12.5.1). Browsers do, programs accept anything.
fn accepts_html(accept: &str) -> bool {
    let media_type = |range: &str| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    accept.split(',').any(|range| matches!(&*media_type(range), "text/html" | "application/xhtml+xml"))
}

/// Whether the first language in `Accept-Language` is Chinese.
fn prefers_chinese(languages: &str) -> bool {
    let first = languages.split([',', ';']).next().unwrap_or_default().trim();
    first.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("zh"))
}

/// Replaces each `{name}`. Inserted text is not searched again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + STYLE.len() + 1024);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out += before;
        let found = after
            .split_once('}')
            .and_then(|(name, rest)| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (value, rest)));
        match found {
            Some((value, behind)) => {
                out += value;
                rest = behind;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// The texts of the page in a language.
struct Texts {
    page: &'static str,
    demo: &'static str,
    form: &'static str,
    wrong: &'static str,
    locked: &'static str,
    connections: &'static str,
    sessions: &'static str,
    rooms: &'static str,
    source: &'static str,
    commands: &'static str,
    endpoints: [(&'static [&'static str], &'static str); 4],
}

const ENGLISH: Texts = Texts {
    page: include_str!("../www/index.html"),
    demo: "<a href=\"demo/\">Demo pages</a>: chat, notifications, remote debugging",
    form: "<form method=\"get\"><label for=\"token\">Admin token, to see the operators' endpoints (it becomes part of the \
           address)</label> <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required> \
           <button>Show</button></form>\n<p>The token is <code>admin.token</code> of the configuration, or else in \
           <code>/run/relay/admin.token</code> or in relay's log.</p>",
    wrong: "The admin token is wrong.",
    locked: "Too many wrong admin tokens: wait, then try again.",
    connections: "connections",
    sessions: "sessions",
    rooms: "rooms",
    source: "source",
    commands: "reload pages, end sessions",
    endpoints: [
        (&["healthz"], "parts that fail, with reasons"),
        (&["api/stats", "metrics"], "numbers and counters as JSON, and for Prometheus"),
        (&["read_connections", "readmsglocation", "sessionlocation"], "connections, messages and sessions by node"),
        (
            &["readmsg", "clientlog", "readsysmsg", "errorlog"],
            "the message log of today: messages, logins, relay itself, refusals",
        ),
    ],
};

const CHINESE: Texts = Texts {
    page: include_str!("../www/index.zh.html"),
    demo: "<a href=\"demo/\">演示页面</a>：聊天、通知、远程调试",
    form: "<form method=\"get\"><label for=\"token\">管理令牌，用于查看运维接口（令牌会出现在地址中）</label> \
           <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required> \
           <button>查看</button></form>\n<p>令牌即配置中的 <code>admin.token</code>；未配置时见 <code>/run/relay/admin.token</code> 或 \
           relay 的日志。</p>",
    wrong: "管理令牌不正确。",
    locked: "错误的管理令牌太多，请稍后再试。",
    connections: "连接",
    sessions: "会话",
    rooms: "房间",
    source: "源",
    commands: "让页面重新加载；结束会话",
    endpoints: [
        (&["healthz"], "哪些部分有故障及其原因"),
        (&["api/stats", "metrics"], "各种计数：JSON 格式，供 Prometheus 使用"),
        (&["read_connections", "readmsglocation", "sessionlocation"], "各节点的连接、消息、会话"),
        (&["readmsg", "clientlog", "readsysmsg", "errorlog"], "今天的消息日志：消息、登录、relay 本身、拒绝"),
    ],
};

const STYLE: &str = include_str!("../www/index.css");
/// The answer of node-socket-im.
const GREETING: &str = "^_^ Hello to xin node service  ^_^";
const HTML: &str = "text/html; charset=utf-8";
/// The pages of a source.
const OF_SOURCE: [&str; 6] = ["online", "today", "api/online", "api/rooms", "api/users", "api/today"];
/// The most sources that are listed.
const MAX_SOURCES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_ask_for_html() {
        assert!(accepts_html("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(accepts_html("application/json, Text/HTML ;q=0.1"));
        for program in ["", "*/*", "text/*", "application/json", "text/plain, text/htmlx"] {
            assert!(!accepts_html(program), "{program}");
        }
        assert!(prefers_chinese("zh-CN,zh;q=0.9,en;q=0.8") && prefers_chinese("ZH"));
        for other in ["", "en,zh;q=0.9", "é", "z"] {
            assert!(!prefers_chinese(other), "{other}");
        }
    }

    #[test]
    fn templates_are_filled_once() {
        assert_eq!(fill("a{x}{y}{z}{", &[("x", "{y}"), ("y", "1")]), "a{y}1{z}{");
        for texts in [&ENGLISH, &CHINESE] {
            let page =
                fill(texts.page, &["style", "greeting", "demo", "ws", "socketio", "operator"].map(|name| (name, "")));
            assert!(!page.contains('{') && page.contains("<main>"));
        }
    }
}
