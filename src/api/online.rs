//! Lists of sessions, users, logins and rooms: as JSON, and as the pages of node-socket-im, whose texts scripts scrape
//! (docs/protocol.md, Lists, and Old pages).

use core::{fmt::Write, time::Duration};
use std::{borrow::Cow, collections::BTreeMap};

use super::{
    context::Context,
    html::{escape, page},
    snapshot::Snapshot,
};
use crate::{
    clock::Time,
    cluster::{RemoteSessions, Topic},
    http::{Fields, Head, Reply},
    hub::Hub,
    json::{ObjectWriter, quote},
    presence::lists::{self, BusyRoom},
    state::{SessionInfo, TenantId},
};

/// `GET /api/online?source=`: the number of sessions of each username, and up to `limit` sessions after `offset`, those
/// of this relay first. With `userid=`, only the sessions of this user are listed. The list ends early at 4 MiB.
pub fn online(fields: &Fields<'_>, cx: &Snapshot<'_>) -> Reply {
    listed(fields, cx.hub, |fields, source, tenant, (skip, most)| {
        let userid = Some(fields.get("userid")).filter(|userid| !userid.is_empty());
        let others = cx.others(source);
        let names = names(cx, tenant, others);
        let sessions: usize = names.iter().map(|(_, count)| count).sum();
        let mut out = format!(
            "{{\"source\":{},{}\"users\":{},\"sessions\":{sessions},",
            quote(source),
            cx.completeness(others.is_some_and(|remote| !remote.partial)),
            names.len()
        );
        object(&mut out, "names", names.iter().skip(skip).take(most).copied());
        out.push_str(",\"list\":[");
        let mut count = 0;
        let mut add = |out: &mut String, record: &str| {
            if out.len() <= MAX_LIST_BYTES && count < most {
                out.push_str(if count > 0 { "," } else { "" });
                out.push_str(record);
                count += 1;
            }
        };
        for info in lists::sessions(&cx.hub.state, tenant, userid, (skip, most)) {
            add(&mut out, &record(&info, source, cx));
        }
        if let Some(remote) = others {
            let wanted = |record: &&(Box<str>, Box<str>)| userid.is_none_or(|userid| *record.0 == *userid);
            let here = lists::count(&cx.hub.state, tenant, userid);
            for (_, record) in remote.list.iter().filter(wanted).skip(skip.saturating_sub(here)).take(most) {
                add(&mut out, record);
            }
        }
        out + "]}"
    })
}

/// The number of sessions of each username, on all relays.
fn names<'a>(cx: &Snapshot<'a>, tenant: TenantId, others: Option<&'a RemoteSessions>) -> Vec<(&'a str, usize)> {
    let mut names = lists::online(&cx.hub.state, tenant);
    if let Some(remote) = others {
        for (name, count) in &remote.names {
            *names.entry(name).or_default() += count;
        }
    }
    names.into_iter().collect()
}

/// `GET /api/users?source=`: users by `userid`, with their number of sessions in each namespace, or only in `nsp=`
/// (docs/protocol.md, GET /api/users).
pub fn users(fields: &Fields<'_>, cx: &Snapshot<'_>) -> Reply {
    listed(fields, cx.hub, |fields, source, tenant, (skip, most)| {
        let wanted = Some(fields.get("nsp")).filter(|nsp| !nsp.is_empty());
        let others = cx.others(source);
        let part = fields.get("search");
        let mut users = lists::users(&cx.hub.state, tenant, wanted, part);
        let remote = others.iter().flat_map(|remote| &remote.users).filter(|(userid, _)| userid.contains(part));
        for (userid, namespaces) in remote {
            for (namespace, count) in
                namespaces.iter().filter(|(name, _)| wanted.is_none_or(|wanted| ***name == *wanted))
            {
                *users.entry(userid).or_default().entry(namespace).or_default() += count;
            }
        }
        let mut out = format!(
            "{{\"source\":{},{}\"users\":{},\"list\":[",
            quote(source),
            cx.completeness(others.is_some_and(|remote| !remote.partial)),
            users.len()
        );
        for (index, (userid, namespaces)) in users.iter().skip(skip).take(most).enumerate() {
            if out.len() > MAX_LIST_BYTES {
                break;
            }
            let sessions: usize = namespaces.values().sum();
            let comma = if index > 0 { "," } else { "" };
            write!(out, "{comma}{{\"userid\":{},\"sessions\":{sessions},", quote(userid))
                .expect("writing to memory succeeds");
            object(&mut out, "nsp", namespaces.iter().map(|(namespace, count)| (*namespace, *count)));
            out.push('}');
        }
        out + "]}"
    })
}

