//! HTTP connections: handling requests, and replying to parked ones.

use log::debug;

use super::{
    conn::{Socket, State},
    event_loop::Server,
};
use crate::{
    api::{self, Context, Outcome, cors},
    clock::Now,
    config::Config,
    http::{
        self, Exchange, Head, Reply,
        parked::{Awaited, Parked},
    },
    key::{ClientKey, ConnKey},
    limits::MAX_BEFORE_LOGIN,
    memory,
};

impl Server {
    /// Handles bytes from an HTTP connection: every complete request, until one is parked or upgrades the connection.
    pub(super) fn handle_http(&mut self, key: ConnKey, bytes: &[u8]) {
        let (config, connections, seed) = (self.hub.config().clone(), self.conns.len(), self.seed(key));
        let (max_connections, full) = (self.max_connections() as usize, self.is_full());
        let tls_bytes = self.tls.bytes();
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::Http(exchange) = &mut conn.state else { return };
        if exchange.awaits_proxy && !exchange.is_closing() {
            return self.handle_proxy_header(key, bytes);
        }
        if exchange.refusal().is_some() {
            return self.refuse_first(key, bytes);
        }
        let (mut fresh, mut lookup, peer, metrics_only) = (bytes, None, exchange.peer, exchange.metrics_only);
        let proxied = exchange.is_proxied || conn.tls || matches!(conn.socket, Socket::Unix(_));
        let first_delivery = self.hub.state.deliveries();
        let (mut later, mut reload, mut described, mut explained) = (false, false, None, None);
        loop {
            if self.hub.state.deliveries() - first_delivery > DELIVERIES_PER_READ
                && (!fresh.is_empty() || exchange.has_input())
            {
                exchange.keep(fresh);
                conn.paused = true;
                later = true;
                break;
            }
            if !exchange.wants_input() {
                if !fresh.is_empty() || exchange.has_input() {
                    exchange.keep(fresh);
                    conn.paused = true;
                }
                break;
            }
            let request = match exchange.poll_request(&mut fresh, &config.limits, self.now) {
                Ok(Some(request)) => request,
                Ok(None) => {
                    let body = exchange.incomplete(&config.limits);
                    let body = body.map(|(head, length)| (length, api::max_body(&head, &self.hub)));
                    let is_known = body.is_some_and(|(_, most)| most > MAX_BEFORE_LOGIN);
                    let most_unfinished = self.hub.state.max_unfinished(is_known);
                    if body.is_some_and(|(length, most)| length > MAX_BEFORE_LOGIN && length > most) {
                        self.hub.state.stats.bad_requests += 1;
                        refuse(exchange, http::Error::BodyUnexpected, &[], &config, seed, self.now);
                    } else if exchange.input_memory() > FAIR_SHARE && memory::unfinished() > most_unfinished {
                        self.hub.state.stats.unfinished_refused += 1;
                        refuse(exchange, http::Error::Unfinished, &[], &config, seed, self.now);
                    }
                    break;
                }
                Err(error) => {
                    self.hub.state.stats.bad_requests += 1;
                    if error == http::Error::UnexpectedTls {
                        debug!("a connection begins with TLS, but its address of listen has no tls://");
                    }
                    refuse(exchange, error, fresh, &config, seed, self.now);
                    break;
                }
            };
            self.hub.state.stats.requests += 1;
            let mut cx = Context {
                hub: &mut self.hub,
                site: &self.site,
                guesses: &mut self.guesses,
                conn: key,
                peer,
                proxied,
                metrics_only,
                now: self.now,
                connections,
                tls_bytes,
                max_connections,
                full,
                stopping: self.stopping.is_some(),
            };
            match api::route(&request, &mut cx) {
                Outcome::Reply(reply) => {
                    if self.stopping.is_some() {
                        exchange.end_with_reply();
                    }
                    exchange.reply(&reply, self.now);
                }
                Outcome::AwaitDisk(page) => {
                    match self.message_log.as_mut().is_some_and(|writer| writer.read(key, page)) {
                        true => exchange.park(Parked::Page(Awaited::Disk), &config.limits, self.now),
                        false => exchange.reply(&Reply::refusal(503, "too many requests wait for the disk"), self.now),
                    }
                }
                Outcome::AwaitLookup(view) => {
                    exchange.park(Parked::Page(Awaited::Redis), &config.limits, self.now);
                    lookup = Some(view);
                }
                Outcome::Describe(session, language) => {
                    exchange.park(Parked::Page(Awaited::Disk), &config.limits, self.now);
                    described = Some((session, language));
                }
                Outcome::Explain(inquiry) => {
                    exchange.park(Parked::Page(Awaited::Disk), &config.limits, self.now);
                    explained = Some(inquiry);
                }
                Outcome::AwaitReload => {
                    exchange.park(Parked::Page(Awaited::Disk), &config.limits, self.now);
                    reload = true;
                }
                Outcome::AwaitReceipts { answer, origin } => {
                    exchange.park(Parked::Receipts { answer, origin }, &config.limits, self.now);
                }
                Outcome::AwaitBackend { client, response, origin, event_source } => {
                    let login = Parked::Login { client, response, origin, event_source };
                    exchange.park(login, &config.limits, self.now);
                }
                Outcome::Upgrade { client, response } => {
                    let fresh = fresh.to_vec();
                    return self.upgrade(key, client, response, &fresh);
                }
                Outcome::AwaitPackets { client, origin } => {
                    exchange.park(Parked::Poll { client, origin }, &config.limits, self.now);
                }
                Outcome::Last(bytes) => exchange.reply_raw(&bytes, self.now),
                Outcome::Probe { client, response } => {
                    let fresh = fresh.to_vec();
                    return self.begin_probe(key, client, &response, &fresh);
                }
            }
        }
        if !exchange.is_flushed() || exchange.is_closing() {
            self.replied.push(key);
        }
        self.timers.arm(key, conn);
        if later {
            self.schedule_read(key);
        }
        if let Some(view) = lookup {
            self.await_lookup(key, view);
        }
        if reload {
            self.begin_reload_for(key);
        }
        if let Some((session, language)) = described {
            let client = self.hub.state.sessions.get(session).map(|session| session.client);
            let confirmed = client.and_then(|client| self.confirmed(client));
            let reply = api::sessions::describe(session, language, &self.connection_of(session), confirmed, &self.hub);
            self.answer(key, reply);
        }
        if let Some(inquiry) = explained {
            let clients = inquiry.clients(&self.hub).into_iter();
            let confirmed: Vec<_> = clients.filter_map(|client| Some((client, self.confirmed(client)?))).collect();
            self.answer(key, api::why::explain(&inquiry, &confirmed, &self.hub, self.now));
        }
    }

