//! Messages and events: data, ids, and their encoding in each form in which clients receive them.

pub mod author;
pub mod bytes;
pub mod client_event;
pub mod data;
pub mod event;
pub mod form;
pub mod id;
pub mod id_clock;
pub mod lines;
pub mod new_msg;
pub mod stream;
pub mod target;

pub use self::{
    author::Author, client_event::ClientEvent, data::Data, event::Event, form::Form, id::MessageId, id_clock::IdClock,
    new_msg::Message, target::Target,
};
