//! `relay health`: asks a relay how it is, for container engines and scripts.

use lexopt::Parser;

use super::{
    arguments::Stop,
    client::{Request, USUAL},
    commands,
    credentials::Account,
    endpoint::Sends,
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
        let answer = endpoint.ask(Request::get("/healthz"), USUAL)?;
        say(&format!("{}\n", answer.text().trim_end()));
        match answer.status {
            200 => Ok(()),
            status => Err(Error::Status(status, "it does not serve clients".into())),
        }
    }
}
