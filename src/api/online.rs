//! Who is here: as JSON, and as the pages the old server had, whose texts people scrape (contract section 7).

use core::fmt::Write;

use super::{
    Context,
    html::{escape, page},
    json_string,
};
use crate::{
    http::{Fields, Head, Reply},
    hub::{TenantId, journal::Line, presence::Visitor},
};

/// `GET /api/online?source=`: users with their numbers of sessions, and the sessions themselves: `limit` of them after
/// `offset` (fewer if they are long), those of `userid` only if one is given.
pub fn online(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    listed(head, cx, |fields, source, tenant, (skip, most)| {
        let userid = Some(fields.get("userid")).filter(|userid| !userid.is_empty());
        let names = cx.hub.online(tenant);
        let sessions: usize = names.iter().map(|(_, count)| count).sum();
        let mut out =
            format!("{{\"source\":{},\"users\":{},\"sessions\":{sessions},", json_string(source), names.len());
        object(&mut out, "names", names.iter().skip(skip).take(most).copied());
        out.push_str(",\"list\":[");
        for (index, visitor) in cx.hub.visitors(tenant, userid, skip, most).enumerate() {
            if out.len() > LONGEST {
                break;
            }
            if index > 0 {
                out.push(',');
            }
            out.push_str(&record(&visitor, source, cx));
        }
        out + "]}"
    })
}

/// `GET /api/users?source=`: who is here by `userid`, with the sessions in each namespace; in one only with `nsp=`.
pub fn users(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    listed(head, cx, |fields, source, tenant, (skip, most)| {
        let namespace = Some(fields.get("nsp")).filter(|namespace| !namespace.is_empty());
        let users = cx.hub.users(tenant, namespace);
        let mut out = format!("{{\"source\":{},\"users\":{},\"list\":[", json_string(source), users.len());
        for (index, (userid, spaces)) in users.iter().skip(skip).take(most).enumerate() {
            if out.len() > LONGEST {
                break;
            }
            let sessions: usize = spaces.iter().map(|(_, count)| count).sum();
            let comma = if index > 0 { "," } else { "" };
            write!(out, "{comma}{{\"userid\":{},\"sessions\":{sessions},", json_string(userid)).expect("it is memory");
            object(&mut out, "nsp", spaces.iter().copied());
            out.push('}');
        }
        out + "]}"
    })
}

/// `GET /api/today?source=`: usernames with their logins since midnight, local time.
pub fn today(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    listed(head, cx, |_, source, tenant, (skip, most)| {
        let (names, sessions) = cx.hub.today(tenant, cx.now);
        let date = cx.now.local().date();
        let mut out = format!("{{\"source\":{},\"date\":\"{date}\",\"users\":{},", json_string(source), names.len());
        write!(out, "\"sessions\":{sessions},").expect("writing to memory succeeds");
        object(&mut out, "names", names.into_iter().skip(skip).take(most));
        out + "}"
    })
}

/// `GET /api/rooms?source=`: rooms with their numbers of members, the fullest first.
pub fn rooms(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    listed(head, cx, |_, source, tenant, (skip, most)| {
        let rooms = cx.hub.rooms(tenant);
        let item =
            |(room, members): &(&str, usize)| format!("{{\"room_id\":{},\"members\":{members}}}", json_string(room));
        let list: Vec<_> = rooms.iter().skip(skip).take(most).map(item).collect();
        format!("{{\"source\":{},\"rooms\":{},\"list\":[{}]}}", json_string(source), rooms.len(), list.join(","))
    })
}

