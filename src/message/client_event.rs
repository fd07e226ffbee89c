//! Events from clients.

use serde_json::value::RawValue;

use super::event::Event;
use crate::{
    json::{MAX_DEPTH, Object, array_items, is_deeper, scalar},
    text::text_without_bom,
};

/// An event from a client, for the rules of its namespace.
#[derive(Clone, Copy, Debug)]
pub struct ClientEvent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments as a JSON array.
    pub list: &'a str,
    /// The attachments that its placeholders refer to.
    pub attachments: &'a [Vec<u8>],
    /// The id of the acknowledgement that the client asks for, as JSON.
    pub ack: Option<&'a str>,
}

impl<'a> ClientEvent<'a> {
    /// Its arguments without the brackets.
    fn args(&self) -> &'a str {
        array_items(self.list)
    }

    /// Whether an argument is nested more deeply than other relays accept.
    pub fn is_too_deep(&self) -> bool {
        is_list_too_deep(self.list)
    }

    /// The event to forward under `name`, with its arguments verbatim.
    pub fn forward(&self, name: &'a str) -> Event<'a> {
        Event { attachments: self.attachments, ..Event::new(name, self.args()) }
    }

    /// A field of its first argument, which is an object or the JSON text of one. Returns a string's value or a
    /// number's text, and an empty string otherwise.
    pub fn field(&self, name: &str) -> String {
        let list: Vec<&RawValue> = serde_json::from_str(self.list).unwrap_or_default();
        let Some(first) = list.first() else { return String::new() };
        let text = scalar(first);
        let object = if first.get().starts_with('"') { text_without_bom(&text) } else { first.get() };
        let fields: Object<'_> = serde_json::from_str(object).unwrap_or_default();
        fields.get(name).map_or_else(String::new, |value| scalar(value).into_owned())
    }
}

/// Whether an argument in `list`, a JSON array, is nested more deeply than other relays accept.
pub fn is_list_too_deep(list: &str) -> bool {
    is_deeper(list, MAX_DEPTH + 1)
}
