//! What operators look at that siblings have a part in: answered at once if this relay is alone or knows, else when Redis
//! has said (contract sections 7 and 10).

use super::{online, snapshot::Snapshot, status};
use crate::{
    clock::Now,
    cluster::{Seen, Topic},
    http::{Fields, Head, Reply},
    hub::Hub,
};

/// Which page.
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

/// A page that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    kind: Kind,
    query: Box<str>,
    /// What is to be known for it; nothing if this relay knows all that is asked.
    topic: Option<Topic>,
}

impl View {
    /// The page that a request asks for.
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

    /// Whether Redis has to be asked first; then it will be.
    pub fn must_wait(&self, hub: &mut Hub, now: Now) -> bool {
        let Some(topic) = &self.topic else { return false };
        let wait = matches!(hub.cluster.see(topic, now.time), Seen::Pending);
        if wait {
            hub.cluster.ask(topic.clone());
        }
        wait
    }

    /// The page.
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
