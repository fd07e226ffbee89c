//! Whether something that relay depends on works.

/// The state of the disk, the backend, or the link to Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It is not configured, or was not tried yet.
    #[default]
    Off,
    /// It works.
    Fine,
    /// It does not work, for this reason.
    Failing(String),
}

impl Health {
    /// Why it does not work, if it does not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Health::Failing(reason) => Some(reason),
            Health::Off | Health::Fine => None,
        }
    }
}
