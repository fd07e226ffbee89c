//! Connections whose proxy names their client with a header of the PROXY protocol.

use core::{net::IpAddr, time::Duration};

use log::{debug, warn};

use super::{conn::State, event_loop::Server, peer::Peer};
use crate::{api::access::is_trusted, http, key::ConnKey, state::origins::Origin};

impl Server {
    /// Handles bytes of a connection that must begin with a header of the PROXY protocol, and then the requests after it.
    pub(super) fn handle_proxy_header(&mut self, key: ConnKey, mut fresh: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let awaits_tls = conn.awaits_tls;
        let State::Http(exchange) = &mut conn.state else { return };
        let peer = exchange.peer;
        let found = exchange.poll_proxy(&mut fresh, &self.hub.config().limits, self.now);
        self.timers.arm(key, conn);
        match found {
            Ok(None) => {}
            Ok(Some(header)) => {
                if !header.client.is_none_or(|client| self.admit_proxied(key, client)) {
                    return;
                }
                match awaits_tls {
                    true => {
                        self.begin_tls(key);
                        self.queue_first(key, fresh);
                    }
                    false => self.handle_http(key, fresh),
                }
            }
            Err(error) => {
                debug!("a connection of {} is refused: {error}", Peer(peer));
                self.hub.state.stats.bad_requests += 1;
                self.refuse_request(key, error);
            }
        }
    }

    /// Makes `client` the peer of a connection, if a trusted proxy names it. Returns whether to handle the request after the
    /// header.
    fn admit_proxied(&mut self, key: ConnKey, client: IpAddr) -> bool {
        let config = self.hub.config().clone();
        let per_address = config.limits.per_address(self.max_connections());
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let State::Http(exchange) = &mut conn.state else { return false };
        if exchange.refusal().is_some() {
            return true;
        }
        if !is_trusted(exchange.peer, &config.trusted_proxies) {
            if let Some(left_out) = self.proxy_warnings.pass(WARNING_INTERVAL, self.now.time) {
                warn!(
                    "the PROXY header of {} is ignored, because trusted_proxies does not list it ({left_out} others were \
                     ignored since the last such line)",
                    Peer(exchange.peer)
                );
            }
            return true;
        }
        exchange.peer = Some(client);
        // A reload can have made a proxy trusted that was counted.
        let counted = exchange.origin.take();
        counted.into_iter().for_each(|origin| self.hub.state.origins.leave(origin));
        let Some(origin) = Origin::new(Some(client), &config.trusted_proxies) else { return true };
        if self.hub.state.origins.count(origin) < per_address {
            exchange.origin = Some(self.hub.state.origins.enter(origin));
            return true;
        }
        let awaits_tls = conn.awaits_tls;
        if !self.may_answer_address(Some(client), per_address) || awaits_tls {
            self.drop_conn(key);
            return false;
        }
        let Some(conn) = self.conns.get_mut(key) else { return false };
        if let State::Http(exchange) = &mut conn.state {
            exchange.refuse_first(http::Error::TooManyFromAddress, &config.limits, self.now);
            self.timers.arm(key, conn);
        }
        // Refused connections do not count.
        if self.conns.get_mut(key).is_some_and(|conn| !core::mem::replace(&mut conn.refused, true)) {
            self.refused += 1;
        }
        true
    }
}

/// The least time between two warnings: peers can cause many.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