/// `GET /api/today?source=`: usernames with their number of logins since midnight, local time.
pub fn today(fields: &Fields<'_>, cx: &Snapshot<'_>) -> Reply {
    listed(fields, cx.hub, |_, source, tenant, (skip, most)| {
        let (names, sessions, complete) = logins(cx, source, tenant);
        let date = cx.now.local().date();
        let mut out = format!(
            "{{\"source\":{},\"date\":\"{date}\",{}\"users\":{},\"sessions\":{sessions},",
            quote(source),
            cx.completeness(complete),
            names.len()
        );
        object(&mut out, "names", names.into_iter().skip(skip).take(most));
        out + "}"
    })
}

/// Today's logins on all relays: by username, their total, and whether the counts of other relays are included. Where this
/// relay has counted more than Redis has, for example because Redis lost data, its own count is used.
fn logins<'a>(cx: &Snapshot<'a>, source: &str, tenant: TenantId) -> (Vec<(&'a str, u64)>, u64, bool) {
    let (own, sessions) = cx.hub.presence.today(tenant, cx.now);
    let own = own.into_iter().map(|(name, count)| (name, u64::from(count)));
    match cx.counts(&Topic::Today(source.into())) {
        None => (own.collect(), sessions, false),
        Some(counts) => {
            let mut all: BTreeMap<&str, u64> = BTreeMap::new();
            all.extend(counts.iter().map(|(name, count)| (&**name, *count)));
            for (name, count) in own {
                let known = all.entry(name).or_default();
                *known = count.max(*known);
            }
            let sessions = all.values().sum::<u64>().max(sessions);
            (all.into_iter().collect(), sessions, true)
        }
    }
}

/// `GET /api/rooms?source=`: rooms of this relay with their number of members, the largest first. With `search=`, only those
/// whose names contain it; with `order=messages`, those with messages of the last minutes, the busiest first.
pub fn rooms(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    let fields = head.fields();
    if !matches!(fields.get("order"), "" | "members" | "messages") {
        return Reply::refusal(400, "order must be members or messages").with("Cache-Control", "no-store");
    }
    listed(&fields, cx.hub, |fields, source, tenant, (skip, most)| {
        let part = fields.get("search");
        if fields.get("order") == "messages" {
            return busy_rooms(cx, source, tenant, part, (skip, most));
        }
        let (rooms, count) = lists::rooms(&cx.hub.state, tenant, part, (skip, most));
        let item = |(room, members): &(&str, usize)| format!("{{\"room_id\":{},\"members\":{members}}}", quote(room));
        let list: Vec<_> = rooms.iter().map(item).collect();
        format!("{{\"source\":{},\"rooms\":{count},\"list\":[{}]}}", quote(source), list.join(","))
    })
}

fn busy_rooms(cx: &Context<'_>, source: &str, tenant: TenantId, part: &str, (skip, most): (usize, usize)) -> String {
    let now = cx.now.time;
    let begin = Time::from_micros(now.micros().saturating_sub(BUSY.as_micros() as u64));
    let busy = lists::busy_rooms(&cx.hub.state, tenant, part, begin);
    let item = |room: &BusyRoom<'_>| {
        let BusyRoom { name, members, messages, deliveries } = room;
        let name = quote(name);
        format!("{{\"room_id\":{name},\"members\":{members},\"messages\":{messages},\"deliveries\":{deliveries}}}")
    };
    let list: Vec<_> = busy.rooms.iter().skip(skip).take(most).map(item).collect();
    format!(
        "{{\"source\":{},\"seconds\":{},\"rooms\":{},\"elsewhere\":{},\"list\":[{}]}}",
        quote(source),
        now.since(busy.since).as_secs(),
        busy.rooms.len(),
        busy.elsewhere,
        list.join(",")
    )
}

