//! The data of messages.

use super::bytes::write_base64;
use crate::{json::write_string, socketio::placeholder};

/// The data of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data<'a> {
    /// A string.
    Text(&'a str),
    /// A JSON value, which is forwarded verbatim.
    Json(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// A JSON value with placeholders for attachments, from a Socket.IO client.
    Mixed {
        /// The value.
        json: &'a str,
        /// The attachments, by the numbers in the placeholders.
        attachments: &'a [Vec<u8>],
    },
}

impl<'a> Data<'a> {
    /// The bytes, if the data is nothing but bytes.
    pub fn only_bytes(self) -> Option<&'a [u8]> {
        match self {
            Data::Binary(bytes) => Some(bytes),
            Data::Mixed { json, attachments } => match placeholder::find(json).as_slice() {
                [(place, number)] if place.len() == json.trim().len() => attachments.get(*number).map(Vec::as_slice),
                _ => None,
            },
            Data::Text(_) | Data::Json(_) => None,
        }
    }

    /// Appends the data as JSON, with bytes as `{"_base64":"…"}`.
    pub fn write_json(self, out: &mut Vec<u8>) {
        match self {
            Data::Text(text) => write_string(out, text),
            Data::Json(json) => out.extend_from_slice(json.as_bytes()),
            Data::Binary(bytes) => write_base64(out, bytes),
            Data::Mixed { json, attachments } => {
                placeholder::replace(json, out, |number, out| {
                    write_base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
                });
            }
        }
    }

    /// The size in bytes, attachments included.
    pub fn size(self) -> usize {
        match self {
            Data::Text(text) | Data::Json(text) => text.len(),
            Data::Binary(bytes) => bytes.len(),
            Data::Mixed { json, attachments } => json.len() + attachments.iter().map(Vec::len).sum::<usize>(),
        }
    }

    /// The number of attachments of a Socket.IO packet with this data.
    pub fn attachment_count(self) -> usize {
        match self {
            Data::Text(_) | Data::Json(_) => 0,
            Data::Binary(_) => 1,
            Data::Mixed { attachments, .. } => attachments.len(),
        }
    }

    /// An attachment. `index` is below [`Data::attachment_count`].
    pub fn attachment(self, index: usize) -> &'a [u8] {
        match self {
            Data::Binary(bytes) => bytes,
            Data::Mixed { attachments, .. } => &attachments[index],
            Data::Text(_) | Data::Json(_) => &[],
        }
    }
}
