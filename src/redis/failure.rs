//! Why a connection to Redis cannot be used, and what errors and descriptions of a server say about it.

use core::fmt;

use super::resp::Reply;

/// Why a connection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses it with this error: a wrong password, a missing permission, a database that does not exist.
    Refused(String),
    /// The connection is lost, or the server does not respond; with the reason.
    Lost(String),
    /// The server is a replica, or became one: another server is the master now.
    Replica,
}

impl Failure {
    /// What the error reply to a command says about the connection, if it makes it useless: the server is a replica,
    /// is not ready, or asks for a password.
    pub fn of_command(why: &str) -> Option<Failure> {
        match why.split(' ').next().unwrap_or_default() {
            "READONLY" | "MASTERDOWN" => Some(Failure::Replica),
            "LOADING" | "TRYAGAIN" => Some(Failure::Lost(why.into())),
            "NOAUTH" | "WRONGPASS" => Some(Failure::Refused(why.into())),
            // The server is the master, and publishes even if it takes no writes (OOM, MISCONF, NOREPLICAS, NOPERM).
            _ => None,
        }
    }

    /// Why a server that describes itself like this cannot be used.
    pub fn of_hello(reply: Reply) -> Option<Failure> {
        let parts = reply.array()?;
        let value = |name: &[u8]| parts.chunks_exact(2).find(|pair| pair[0].bytes() == Some(name))?[1].bytes();
        if value(b"mode") == Some(b"sentinel") {
            let why = "it is a Sentinel: write redis+sentinel://HOST:PORT/MASTER, or name the port of the master";
            return Some(Failure::Lost(why.into()));
        }
        (value(b"role")? != b"master").then_some(Failure::Replica)
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(error) => write!(f, "refused: {error}"),
            Failure::Lost(why) => f.write_str(why),
            Failure::Replica => f.write_str("the server is a read-only replica: redis.url must lead to the master"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors that make a connection useless, and those of a master that still publishes.
    #[test]
    fn errors_of_commands() {
        for demoted in ["READONLY You can't write against a read only replica.", "MASTERDOWN Link with MASTER is down"]
        {
            assert_eq!(Failure::of_command(demoted), Some(Failure::Replica));
        }
        for other in ["LOADING Redis is loading the dataset in memory", "TRYAGAIN x"] {
            assert_eq!(Failure::of_command(other), Some(Failure::Lost(other.into())));
        }
        for password in ["NOAUTH Authentication required.", "WRONGPASS invalid"] {
            assert_eq!(Failure::of_command(password), Some(Failure::Refused(password.into())));
        }
        for kept in ["OOM", "MISCONF x", "NOREPLICAS Not enough good replicas to write.", "NOPERM x", "ERR x", ""] {
            assert_eq!(Failure::of_command(kept), None, "{kept}");
        }
    }
}
