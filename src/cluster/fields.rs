//! The fields of a publication.

use std::borrow::Cow;

use super::refused::Refused;
use crate::{
    json::{Object, scalar},
    message::bytes::{self, MAX_ATTACHMENTS},
};

/// The value of a string or the text of a number. Empty if the field is missing or has another type.
pub fn text<'a>(fields: &Object<'a>, name: &str) -> Cow<'a, str> {
    fields.get(name).map_or("".into(), |raw| scalar(raw))
}

/// A whole number that is not negative.
pub fn number(fields: &Object<'_>, name: &str) -> Option<u64> {
    fields.get(name)?.get().parse().ok()
}

/// Whether a field is `true`.
pub fn flag(fields: &Object<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|raw| raw.get() == "true")
}

/// Separates JSON from the attachments that are encoded in it. Only a publication that is marked as `binary` has
/// attachments.
pub fn unpack(binary: bool, json: &str) -> Result<(Cow<'_, str>, Vec<Vec<u8>>), Refused> {
    if !binary {
        return Ok((json.into(), Vec::new()));
    }
    let (json, attachments) = bytes::unpack(json, MAX_ATTACHMENTS).ok_or(Refused::Attachment)?;
    Ok((json.into(), attachments))
}
