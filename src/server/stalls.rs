//! Clients whose peers confirm nothing for a while (docs/protocol.md, What it has received).
//!
//! A client may give up a connection over which nothing comes, and its kernel still confirms what comes later. So what was
//! confirmed while the connection worked must be known. Each client that was written to is looked at once a second until its
//! peer has confirmed all of it: one system call. Clients to whom nothing is sent cost nothing.

use core::time::Duration;

use crate::{
    clock::Time,
    key::{ClientKey, ConnKey, Slots},
    server::conn::Conn,
    state::State,
};

/// The clients that are looked at.
pub struct Stalls {
    watched: Vec<Watch>,
    due: Time,
}

/// A client to whom something was sent.
struct Watch {
    client: ClientKey,
    conn: ConnKey,
    /// What had been sent when it was looked at last: [`Conn::sent`].
    sent: u32,
}

impl Default for Stalls {
    fn default() -> Self {
        Stalls { watched: Vec::new(), due: Time::NEVER }
    }
}

impl Stalls {
    /// Begins to look at a client, of which everything up to `sent` is confirmed.
    pub fn watch(&mut self, client: ClientKey, conn: ConnKey, sent: u32, now: Time) {
        if self.watched.is_empty() {
            self.due = now.after(INTERVAL);
        }
        self.watched.push(Watch { client, conn, sent });
    }

    /// When to call [`Stalls::look`] next.
    pub fn deadline(&self) -> Time {
        self.due
    }

    /// Looks at the clients to whom something was sent. What a peer has not confirmed since the last look stalls: what it has
    /// confirmed until now is noted, and the client is asked whether it is there.
    pub fn look(&mut self, conns: &mut Slots<ConnKey, Conn>, state: &mut State, now: Time) {
        if self.due > now {
            return;
        }
        self.watched.retain_mut(|watch| {
            let conn = conns.get_mut(watch.conn).filter(|conn| !conn.dropped);
            let Some(conn) = conn.filter(|conn| conn.client() == Some(watch.client)) else { return false };
            let unconfirmed = match state.may_stall(watch.client) {
                true => conn.socket.unconfirmed().filter(|bytes| *bytes > 0),
                false => None,
            };
            let Some(unconfirmed) = unconfirmed else {
                conn.watched = false;
                return false;
            };
            if is_before(conn.sent.wrapping_sub(unconfirmed), watch.sent) {
                state.note_unconfirmed(watch.client, Some(unconfirmed));
                state.note_stall(watch.client);
            }
            watch.sent = conn.sent;
            true
        });
        self.due = if self.watched.is_empty() { Time::NEVER } else { now.after(INTERVAL) };
    }
}

/// Whether one number of bytes is less than another, although they begin at 0 again after 4 GiB.
fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) > u32::MAX / 2
}

/// Between two looks. A client that gives up sooner than two of them after the network has failed may lose messages.
const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_compared_across_an_overflow() {
        assert!(is_before(1, 2) && !is_before(2, 2) && !is_before(3, 2));
        assert!(is_before(u32::MAX, 0) && is_before(u32::MAX - 9, 5) && !is_before(5, u32::MAX));
    }
}
