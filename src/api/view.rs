//! Lists that include other relays (docs/protocol.md, Lists, and Old pages). Without a cluster, or with a recent
//! look-up, the request is answered at once. Otherwise it waits for Redis.

use super::{online, snapshot::Snapshot, status};
use crate::{
    clock::Now,
    cluster::{Lookup, Topic},
    http::{Fields, Head, Reply},
    hub::Hub,
};

/// An endpoint that shows a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `GET /api/online`
    Online,
    /// `GET /api/users`
    Users,
    /// `GET /api/today`
    Today,
    /// `GET /api/stats`
    Stats,
    /// `GET /online`
    OnlinePage,
    /// `GET /today`
    TodayPage,
    /// `GET /read_connections`
    ConnectionsPage,
    /// `GET /readmsglocation`
    MessagesPage,
    /// `GET /sessionlocation`
    SessionsPage,
}

/// A request for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    kind: Kind,
    query: Box<str>,
    /// The look-up that it needs; `None` without a cluster or a known source.
    topic: Option<Topic>,
}

impl View {
    /// The list that a request asks for.
    pub fn new(kind: Kind, head: &Head<'_>, hub: &Hub) -> View {
        let fields = head.fields();
        let source = || hub.state.known_tenant(fields.get("source")).map(|_| fields.get("source").into());
        let topic = match kind {
            Kind::Online | Kind::Users | Kind::OnlinePage => source().map(Topic::Online),
            Kind::Today | Kind::TodayPage => source().map(Topic::Today),
            Kind::Stats | Kind::ConnectionsPage => Some(Topic::Sessions),
            Kind::MessagesPage => Some(Topic::Messages),
            Kind::SessionsPage => Some(Topic::Logins),
        };
        View { kind, query: head.query.into(), topic: topic.filter(|_| hub.cluster.is_on()) }
    }

    /// Whether the list must wait for a look-up, which is then started.
    pub fn must_wait(&self, hub: &mut Hub, now: Now) -> bool {
        let Some(topic) = &self.topic else { return false };
        let wait = matches!(hub.cluster.lookup(topic, now.time), Lookup::Pending);
        if wait {
            hub.cluster.request(topic.clone());
        }
        wait
    }

    /// Builds the reply.
    pub fn render(&self, cx: &Snapshot<'_>) -> Reply {
        let fields = Fields::parse(self.query.as_bytes());
        match self.kind {
            Kind::Online => online::online(&fields, cx),
            Kind::Users => online::users(&fields, cx),
            Kind::Today => online::today(&fields, cx),
            Kind::Stats => status::stats(cx),
            Kind::OnlinePage => online::online_page(&fields, cx),
            Kind::TodayPage => online::today_page(&fields, cx),
            Kind::ConnectionsPage => online::connections_page(cx),
            Kind::MessagesPage => online::messages_page(cx),
            Kind::SessionsPage => online::sessions_page(cx),
        }
    }
}
