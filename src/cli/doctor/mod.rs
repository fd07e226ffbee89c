//! `relay doctor`: finds out what is wrong with relay's machine, or with the way from a client through a proxy to relay.
//!
//! `inside.rs` and `outside.rs` gather facts. Functions beside each kind of check decide what they mean, without a network.

mod advice;
mod answer;
mod body;
mod client_address;
pub mod command;
mod finding;
mod frames;
mod hooks;
mod idle;
mod inside;
mod machine;
mod origin;
mod outside;
mod place;
mod polling;
mod process;
mod redis;
mod seen;
mod stranger;
mod stream;
mod target;
mod upgrade;

use std::time::Duration;

use lexopt::Parser;

use self::{command::DOCTOR, finding::Report, inside::Inside, outside::Outside, target::Target};
use super::{
    arguments::Stop,
    credentials::{Account, Purpose},
    error::{Error, UsageError},
    options::Options,
};
use crate::config::Config;

/// What to examine.
#[derive(Debug)]
pub struct Doctor {
    account: Account,
    target: Option<Target>,
    idle: Duration,
    origin: Option<String>,
    is_json: bool,
}

impl Doctor {
    /// Parses what follows `doctor`.
    pub fn parse(parser: &mut Parser) -> Result<Doctor, Stop> {
        let mut options = Options::parse(parser, &DOCTOR)?;
        let url = options.only_word()?;
        if let Some(option) =
            ["connect", "idle", "origin", "ca-file"].into_iter().find(|name| url.is_none() && options.has(name))
        {
            return Err(UsageError::NeedsUrl(option).into());
        }
        let mut target = match &url {
            Some(url) => Some(Target::parse(url).ok_or_else(|| UsageError::DoctorUrl(url.clone()))?),
            None => None,
        };
        if let Some(given) = options.take("connect") {
            let address = given.parse().map_err(|_| UsageError::DoctorAddress(given))?;
            target.iter_mut().for_each(|target| target.address = Some(address));
        }
        let idle = match options.take("idle") {
            None => IDLE,
            Some(given) => match given.parse() {
                Ok(seconds @ 0..=3600) => seconds,
                _ => return Err(UsageError::Idle(given).into()),
            },
        };
        let (origin, is_json) = (options.take("origin"), options.has("json"));
        if let Some(origin) = origin.as_ref().filter(|origin| !origin.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(UsageError::DoctorOrigin(origin.clone()).into());
        }
        let account = Account::new(&mut options)?;
        Ok(Doctor { account, target, idle: Duration::from_secs(idle), origin, is_json })
    }

    /// Makes all checks and prints what they find. Fails if one does.
    pub fn run(self) -> Result<(), Error> {
        let mut report = Report::new(self.is_json);
        match self.target.clone() {
            None => Inside::new(self.account).run(&mut report),
            Some(target) => self.outside(target)?.run(&mut report),
        }
        match report.end() {
            0 => Ok(()),
            failures => Err(Error::Sick(failures)),
        }
    }

    /// What is needed to examine an address. A configuration that cannot be read is not needed.
    fn outside(mut self, target: Target) -> Result<Outside, Error> {
        let authorities = self.account.authorities()?;
        let has_key = self.account.has_key();
        let setting = self.account.setting();
        let is_known = setting.is_configured();
        let config = setting.config().cloned().ok().filter(|_| is_known).unwrap_or_default();
        // The keys of the demo are worth nothing elsewhere.
        let credentials = match is_known || has_key || is_own(&target) {
            true => self.account.credentials(Purpose::Login).map_err(|error| error.to_string()),
            false => Err("this machine has no configuration of relay: give --source and --key".into()),
        };
        let without = credentials.as_ref().err().cloned().unwrap_or_default();
        let origin = self.origin.unwrap_or_else(|| page(&config, &target));
        Ok(Outside {
            origin,
            config,
            credentials: credentials.ok(),
            without,
            authorities,
            is_quiet: self.is_json,
            idle: self.idle,
            target,
        })
    }
}

/// The origin of relay's pages: that of the address if it is listed, or the first one that is.
fn page(config: &Config, target: &Target) -> String {
    let own = target.origin();
    let listed = config.origins.first().filter(|_| !config.origins.allow(&own)).map(str::to_owned);
    listed.unwrap_or(own)
}

/// Whether an address is on this machine, as far as its name says so.
fn is_own(target: &Target) -> bool {
    target.host == "localhost" || target.host.parse::<core::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Seconds that a silent connection is watched: many proxies close it after 60.
const IDLE: u64 = 70;
