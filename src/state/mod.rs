//! Who is connected, who is in which room, and what is queued for whom. [`State`] knows no feature: every feature works on it.
//!
//! Two halves. The *registry* has tenants, namespaces, clients, sessions, and rooms with their members. *Delivery* encodes a
//! message once for each form, queues it in the members' outboxes, and keeps the list of clients to be flushed. No socket, no
//! clock, no file: what must happen outside is an [`Effect`].

pub mod client;
pub mod delivery;
pub mod directory;
pub mod effect;
pub mod engine;
pub mod identity;
pub mod info;
pub mod membership;
pub mod namespace;
pub mod rate;
pub mod record;
pub mod refusal;
pub mod registry;
pub mod replies;
pub mod room;
pub mod session;
pub mod sid;
pub mod socket;
pub mod stats;
pub mod tenant;
pub mod transport;
pub mod user_index;

pub use self::{
    client::Client,
    effect::Effect,
    info::SessionInfo,
    namespace::{MAIN, NamespaceId},
    refusal::Refusal,
    registry::State,
    session::Session,
    stats::Stats,
    tenant::TenantId,
};
