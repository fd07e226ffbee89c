//! `relay health`: asks a relay how it is, for container engines and scripts.

use lexopt::Parser;

use super::{
    arguments::Stop,
    commands,
    credentials::Account,
    endpoint::{Endpoint, Sends, exchange},
    error::Error,
    options::Options,
    terminal::say,
};

/// The relay to ask.
#[derive(Debug)]
pub struct Health {
    account: Account,
}

impl Health {
    /// Parses what follows `health`.
    pub fn parse(parser: &mut Parser) -> Result<Health, Stop> {
        let mut options = Options::parse(parser, &commands::HEALTH)?;
        options.no_more_words()?;
        Ok(Health { account: Account::new(&mut options)? })
    }

    /// Prints the answer. Fails unless the relay serves clients.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Question)?;
        let Endpoint { host, path, .. } = &endpoint;
        let request = format!("GET {path}/healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let failed = |error: std::io::Error| Error::Connection(endpoint.to_string(), error.to_string());
        let (status, answer) = exchange(&mut endpoint.connect()?, &request).map_err(failed)?;
        say(&format!("{}\n", String::from_utf8_lossy(&answer).trim_end()));
        match status {
            200 => Ok(()),
            status => Err(Error::Status(status, "it does not serve clients".into())),
        }
    }
}
