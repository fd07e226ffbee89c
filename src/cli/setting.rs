//! The configuration of this machine, as far as a client needs it: the address, the sources with their keys, the admin token.

use std::{path::Path, time::Duration};

use super::{
    endpoint::{Endpoint, Sends},
    error::Error,
    options::Options,
};
use crate::{
    config::{Config, Secret, Source},
    server::{
        config_file::{self, Origin, Unread},
        process::TOKEN_FILE,
    },
    sign::TokenPolicy,
};

/// The configuration, which is read when something of it is needed.
#[derive(Debug)]
pub struct Setting {
    origin: Origin,
    read: Option<(Config, Vec<Unread>)>,
}

impl Setting {
    /// The configuration of `--config`, or else the one that `relay serve` would use.
    pub fn new(options: &mut Options) -> Setting {
        Setting { origin: Origin::find(options.path("config")), read: None }
    }

    /// Where the configuration comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether this machine has a configuration.
    pub fn is_configured(&self) -> bool {
        self.origin != Origin::Demo
    }

    /// Reads the configuration. Fails if it is invalid; files that it names may be unreadable.
    pub fn config(&mut self) -> Result<&Config, Error> {
        Ok(&self.read()?.0)
    }

    fn read(&mut self) -> Result<&(Config, Vec<Unread>), Error> {
        if self.read.is_none() {
            self.read = Some(self.origin.load_for_client().map_err(Error::Config)?);
        }
        Ok(self.read.as_ref().expect("it was read"))
    }

    /// The only source, or else the one that is called `demo`.
    pub fn only_source(&mut self) -> Result<String, Error> {
        let name = self.name();
        let names: Vec<String> = self.config()?.source_names().into_iter().map(String::from).collect();
        match names.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Error::NoSource(name)),
            _ if names.iter().any(|name| name == "demo") => Ok("demo".into()),
            _ => Err(Error::WhichSource(name, names)),
        }
    }

    /// A source, if it is configured.
    pub fn source(&mut self, name: &str) -> Result<Option<&Source>, Error> {
        Ok(self.config()?.sources.get(name))
    }

    /// The sources with their keys; none if the configuration cannot be read.
    pub fn keys(&mut self) -> Vec<(String, Secret)> {
        let sources = self.config().map(|config| config.sources.iter());
        sources.into_iter().flatten().map(|(name, source)| (name.clone(), source.sign_key.clone())).collect()
    }

    /// The key of a source. Fails if it is not configured, or if its file cannot be read.
    pub fn key(&mut self, source: &str) -> Result<String, Error> {
        let name = self.name();
        let (config, unread) = self.read()?;
        let Some(found) = config.sources.get(source) else {
            return Err(Error::UnknownSource(name, source.into(), config.sources.keys().cloned().collect()));
        };
        let key = found.sign_key.expose();
        match unread.iter().find(|unread| unread.content == key) {
            Some(unread) => Err(Error::UnreadKey(source.into(), unread.clone())),
            None => Ok(key.into()),
        }
    }

    /// The shared secret of a source's tokens. Fails if it has none, or if its file cannot be read.
    pub fn token_secret(&mut self, source: &str) -> Result<String, Error> {
        let name = self.name();
        let (config, unread) = self.read()?;
        let Some(found) = config.sources.get(source) else {
            return Err(Error::UnknownSource(name, source.into(), config.sources.keys().cloned().collect()));
        };
        // A key that is named last is the newest.
        let secret = found.token_secrets().last().ok_or_else(|| Error::NoTokenSecret(name, source.into()))?;
        match unread.iter().find(|unread| unread.content == secret) {
            Some(unread) => Err(Error::UnreadKey(source.into(), unread.clone())),
            None => Ok(secret.into()),
        }
    }

    /// What the tokens of a source must say, and the name of the key of [`Setting::token_secret`].
    pub fn token_policy(&mut self, source: &str) -> (TokenPolicy, Option<String>) {
        let found = self.config().ok().and_then(|config| config.sources.get(source)?.jwt.clone()).unwrap_or_default();
        let kid = found.keys.iter().rev().find(|key| key.expose().is_some()).and_then(|key| key.kid.clone());
        (found, kid)
    }

    /// The admin token: that of the configuration, or else the one that relay wrote to its runtime directory.
    pub fn token(&mut self) -> Option<String> {
        let (config, unread) = self.read().ok()?;
        match &config.admin_token {
            Some(token) => {
                Some(token.expose().to_owned()).filter(|token| !unread.iter().any(|unread| unread.content == *token))
            }
            None => config_file::read_secret(&Path::new(RUNTIME_DIRECTORY).join(TOKEN_FILE)).ok(),
        }
    }

    /// `sign_window` of the configuration if it was read, otherwise the default.
    pub fn sign_window(&self) -> Duration {
        self.read.as_ref().map_or_else(|| Config::default().sign_window, |(config, _)| config.sign_window)
    }

    /// The addresses that a relay with this configuration listens on.
    pub fn endpoint(&mut self, sends: Sends) -> Result<Endpoint, Error> {
        let name = self.name();
        let config = self.config()?;
        Endpoint::listening(config, name, sends).map(Endpoint::or_url)
    }

    /// What messages call the configuration.
    fn name(&self) -> String {
        self.origin.to_string()
    }
}

/// The runtime directory of the service (`RuntimeDirectory=relay` of relay.service).
const RUNTIME_DIRECTORY: &str = "/run/relay";

/// The trimmed content of a file with a key or a token. It must be a regular file of bounded size, as in the configuration.
pub fn read_secret(file: &Path) -> Result<String, Error> {
    config_file::read_secret(file).map_err(|error| Error::Read(file.display().to_string(), error))
}