/// Checks `source`, `offset` and `limit`, and replies with the list that `list` builds from them.
fn listed(
    fields: &Fields<'_>,
    hub: &Hub,
    list: impl FnOnce(&Fields<'_>, &str, TenantId, (usize, usize)) -> String,
) -> Reply {
    let source = fields.get("source");
    let number = |name: &str, default: usize| match fields.get(name) {
        "" => Some(default),
        text => text.parse().ok(),
    };
    let reply = match (source, hub.state.known_tenant(source), number("offset", 0), number("limit", DEFAULT_LIMIT)) {
        ("", ..) => Reply::refusal(400, "source can not be null!"),
        (_, None, ..) => Reply::refusal(404, "this source can not be configured!"),
        (_, Some(tenant), Some(skip), Some(most @ 0..=MAX_LIMIT)) => {
            Reply::json(200, list(fields, source, tenant, (skip, most)).into_bytes())
        }
        _ => Reply::refusal(400, "limit must be 0 to 10000, and offset a whole number"),
    };
    reply.with("Cache-Control", "no-store")
}

/// A session as JSON: node-socket-im's fields and relay's own (docs/protocol.md, Lists).
fn record(info: &SessionInfo<'_>, source: &str, cx: &Snapshot<'_>) -> String {
    let mut out = vec![b'{'];
    let mut line = ObjectWriter::within(&mut out);
    line.text("source", source);
    info.write(&mut line);
    line.text("server_ip", &cx.site.server_ip);
    line.display("time", cx.now.local_at(info.session.identity.since()));
    if cx.hub.cluster.is_on() {
        line.text("node", cx.hub.cluster.node());
    }
    out.push(b'}');
    String::from_utf8(out).expect("ObjectWriter writes UTF-8")
}

fn object<N: core::fmt::Display>(out: &mut String, name: &str, names: impl Iterator<Item = (impl AsRef<str>, N)>) {
    let items: Vec<_> = names.map(|(name, count)| format!("{}:{count}", quote(name.as_ref()))).collect();
    write!(out, "\"{name}\":{{{}}}", items.join(",")).expect("writing to memory succeeds");
}

/// `GET /online?source=`: node-socket-im's page. All sessions are counted, but at most 10,000 or 4 MiB of them are shown.
pub fn online_page(fields: &Fields<'_>, cx: &Snapshot<'_>) -> Reply {
    let Some(source) = fields.all("source").next() else { return page("在线用户", ASK_SOURCE.into()) };
    let tenant = cx.hub.state.known_tenant(source);
    let others = cx.others(source);
    let names = tenant.map(|tenant| names(cx, tenant, others)).unwrap_or_default();
    let sessions: usize = names.iter().map(|(_, count)| count).sum();
    let mut body = format!("当前在线用户列表：<br>用户总数：{}<br>会话链接数：{sessions}<br><br>", names.len());
    for (name, count) in shown(&names) {
        write!(body, "{}:{count}<br>", escape(name)).expect("writing to memory succeeds");
    }
    body.push_str("<br>");
    let here = tenant.into_iter().flat_map(|tenant| lists::sessions(&cx.hub.state, tenant, None, (0, MAX_LIMIT)));
    let here = here.map(|info| Cow::Owned(record(&info, source, cx)));
    let there = others.iter().flat_map(|remote| &remote.list).map(|(_, record)| Cow::Borrowed(&**record));
    for record in here.chain(there).take(MAX_LIMIT) {
        if body.len() > MAX_LIST_BYTES {
            break;
        }
        write!(body, "{}<br>", escape(&record)).expect("writing to memory succeeds");
    }
    page("在线用户", body)
}

/// `GET /today?source=`: node-socket-im's page.
pub fn today_page(fields: &Fields<'_>, cx: &Snapshot<'_>) -> Reply {
    let source = fields.get("source");
    if source.is_empty() {
        return page("当天用户", ASK_SOURCE.into());
    }
    let tenant = cx.hub.state.known_tenant(source);
    let (names, sessions, _) = tenant.map(|tenant| logins(cx, source, tenant)).unwrap_or_default();
    let mut body = String::from("当天用户链接数<br>");
    for (name, count) in shown(&names) {
        write!(body, "{}:{count}<br>", escape(name)).expect("writing to memory succeeds");
    }
    write!(body, "<br> 用户总数：{} 会话总数：{sessions}", names.len()).expect("writing to memory succeeds");
    page("当天用户", body)
}

/// `GET /read_connections`: node-socket-im's page.
pub fn connections_page(cx: &Snapshot<'_>) -> Reply {
    let sessions = everywhere(cx).map_or(cx.hub.state.session_count() as u64, |(sessions, _)| sessions);
    page("连接数", format!("<p>总连接数：{sessions}</p>"))
}

/// The number of sessions on all relays, in total and by source; `None` if Redis has not answered.
pub fn everywhere<'a>(cx: &Snapshot<'a>) -> Option<(u64, Vec<(&'a str, u64)>)> {
    let counts = cx.counts(&Topic::Sessions)?;
    let sources =
        cx.hub.cluster.sessions_everywhere(&cx.hub.state, counts.iter().map(|(source, count)| (&**source, *count)));
    Some((sources.iter().map(|(_, sessions)| sessions).sum(), sources))
}

/// `GET /readmsglocation`: the number of messages that each server received: of all servers from Redis, or only of this
/// one since its start.
pub fn messages_page(cx: &Snapshot<'_>) -> Reply {
    let own = cx.hub.state.stats.notifies + cx.hub.state.stats.posted;
    page("消息分布", format!("当前消息分布：<br>{}", by_server(cx, &Topic::Messages, own)))
}

/// `GET /sessionlocation`: the number of logins at each server.
pub fn sessions_page(cx: &Snapshot<'_>) -> Reply {
    page("会话分布", format!("当前会话分布：<br>{}", by_server(cx, &Topic::Logins, cx.hub.state.stats.logins)))
}

fn by_server(cx: &Snapshot<'_>, topic: &Topic, own: u64) -> String {
    match cx.counts(topic) {
        None => format!("{}->{own}<br>", cx.site.server_ip),
        Some(counts) => counts.iter().map(|(ip, count)| format!("{}->{count}<br>", escape(ip))).collect(),
    }
}

/// The text of a page that needs `source=` ("give a source to query"), as node-socket-im wrote it.
pub const ASK_SOURCE: &str = "请指定source查询！";
/// How long before now a message counts for the busiest rooms.
const BUSY: Duration = Duration::from_secs(300);
/// Entries of a list if the request has no `limit=`.
const DEFAULT_LIMIT: usize = 1000;
/// The most that `limit=` may ask for.
const MAX_LIMIT: usize = 10_000;
/// The size in bytes at which a list ends early, because building it blocks the event loop.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;

/// The names that a page shows: the first [`MAX_LIST_BYTES`] of them.
fn shown<'a, N>(names: &'a [(&'a str, N)]) -> impl Iterator<Item = &'a (&'a str, N)> {
    names.iter().scan(0, |bytes, name| {
        *bytes += name.0.len() + 16;
        (*bytes <= MAX_LIST_BYTES).then_some(name)
    })
}