    /// The stamp up to which a client has all messages, as its kernel says. `None` if that is not known.
    fn confirmed(&mut self, client: ClientKey) -> Option<u64> {
        let conn = self.hub.state.conn(client).and_then(|key| self.conns.get(key));
        let unconfirmed = conn.and_then(|conn| conn.socket.unconfirmed());
        self.hub.position(client, unconfirmed)
    }

    /// Answers the first request of a connection that is over a limit, once its head has arrived: the answer to an
    /// EventSource must not end it for good.
    fn refuse_first(&mut self, key: ConnKey, fresh: &[u8]) {
        let (config, seed) = (self.hub.config().clone(), self.seed(key));
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::Http(exchange) = &mut conn.state else { return };
        let Some(error) = exchange.refusal() else { return };
        let origin = |head: &Head<'_>| match api::access::origin_allowed(head.origin, &config) {
            true => head.origin.to_owned(),
            false => String::new(),
        };
        let come_back = match exchange.poll_refused(fresh, &config.limits) {
            Ok(None) => return,
            Ok(Some(head)) => api::stream::is_event_source(&head, &config).then(|| origin(&head)),
            Err(_) => None,
        };
        let reply = match come_back {
            Some(origin) => cors::with_credentials(api::stream::come_back(seed), &origin),
            None => cors::refusal(error.into(), exchange.incomplete_origin(&[]), &config),
        };
        exchange.refuse(&reply, self.now);
        self.timers.arm(key, conn);
        self.replied.push(key);
    }

    /// Refuses the incomplete request of a connection.
    pub(super) fn refuse_request(&mut self, key: ConnKey, error: http::Error) {
        let seed = self.seed(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let State::Http(exchange) = &mut conn.state else { return };
        refuse(exchange, error, &[], self.hub.config(), seed, self.now);
        self.timers.arm(key, conn);
        self.replied.push(key);
    }

    /// Refuses a request that did not arrive in time.
    pub(super) fn refuse_late(&mut self, key: ConnKey, error: http::Error) {
        self.hub.state.stats.bad_requests += 1;
        self.refuse_request(key, error);
    }

    /// Replies to a parked request.
    pub(super) fn answer(&mut self, key: ConnKey, reply: Reply) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.dropped) else { return };
        let State::Http(exchange) = &mut conn.state else { return };
        let Some(parked) = exchange.unpark(&self.hub.config().limits, self.now) else { return };
        if self.stopping.is_some() {
            exchange.end_with_reply();
        }
        let reply = match parked {
            Parked::Poll { origin, .. } => cors::with_credentials(reply, &origin),
            Parked::Login { origin, .. } => cors::with_credentials(reply, &origin),
            Parked::Receipts { origin, .. } => cors::readable(reply, &origin, self.hub.config()).0,
            Parked::Page(_) => reply,
        };
        exchange.reply(&reply, self.now);
        self.timers.arm(key, conn);
        self.replied.push(key);
    }
}

/// Queues the answer to a request that cannot be served. `fresh` is what is not buffered of it. For `seed` see
/// [`api::stream::come_back`].
fn refuse(exchange: &mut Exchange, error: http::Error, fresh: &[u8], config: &Config, seed: u64, now: Now) {
    let temporary = matches!(error.status(), 429 | 503);
    let may_be_event_source = || exchange.incomplete_path(fresh).is_some_and(|path| api::stream::is_path(path, config));
    let reply = match temporary && may_be_event_source() {
        true => api::stream::come_back(seed),
        false => error.into(),
    };
    let reply = cors::refusal(reply, exchange.incomplete_origin(fresh), config);
    exchange.refuse(&reply, now);
}

/// Bytes of an incomplete request that are never refused: most requests that arrive in two pieces are small.
const FAIR_SHARE: usize = 4096;
/// Deliveries that the requests of one read may cause, more or less: queueing so many takes about 1 ms. The requests after
/// them wait for the next turn.
const DELIVERIES_PER_READ: u64 = 32_768;
