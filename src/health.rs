//! The health of a service that relay depends on.

/// The health of the message log's disk, of the backend, or of the connections to Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not configured, or not tried yet.
    #[default]
    Off,
    /// The last attempt succeeded.
    Fine,
    /// The last attempt failed, for this reason.
    Failing(String),
}

impl Health {
    /// The reason of a failure.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Health::Failing(reason) => Some(reason),
            Health::Off | Health::Fine => None,
        }
    }
}
