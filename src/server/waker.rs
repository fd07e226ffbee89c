//! The waker, which ends the event loop's wait from another thread.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

use mio::{Poll, Token, Waker};

use super::tokens;

/// Returns the waker of `poll`, and creates it on first use: a poll can have only one.
pub fn waker(made: &mut Option<Arc<Waker>>, poll: &Poll) -> io::Result<Arc<Waker>> {
    if made.is_none() {
        *made = Some(Arc::new(Waker::new(poll.registry(), Token(tokens::WAKER))?));
    }
    made.clone().ok_or_else(|| ErrorKind::NotFound.into())
}
