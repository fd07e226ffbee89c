//! Who sent a message, as its receivers are told.

/// Who sent a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Author<'a> {
    /// A backend.
    #[default]
    Backend,
    /// A client. The text is a JSON object that says which one, or empty if its source does not tell (`sender`).
    Client(&'a str),
}

impl Author<'_> {
    /// Whether it is a client.
    pub fn is_client(self) -> bool {
        self != Author::Backend
    }

    /// Appends the members that say so to a JSON object that has others.
    pub fn write(self, out: &mut Vec<u8>) {
        let Author::Client(from) = self else { return };
        out.extend_from_slice(b",\"from_client\":true");
        if !from.is_empty() {
            out.extend_from_slice(b",\"from\":");
            out.extend_from_slice(from.as_bytes());
        }
    }
}
