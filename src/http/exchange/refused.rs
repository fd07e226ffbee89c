//! Requests that are answered before they are complete: of connections over a limit, and for want of memory.

use super::{Exchange, Phase};
use crate::{
    clock::Now,
    http::{Head, error::Error, partial},
    limits::Limits,
};

impl Exchange {
    /// Answers the first request with an error, because the connection is over a limit; at the latest after a second, if its
    /// head has not arrived by then. The owner asks [`Exchange::poll_refused`] instead of [`Exchange::poll_request`].
    pub fn refuse_first(&mut self, error: Error, limits: &Limits, now: Now) {
        self.refusal = Some(error);
        self.begin(limits, now);
    }

    /// The error of [`Exchange::refuse_first`], until it was answered.
    pub fn refusal(&self) -> Option<Error> {
        self.refusal.filter(|_| self.phase != Phase::Closing)
    }

    /// Buffers `fresh`, and returns the head of the first request, or `None` if its end has not arrived. Answer it, or the
    /// error, with [`Exchange::refuse`].
    pub fn poll_refused(&mut self, fresh: &[u8], limits: &Limits) -> Result<Option<Head<'_>>, Error> {
        self.keep(fresh);
        Ok(Head::parse(&self.input, limits)?.map(|(head, _)| head))
    }

    /// The path of a GET or HEAD that is incomplete or was refused, as sent, if its request line has arrived. `fresh` is what
    /// [`Exchange::poll_request`] has left of its input.
    pub fn incomplete_path<'a>(&'a self, fresh: &'a [u8]) -> Option<&'a str> {
        partial::path(if self.has_input() { &self.input[self.start..] } else { fresh })
    }
}
