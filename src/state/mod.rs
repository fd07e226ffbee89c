//! The clients and sessions, the rooms they are in, and the frames that are queued for them. Every feature works on
//! [`State`], which depends on none of them.
//!
//! It has two halves. The *registry* has tenants, namespaces, clients, sessions, and rooms with their members.
//! *Delivery* encodes a message once for each form, queues it in the members' outboxes, and keeps the list of clients
//! to flush. There is no socket, clock or file here: the server carries out [`Effect`]s.

pub mod backlog;
pub mod client;
pub mod close_reason;
pub mod closing;
pub mod confirm;
pub mod delivery;
pub mod departure;
pub mod directory;
pub mod effect;
pub mod engine;
pub mod flush;
pub mod flush_queue;
pub mod grant;
pub mod idempotency;
pub mod identity;
pub mod info;
pub mod logins;
pub mod membership;
pub mod move_queue;
pub mod moves;
pub mod namespace;
pub mod notes;
pub mod object;
pub mod origins;
pub mod places;
pub mod proofs;
pub mod rate;
pub mod record;
pub mod refusal;
pub mod refusal_log;
pub mod registry;
pub mod reload;
pub mod repeat;
pub mod replay;
pub mod replies;
pub mod room;
pub mod sender;
pub mod session;
pub mod sid;
pub mod signature;
pub mod socket;
pub mod stats;
pub mod strangers;
pub mod tenant;
#[cfg(test)]
pub mod testing;
pub mod timings;
pub mod traced;
pub mod track;
pub mod transport;
pub mod user_index;
pub mod wants;

pub use self::{
    client::Client,
    departure::{Departure, End},
    effect::Effect,
    grant::{Due, Grant},
    idempotency::{FirstAnswer, Keyed},
    info::SessionInfo,
    namespace::{MAIN, NamespaceId},
    refusal::Refusal,
    refusal_log::{RefusalLog, Refused},
    registry::State,
    reload::{Reloaded, TooManySources},
    session::Session,
    signature::{Reader, Verified},
    stats::Stats,
    tenant::TenantId,
    wants::Wants,
};
