//! An event that a client sent.

use serde_json::value::RawValue;

use super::event::Event;
use crate::json::{Object, array_items, scalar};

/// An event of a client, for the rules of its namespace.
#[derive(Clone, Copy, Debug)]
pub struct ClientEvent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments as a JSON array.
    pub list: &'a str,
    /// The bytes that belong in place of the placeholders in its arguments.
    pub attachments: &'a [Vec<u8>],
    /// The id of the acknowledgement that the client asks for.
    pub ack: Option<&'a str>,
}

impl<'a> ClientEvent<'a> {
    fn args(&self) -> &'a str {
        array_items(self.list)
    }

    /// The event to be forwarded verbatim, under `name`.
    pub fn forward(&self, name: &'a str) -> Event<'a> {
        Event { attachments: self.attachments, ..Event::new(name, self.args()) }
    }

    /// A field of its first argument, which is an object or a string that contains one; empty if there is none.
    pub fn field(&self, name: &str) -> String {
        let list: Vec<&RawValue> = serde_json::from_str(self.list).unwrap_or_default();
        let Some(first) = list.first() else { return String::new() };
        let text = scalar(first);
        let object = if first.get().starts_with('"') { &*text } else { first.get() };
        let fields: Object<'_> = serde_json::from_str(object).unwrap_or_default();
        fields.get(name).map_or_else(String::new, |value| scalar(value).into_owned())
    }
}
