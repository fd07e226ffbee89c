//! JSON as text. relay forwards most JSON verbatim, so it parses only the fields that it needs.

pub mod depth;
pub mod javascript;
pub mod object;
pub mod raw;
pub mod string;
pub mod style;
pub mod text;

pub use self::{
    depth::{MAX_DEPTH, MAX_PUBLICATION_DEPTH, is_deeper},
    object::ObjectWriter,
    raw::{Object, all_fields, array_items, scalar},
    string::{string, string_end},
    text::{quote, to_text, write_string, write_strings},
};
