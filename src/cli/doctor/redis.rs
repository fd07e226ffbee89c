//! Whether Redis can be used: connection, password, role, and its clock.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use super::{finding::Finding, place};
use crate::{
    cli::connection::Connection,
    clock::Time,
    config::{Place, Redis, RedisUrl, Sentinels, Servers},
    redis::{
        link::{Event, Link, Role},
        sentinel::SentinelQuery,
    },
    server::clock::unix_micros,
    tls::ClientTls,
};

const CHECK: &str = "redis";
/// For connecting, and for all answers.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks Redis; each Sentinel, if there are some.
pub fn check(redis: &Redis) -> Vec<Finding> {
    let Some(url) = &redis.url else { return vec![Finding::ok(CHECK, "not used: this relay is on its own")] };
    let (mut findings, master) = match &url.servers {
        Servers::One(place) => (Vec::new(), Some(place.clone())),
        Servers::Sentinels(sentinels) => masters(sentinels, redis.tls.as_ref()),
    };
    let Some(place) = master else { return findings };
    let name = place::name(&place);
    let answer = ask(&place, url, redis.tls.as_ref());
    findings.push(match answer {
        Ok(Some(clock)) => judge_clock(&name, unix_micros() / 1_000_000, clock),
        Ok(None) => Finding::ok(CHECK, format!("{name} answers as the master")),
        Err(why) => Finding::failure(CHECK, format!("{name}: {why}")),
    });
    findings
}

/// Asks each Sentinel for the master.
fn masters(sentinels: &Sentinels, tls: Option<&ClientTls>) -> (Vec<Finding>, Option<Place>) {
    let ask = |host: &(String, u16)| -> Result<(String, u16), String> {
        let place = Place::Tcp(host.0.clone(), host.1);
        let mut connection = place::connect(&place, tls, TIMEOUT).map_err(|error| error.to_string())?;
        let mut query = SentinelQuery::new(sentinels);
        connection.write_all(query.output()).map_err(|error| error.to_string())?;
        query.advance_output(query.output().len());
        let (mut piece, deadline) = ([0; 4096], Instant::now() + TIMEOUT);
        loop {
            let length = read(&mut connection, &mut piece, deadline)?;
            if let Some(found) = query.handle_input(&piece[..length])? {
                return Ok(found);
            }
        }
    };
    let (mut findings, mut found) = (Vec::new(), None);
    for host in &sentinels.hosts {
        let name = place::name(&Place::Tcp(host.0.clone(), host.1));
        match ask(host) {
            Ok((host, port)) => found = found.or(Some(Place::Tcp(host, port))),
            Err(why) => findings.push(Finding::warning(CHECK, format!("the Sentinel {name}: {why}"))),
        }
    }
    if found.is_none() {
        findings.push(Finding::failure(CHECK, "no Sentinel knows the master"));
    }
    (findings, found)
}

/// Logs in, sends PING, and asks for the role and the time, which is `None` if the user may not ask for it.
fn ask(place: &Place, url: &RedisUrl, tls: Option<&ClientTls>) -> Result<Option<u64>, String> {
    let mut connection = place::connect(place, tls, TIMEOUT).map_err(|error| error.to_string())?;
    let mut link: Link<()> = Link::new(Role::Publisher, url, "relay-doctor", &[], 1 << 16, TIMEOUT, Time::START);
    let (mut piece, deadline) = ([0; 4096], Instant::now() + TIMEOUT);
    loop {
        if !link.output().is_empty() {
            connection.write_all(link.output()).map_err(|error| error.to_string())?;
            link.advance_output(link.output().len());
        }
        let length = read(&mut connection, &mut piece, deadline)?;
        let mut input = &piece[..length];
        while let Some(event) = link.poll_event(&mut input, Time::START).map_err(|failure| failure.to_string())? {
            match event {
                Event::Ready => link.command(&[b"TIME"], (), Time::START),
                Event::Reply((), reply) => {
                    let seconds = reply.array().and_then(|parts| parts.first()?.integer());
                    return Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()));
                }
                Event::Message { .. } => {}
            }
        }
    }
}

fn read(connection: &mut Connection, piece: &mut [u8], deadline: Instant) -> Result<usize, String> {
    match connection.read_until(piece, deadline) {
        Ok(0) => Err("it closed the connection".into()),
        other => other.map_err(|error| error.to_string()),
    }
}

/// Judges the clock of Redis's machine, with which this one must agree: the ids of messages begin with the time.
fn judge_clock(name: &str, here: u64, there: u64) -> Finding {
    match here.abs_diff(there) {
        0..=2 => Finding::ok(CHECK, format!("{name} answers as the master, and its clock agrees")),
        apart => Finding::warning(
            CHECK,
            format!(
                "{name} answers as the master, but its clock is {apart} s apart from this machine's: set both by NTP"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn clocks() {
        assert_eq!(judge_clock("r", 100, 102).level, Level::Ok);
        assert_eq!(judge_clock("r", 100, 90).level, Level::Warning);
    }
}
