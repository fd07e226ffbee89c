//! Whether the link to Redis works, logged once for each change.

use core::time::Duration;

use log::{info, warn};

use crate::{clock::Time, config::RedisUrl, health::Health, message_log::MessageLog, text::truncate};

/// The health of the link, and the errors that determine it.
#[derive(Default)]
pub struct Status {
    /// The last error reply of Redis, and its time.
    error: Option<(String, Time)>,
    /// Whether that was the reply to a publication. Then the link counts as failing until a publication succeeds.
    mute: bool,
    health: Health,
}

impl Status {
    /// Starts again with a new configuration: not connected yet, or off.
    pub fn reset(&mut self, on: bool) {
        let health = if on { Health::Failing(NOT_YET.into()) } else { Health::Off };
        *self = Status { health, ..Status::default() };
    }

    /// Handles an error reply of Redis. The error of a publication is not replaced by that of another command: it is
    /// more serious, because other relays get nothing.
    pub fn handle_error(&mut self, why: &str, publishing: bool, now: Time) {
        if publishing || !self.mute {
            self.error = Some((truncate(why, LONGEST_WHY).to_owned(), now));
            self.mute = publishing;
        }
    }

    /// Handles the success of a publication. Returns whether an earlier one had failed.
    pub fn handle_published(&mut self) -> bool {
        let news = self.mute;
        if news {
            (self.mute, self.error) = (false, None);
        }
        news
    }

    /// Handles the loss of the publisher connection. The next one may have other permissions: the reply to its `hello`
    /// shows that.
    pub fn handle_end(&mut self) {
        self.mute = false;
    }

    /// Whether to test now if publishing works again: once per heartbeat after an error.
    pub fn wants_probe(&mut self, heartbeat: Duration, now: Time) -> bool {
        match &mut self.error {
            Some((_, since)) if self.mute && now.since(*since) >= heartbeat => {
                *since = now;
                true
            }
            _ => false,
        }
    }

    /// Determines the health. `unready` is set if a connection is not ready, and contains the reason if one was tried.
    pub fn update(
        &mut self,
        unready: Option<Option<&str>>,
        heartbeat: Duration,
        (url, node): (&RedisUrl, &str),
        log: &mut MessageLog,
        now: Time,
    ) {
        self.error.take_if(|(_, since)| !self.mute && now.since(*since) > heartbeat * 2);
        let health = match (unready, &self.error) {
            (None, None) => Health::Fine,
            (None, Some((why, _))) => Health::Failing(format!("it refuses commands: {why}")),
            (Some(None), _) => Health::Failing(self.health.reason().unwrap_or(NOT_YET).to_owned()),
            (Some(Some(why)), _) => Health::Failing(why.to_owned()),
        };
        match (&self.health, &health) {
            (Health::Failing(_), Health::Fine) => {
                info!("redis: linked to {url} as {node}");
                log.system("redis", |line| line.text("state", "linked"));
            }
            (Health::Fine, Health::Failing(why)) => {
                warn!("redis: {url}: {why}; clients of this relay are served, other relays are not reached");
                log.system("redis", |line| line.text("state", why));
            }
            (Health::Failing(before), Health::Failing(why)) if before == NOT_YET && why != NOT_YET => {
                warn!("redis: {url}: {why}; trying again");
                log.system("redis", |line| line.text("state", why));
            }
            _ => {}
        }
        self.health = health;
    }

    /// The health for operators' pages. An error of Redis is reduced to its code, the first word, because the rest may
    /// name users and keys, which must not leave the log.
    pub fn public(&self) -> Health {
        let brief = |why: &str| {
            let (what, said) = why.split_once(": ").filter(|(what, _)| what.contains("refuse"))?;
            let code = said.split(' ').next().filter(|code| *code != "ERR")?;
            Some(format!("{what}: {code}"))
        };
        match &self.health {
            Health::Failing(why) => Health::Failing(brief(why).unwrap_or_else(|| why.clone())),
            health => health.clone(),
        }
    }
}

const NOT_YET: &str = "not connected yet";
/// The most bytes of a reason.
pub const LONGEST_WHY: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn update(status: &mut Status, unready: Option<Option<&str>>, seconds: u64) -> Health {
        let url = RedisUrl::parse("redis://h").unwrap();
        status.update(unready, HEARTBEAT, (&url, "abc123"), &mut MessageLog::default(), at(seconds));
        status.public()
    }

    fn failing(why: &str) -> Health {
        Health::Failing(why.into())
    }

    #[test]
    fn connections() {
        let mut status = Status::default();
        status.reset(true);
        assert_eq!(update(&mut status, Some(None), 0), failing("not connected yet"));
        assert_eq!(update(&mut status, Some(Some("reset")), 0), failing("reset"));
        assert_eq!(update(&mut status, Some(None), 0), failing("reset"), "the reason stays until there is another");
        assert_eq!(update(&mut status, None, 0), Health::Fine);
        assert_eq!(update(&mut status, Some(Some("refused: WRONGPASS user x")), 0), failing("refused: WRONGPASS"));
        status.reset(false);
        assert_eq!(status.public(), Health::Off);
    }

    #[test]
    fn refused_commands() {
        let mut status = Status::default();
        status.handle_error("OOM command not allowed", false, at(0));
        assert_eq!(update(&mut status, None, 10), failing("it refuses commands: OOM"));
        assert_eq!(update(&mut status, None, 11), Health::Fine, "errors to other commands are forgotten");
        status.handle_error("NOPERM user x", true, at(20));
        status.handle_error("OOM", false, at(21));
        assert!(!status.wants_probe(HEARTBEAT, at(24)) && status.wants_probe(HEARTBEAT, at(25)));
        assert_eq!(update(&mut status, None, 99), failing("it refuses commands: NOPERM"));
        assert!(status.handle_published() && !status.handle_published());
        assert_eq!(update(&mut status, None, 99), Health::Fine);
    }
}