/// A list of one source's, with bounds.
fn listed(
    head: &Head<'_>,
    cx: &Context<'_>,
    list: impl FnOnce(&Fields<'_>, &str, TenantId, (usize, usize)) -> String,
) -> Reply {
    let fields = head.fields();
    let source = fields.get("source");
    let number = |name: &str, default: usize| match fields.get(name) {
        "" => Some(default),
        text => text.parse().ok(),
    };
    let reply = match (source, cx.hub.known_tenant(source), number("offset", 0), number("limit", USUAL)) {
        ("", ..) => Reply::refusal(400, "source can not be null!"),
        (_, None, ..) => Reply::refusal(404, "this source can not be configured!"),
        (_, Some(tenant), Some(skip), Some(most @ 0..=MOST)) => {
            Reply::json(200, list(&fields, source, tenant, (skip, most)).into_bytes())
        }
        _ => Reply::refusal(400, "limit is 0 to 10000, offset a whole number"),
    };
    reply.with("Cache-Control", "no-store")
}

/// A session as JSON, with the names that the old server used, and what it lacked.
fn record(visitor: &Visitor<'_>, source: &str, cx: &Context<'_>) -> String {
    let mut out = vec![b'{'];
    let mut line = Line::within(&mut out);
    line.text("source", source);
    visitor.describe(&mut line);
    line.text("server_ip", &cx.site.server_ip);
    line.shown("time", cx.now.local_at(visitor.session.since));
    out.push(b'}');
    String::from_utf8(out).expect("made of strings")
}

fn object<N: core::fmt::Display>(out: &mut String, name: &str, names: impl Iterator<Item = (impl AsRef<str>, N)>) {
    let items: Vec<_> = names.map(|(name, count)| format!("{}:{count}", json_string(name.as_ref()))).collect();
    write!(out, "\"{name}\":{{{}}}", items.join(",")).expect("writing to memory succeeds");
}

/// `GET /online?source=`: the old server's page. Sessions beyond 10,000, or 4 MB of them, are counted, not shown.
pub fn online_page(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    let fields = head.fields();
    let Some(source) = fields.all("source").next() else { return page(ASK_SOURCE.into()) };
    let tenant = cx.hub.known_tenant(source);
    let names = tenant.map(|tenant| cx.hub.online(tenant)).unwrap_or_default();
    let sessions: usize = names.iter().map(|(_, count)| count).sum();
    let mut body = format!("当前在线用户列表：<br>用户总数：{}<br>会话链接数：{sessions}<br><br>", names.len());
    for (name, count) in shown(&names) {
        write!(body, "{}:{count}<br>", escape(name)).expect("writing to memory succeeds");
    }
    body.push_str("<br>");
    for visitor in tenant.into_iter().flat_map(|tenant| cx.hub.visitors(tenant, None, 0, MOST)) {
        if body.len() > LONGEST {
            break;
        }
        write!(body, "{}<br>", escape(&record(&visitor, source, cx))).expect("writing to memory succeeds");
    }
    page(body)
}

/// `GET /today?source=`: the old server's page.
pub fn today_page(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    let fields = head.fields();
    let source = fields.get("source");
    if source.is_empty() {
        return page(ASK_SOURCE.into());
    }
    let tenant = cx.hub.known_tenant(source);
    let (names, sessions) = tenant.map(|tenant| cx.hub.today(tenant, cx.now)).unwrap_or_default();
    let mut body = String::from("当天用户链接数<br>");
    for (name, count) in shown(&names) {
        write!(body, "{}:{count}<br>", escape(name)).expect("writing to memory succeeds");
    }
    write!(body, "<br> 用户总数：{} 会话总数：{sessions}", names.len()).expect("writing to memory succeeds");
    page(body)
}

/// `GET /read_connections`: the old server's page.
pub fn connections_page(cx: &Context<'_>) -> Reply {
    page(format!("<p>总连接数：{}</p>", cx.hub.session_count()))
}

/// `GET /readmsglocation`: messages that came in at each server.
pub fn messages_page(cx: &Context<'_>) -> Reply {
    let count = cx.hub.stats.notifies + cx.hub.stats.posted;
    page(format!("当前消息分布：<br>{}->{count}<br>", cx.site.server_ip))
}

/// `GET /sessionlocation`: logins at each server.
pub fn sessions_page(cx: &Context<'_>) -> Reply {
    page(format!("当前会话分布：<br>{}->{}<br>", cx.site.server_ip, cx.hub.stats.logins))
}

/// What the old server said to who did not name a source.
pub const ASK_SOURCE: &str = "请指定source查询！";
/// How many a list has that nobody gave a limit, and the most it may have.
const USUAL: usize = 1000;
const MOST: usize = 10_000;
/// Bytes after which a list ends, whatever else there would be: it is made while everybody waits.
const LONGEST: usize = 4 * 1024 * 1024;

/// The names that a page shows: the first, up to so many bytes.
fn shown<'a, N>(names: &'a [(&'a str, N)]) -> impl Iterator<Item = &'a (&'a str, N)> {
    names.iter().scan(0, |bytes, name| {
        *bytes += name.0.len() + 16;
        (*bytes <= LONGEST).then_some(name)
    })
}
