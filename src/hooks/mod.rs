//! Calls to the business backend: one HTTP POST for each connect, disconnect and message (docs/hooks.md).
//!
//! [`Hooks`] encodes the calls, queues them, and keeps for each the session that waits for the answer. It has no
//! socket: the server takes calls from [`Hooks::poll_send`], sends them, and reports the response or the [`AttemptError`].
//! Calls of one [`Lane`] (a client in a namespace) are sent one after the other, in order. Lanes take turns. The queue
//! is bounded in calls and bytes, for each lane and in all; the bytes include all that is kept for a call.

pub mod answer;
pub mod body;
pub mod breaker;
pub mod call;
pub mod calls;
pub mod dispatcher;
pub mod failure;
pub mod lanes;
pub mod retry;

pub use self::{
    answer::{Answer, Emit, To},
    call::{Call, Kind, Lane},
    calls::{Connecting, Hooks, Waiting},
    dispatcher::Finished,
    failure::{AttemptError, Failure},
};
