//! Finding the master that Sentinels know: they are asked in turn, each time a connection is opened, on a connection that
//! lasts for the question.

use core::time::Duration;
use std::io;

use mio::{Token, net::TcpStream};

use super::search::Question;
use crate::{
    config::{Sentinels, Servers},
    redis::SentinelQuery,
    server::{conn::Socket, event_loop::Server, resolver::Resolver, tokens, transport::Transport, waker::waker},
};

impl Server {
    /// The host and port of the master. `None` while Sentinels are asked.
    pub(super) fn find_master(&mut self, sentinels: &Sentinels) -> Option<Result<(String, u16), String>> {
        let count = sentinels.hosts.len();
        self.cluster.search.resolvers.resize_with(count, Resolver::default);
        loop {
            match &self.cluster.search.answer {
                Some(Ok(found)) => return Some(Ok(found.clone())),
                Some(Err(_)) => return self.cluster.search.answer.take(),
                None if self.cluster.search.question.is_some() => return None,
                None => {}
            }
            self.cluster.search.next %= count;
            let (host, port) = &sentinels.hosts[self.cluster.search.next];
            let (poll, made) = (&self.poll, &mut self.waker);
            let resolver = &mut self.cluster.search.resolvers[self.cluster.search.next];
            let address = resolver.find(host, *port, TIMEOUT, self.now.time, &mut || waker(made, poll))?;
            let opened = address.and_then(|address| {
                // A Sentinel is not asked twice in a row, so its other addresses are for the next time.
                resolver.leave(address);
                let tls = self.hub.cluster.tls().map(|tls| (tls, host.as_str()));
                let mut transport = Transport::new(Socket::Tcp(TcpStream::connect(address)?), tls)?;
                transport.socket().register(self.poll.registry(), Token(tokens::SENTINEL))?;
                Ok::<_, io::Error>(transport)
            });
            match opened {
                Ok(transport) => {
                    let (query, until) = (SentinelQuery::new(sentinels), self.now.time.after(TIMEOUT));
                    self.cluster.search.question = Some(Question { transport, connected: false, query, until });
                }
                Err(error) => self.cluster.search.fail(count, &format!("{host}:{port}"), &error.to_string()),
            }
        }
    }

    /// Handles an event of the connection to a Sentinel.
    pub(super) fn handle_sentinel(&mut self) {
        let Some(question) = &mut self.cluster.search.question else { return };
        match question.drive() {
            Ok(None) => {}
            Ok(Some(found)) => {
                let search = &mut self.cluster.search;
                (search.question, search.silent, search.answer) = (None, 0, Some(Ok(found)));
            }
            Err(why) => self.fail_sentinel(&why),
        }
    }

    /// Gives up a question that takes too long.
    pub(super) fn expire_sentinel(&mut self) {
        if self.cluster.search.question.as_ref().is_some_and(|question| question.until <= self.now.time) {
            self.fail_sentinel("it does not respond");
        }
    }

    fn fail_sentinel(&mut self, why: &str) {
        let Some(Servers::Sentinels(sentinels)) = self.hub.cluster.url().map(|url| &url.servers) else {
            return;
        };
        let count = sentinels.hosts.len();
        let (host, port) = &sentinels.hosts[self.cluster.search.next % count];
        self.cluster.search.fail(count, &format!("{host}:{port}"), why);
    }
}

/// How long a Sentinel may take, from the connection to the answer.
const TIMEOUT: Duration = Duration::from_secs(2);
