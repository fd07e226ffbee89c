//! The way from a client through the proxy to relay.

use core::fmt::Display;
use std::{
    io::ErrorKind,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    advice::Advice,
    body,
    client_address::{self, CLAIMED},
    finding::{Finding, Report},
    frames, idle, origin, polling,
    seen::Seen,
    stranger, stream,
    target::{Route, TIMEOUT, Target},
    upgrade,
};
use crate::{
    cli::{
        client::{Answer, NoAnswer, Opened, Request},
        credentials::{Credentials, Fields, encode},
        handshake::Handshake,
        terminal::complain,
    },
    config::Config,
    server::clock::unix_micros,
    sign::Subject,
    tls::{CertificateError, ClientTls},
};

/// What is known of relay before it is asked.
pub struct Outside {
    /// Where clients reach it.
    pub target: Target,
    /// Its configuration, or the defaults.
    pub config: Config,
    /// With what to log in.
    pub credentials: Option<Credentials>,
    /// Why there is nothing to log in with.
    pub without: String,
    /// The origin of its pages.
    pub origin: String,
    /// A PEM file of authorities.
    pub authorities: Option<String>,
    /// Whether no progress is printed.
    pub is_quiet: bool,
    /// How long to wait whether a silent connection is closed.
    pub idle: Duration,
}

impl Outside {
    /// Makes all checks. Those that cannot say anything after a failure are left out.
    pub fn run(self, report: &mut Report) {
        let Some(route) = self.route(report) else { return };
        let Some(plain) = self.reach(&route, report) else { return };
        let seen = Seen::parse(&plain);
        self.clock(&plain, report);
        self.websocket(&route, report);
        let opened = self.handshake("socket.io", &route, self.socketio_path(), SOCKETIO, report, true);
        report.extend(opened.and_then(|opened| frames::check("socket.io", opened)));
        match polling::check(&route, self.socketio_path()) {
            Ok(finding) => report.add(finding),
            Err(error) => report.add(Finding::failure("polling", format!("a client cannot poll: {error}"))),
        }
        self.stream(&route, report);
        self.origin(&route, report);
        self.address(&route, seen.as_ref(), &plain, report);
        self.body(&route, report);
        self.idle(&route, report);
    }

    /// Looks up the name, connects to each address, and makes a TLS handshake.
    fn route(&self, report: &mut Report) -> Option<Route> {
        let target = &self.target;
        let found = match target.resolve() {
            Ok(found) => found,
            Err(error) => {
                report.add(Finding::failure("name", format!("{} has no address: {error}", target.host)));
                return None;
            }
        };
        let mut route = None;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for address in found {
            let plain = Route { target: target.clone(), address, tls: None };
            match plain.connect() {
                Ok(_) => {
                    good.push(address.ip().to_string());
                    route = route.or(Some(plain));
                }
                Err(error) => bad.push((address, error.to_string())),
            }
        }
        report.extend(reachable(&target.host, &good, &bad));
        let mut route = route?;
        if target.secure {
            self.tls(&mut route, report)?;
        }
        Some(route)
    }

    /// Makes a TLS handshake as a client does; if the certificate is refused, the next checks accept any.
    fn tls(&self, route: &mut Route, report: &mut Report) -> Option<()> {
        let settings = ClientTls::new(self.authorities.clone(), None).and_then(|mut tls| {
            if tls.needs_system_authorities() {
                tls.load_system_authorities()?;
            }
            Ok(tls)
        });
        let failed = |error: CertificateError| Finding::failure("tls", error.to_string());
        let settings = settings.map_err(|error| report.add(failed(error))).ok()?;
        route.tls = Some(settings);
        match route.connect() {
            Ok(connection) => {
                let now = unix_micros() / 1_000_000;
                report.extend(connection.certificates().map(|(count, end)| certificate(count, end, now)));
                return Some(());
            }
            Err(error) => {
                let is_certificate = error.kind() == ErrorKind::InvalidData;
                let text = error.to_string().replace(
                    "name the file with its CA in ca_file",
                    "the server must send the certificates of its issuers too, or clients must know the authority (--ca-file)",
                );
                let finding = Finding::failure("tls", format!("clients cannot connect: {text}"));
                report.add(if is_certificate { finding.advise(Advice::Certificate) } else { finding });
            }
        }
        route.tls = Some(ClientTls::unverified().map_err(|error| report.add(failed(error))).ok()?);
        route.connect().ok().map(drop)
    }

    /// Asks relay what it sees of a request.
    fn reach(&self, route: &Route, report: &mut Report) -> Option<Answer> {
        let path = self.echo_path();
        let answer = match route.ask(Request::get(&path)) {
            Ok(answer) => answer,
            Err(error) => {
                report.add(Finding::failure("reach", format!("no answer to a request: {error}")));
                return None;
            }
        };
        let old = answer.status == 426 && answer.is_of_relay();
        match Seen::parse(&answer) {
            Some(seen) if seen.http == "1.0" => report.add(
                Finding::failure(
                    "http",
                    "the proxy speaks HTTP/1.0 to relay: no WebSocket, a new connection for each poll",
                )
                .advise(Advice::Upgrade),
            ),
            Some(_) => report.add(Finding::ok("reach", "requests reach relay, with HTTP/1.1")),
            None if old => report.add(Finding::warning("reach", "this relay is older, and cannot say what it sees")),
            None => {
                report.add(stranger::judge("reach", &self.config.websocket.path, &answer, &route.target));
                // The other paths may lead to relay all the same, unless nothing does.
                return (answer.status == 404).then_some(answer);
            }
        }
        Some(answer)
    }

    /// Compares the clocks, as far as the time of an answer says something.
    fn clock(&self, answer: &Answer, report: &mut Report) {
        let there = httpdate::parse_http_date(answer.header("date")).ok();
        let there = there.and_then(|there| there.duration_since(std::time::UNIX_EPOCH).ok());
        let window = self.config.sign_window.as_secs();
        report.extend(there.map(|there| clock(unix_micros() / 1_000_000, there.as_secs(), window)));
    }

    fn echo_path(&self) -> String {
        format!("{}?echo=1", self.config.websocket.path)
    }

    fn socketio_path(&self) -> &str {
        self.config.socketio.paths.first().map_or("/socket.io/", String::as_str)
    }

    /// The query of a login; `None` without a key.
    fn login(&self) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        let subject = Subject::Connect { source: &credentials.source, userid: USER, room_ids: ROOM };
        let mut fields: Fields =
            [("source", credentials.source.as_str()), ("room_ids", ROOM), ("userid", USER), ("username", USER)]
                .map(|(name, value)| (name, value.to_owned()))
                .into();
        fields.extend(credentials.sign(&subject));
        Some(encode(&fields))
    }

    /// Opens a plain WebSocket; logged in, if possible.
    fn websocket(&self, route: &Route, report: &mut Report) {
        const CHECK: &str = "websocket";
        let path = &self.config.websocket.path;
        // First without a login: with `echo=1` relay says what has become of the upgrade.
        let first = self.handshake(CHECK, route, path, "echo=1", report, self.credentials.is_none());
        let (Some(query), Some(credentials), Some(_)) = (self.login(), &self.credentials, first) else { return };
        let Some(opened) = self.handshake(CHECK, route, path, &query, report, true) else { return };
        if opened.answer.status == 101 {
            report.extend(frames::check(CHECK, opened));
            return;
        }
        let (source, why) = (&credentials.source, opened.answer.describe());
        report.add(Finding::warning("login", format!("relay refuses the login of source {source:?} with {why}")));
    }

    /// Makes a handshake, and adds what is wrong with it, or also that nothing is. `None` if it fails.
    fn handshake(
        &self,
        check: &'static str,
        route: &Route,
        path: &str,
        query: &str,
        report: &mut Report,
        reports_success: bool,
    ) -> Option<Opened> {
        let handshake = Handshake::new();
        let target = format!("{path}?{query}");
        let opened = route.open(handshake.request(&target), TIMEOUT, |_| false);
        match opened {
            Ok(opened) => {
                let finding = upgrade::judge(check, path, &handshake, &opened.answer, &route.target);
                let is_fine = finding.level == super::finding::Level::Ok;
                if !is_fine || reports_success {
                    report.add(finding);
                }
                Some(opened).filter(|_| is_fine)
            }
            Err(error) => {
                report.add(
                    Finding::failure(check, format!("no answer to the handshake of a WebSocket at {path}: {error}"))
                        .advise(Advice::Upgrade),
                );
                None
            }
        }
    }

    /// Opens a stream.
    fn stream(&self, route: &Route, report: &mut Report) {
        report.add(match self.open_stream(route) {
            None => Finding::skipped("stream", format!("a stream needs a login: {}", self.without)),
            Some(Ok(opened)) => stream::judge(Some(&opened.answer), &route.target),
            Some(Err(NoAnswer::Late)) => stream::judge(None, &route.target),
            Some(Err(error)) => Finding::failure("stream", format!("no stream can be opened: {error}")),
        });
    }

    /// Opens a stream and waits for its first bytes; `None` without a key.
    fn open_stream(&self, route: &Route) -> Option<Result<Opened, NoAnswer>> {
        let path = format!("/sse?{}", self.login()?);
        let request = Request::get(&path).with("Accept", "text/event-stream").with("Accept-Encoding", "gzip, br");
        Some(route.open(request, FIRST_BYTES, stream::has_begun))
    }

    /// Opens a WebSocket to hold: with a login, or else one of Socket.IO, which needs none at first.
    fn open_websocket(&self, route: &Route) -> Option<Opened> {
        let open = |path: &str, query: &str| {
            let (handshake, target) = (Handshake::new(), format!("{path}?{query}"));
            let opened = route.open(handshake.request(&target), TIMEOUT, |_| false).ok()?;
            Some(opened).filter(|opened| handshake.accepts(&opened.answer))
        };
        let own = self.login().and_then(|query| open(&self.config.websocket.path, &query));
        own.or_else(|| open(self.socketio_path(), SOCKETIO))
    }

    /// Sends the origin of a page.
    fn origin(&self, route: &Route, report: &mut Report) {
        let (path, poll) = (self.echo_path(), format!("{}?EIO=4&transport=polling", self.socketio_path()));
        let ask = |path: &str| route.ask(Request::get(path).with("Origin", &self.origin));
        match (ask(&path), ask(&poll)) {
            (Ok(seen), Ok(poll)) => report.extend(origin::judge(&self.origin, Seen::parse(&seen).as_ref(), &poll)),
            (Err(error), _) | (_, Err(error)) => {
                report.add(Finding::failure("origin", format!("no answer to a request of a page: {error}")));
            }
        }
    }

    /// Asks whose address relay sees, and claims to have another one.
    fn address(&self, route: &Route, seen: Option<&Seen>, plain: &Answer, report: &mut Report) {
        let path = self.echo_path();
        let claiming = route.ask(Request::get(&path).with("X-Forwarded-For", CLAIMED)).ok();
        let claiming = claiming.as_ref().and_then(Seen::parse);
        let is_local = route.connect().is_ok_and(|connection| connection.is_local());
        // relay does not name itself, most proxies do; and somebody ends TLS if relay does not.
        let is_named = !plain.header("server").is_empty() || !plain.header("via").is_empty();
        let has_proxy = is_named || route.target.secure && seen.is_some_and(|seen| seen.plain);
        report.add(match (seen, claiming) {
            (Some(seen), Some(claiming)) => client_address::judge(seen, &claiming, has_proxy, is_local),
            _ => Finding::skipped("address", "relay does not say what it sees"),
        });
    }

    /// Posts as much as relay takes.
    fn body(&self, route: &Route, report: &mut Report) {
        // Larger ones would only cost time.
        let size = self.config.limits.body.min(LARGEST_BODY);
        let mut form = b"source=relay-doctor&room_id=relay-doctor&sign=0&data=".to_vec();
        form.resize(size as usize, b'a');
        let kind = "application/x-www-form-urlencoded";
        let answer = route.ask(Request::post("/api/notify", &form).with("Content-Type", kind));
        report.add(body::judge(&answer, size));
    }

    fn progress(&self, text: &dyn Display) {
        if !self.is_quiet {
            complain(text);
        }
    }

    /// Waits whether connections are closed on which nothing happens.
    fn idle(&self, route: &Route, report: &mut Report) {
        let is_on = !self.idle.is_zero();
        let websocket = is_on.then(|| self.open_websocket(route)).flatten();
        let stream = is_on.then(|| self.open_stream(route)).flatten().and_then(Result::ok);
        let stream = stream.filter(|opened| opened.answer.status == 200 && stream::has_begun(&opened.answer));
        if self.idle.is_zero() || websocket.is_none() && stream.is_none() {
            let why = if self.idle.is_zero() { "--idle is 0" } else { "no connection stays open" };
            report.add(Finding::skipped("idle", why));
            return;
        }
        // Without a login relay itself closes after a while.
        let patience = self.config.socketio.connect_timeout.saturating_sub(Duration::from_secs(5));
        let bound = if self.credentials.is_some() { self.idle } else { self.idle.min(patience) };
        self.progress(&format_args!(
            "waiting up to {} s to see whether a silent connection is closed (--idle)",
            bound.as_secs()
        ));
        let begun = Instant::now();
        let held = thread::scope(|scope| {
            let websocket = websocket.map(|opened| scope.spawn(move || idle::hold_websocket(opened, bound)));
            let stream = stream.map(|opened| scope.spawn(move || idle::hold_stream(opened, bound)));
            let mut said = 0;
            let running = [websocket, stream].into_iter().flatten().collect::<Vec<_>>();
            while running.iter().any(|thread| !thread.is_finished()) {
                thread::sleep(Duration::from_millis(20));
                let passed = begun.elapsed().as_secs() / PROGRESS;
                if passed > said {
                    said = passed;
                    self.progress(&format_args!("{} s of {} s", passed * PROGRESS, bound.as_secs()));
                }
            }
            running.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        });
        let interval = |what: &str| match what {
            "a stream" => STREAM_INTERVAL,
            _ => self.config.websocket.ping_interval,
        };
        report.extend(held.iter().map(|held| idle::judge(held, interval(held.what))));
    }
}

/// Judges the addresses of a name.
fn reachable(host: &str, good: &[String], bad: &[(SocketAddr, String)]) -> Vec<Finding> {
    let lost = |(address, error): &(SocketAddr, String)| {
        let text = format!("{host} has the address {}, which cannot be reached: {error}", address.ip());
        if good.is_empty() { Finding::failure("name", text) } else { Finding::warning("name", text) }
    };
    let found = (!good.is_empty()).then(|| Finding::ok("name", format!("{host} is {}", good.join(", "))));
    let none = (good.is_empty() && bad.is_empty()).then(|| Finding::failure("name", format!("{host} has no address")));
    found.into_iter().chain(none).chain(bad.iter().map(lost)).collect()
}

/// Judges a certificate that clients accept: `count` were sent, and the first is valid until `end`.
fn certificate(count: usize, end: u64, now: u64) -> Finding {
    let days = end.saturating_sub(now) / 86_400;
    if days < SOON {
        return Finding::warning("tls", format!("the certificate expires in {days} days: renew it"))
            .advise(Advice::Certificate);
    }
    Finding::ok("tls", format!("clients accept the certificate, which is valid for {days} days ({count} sent)"))
}

/// Judges the time `there` of an answer; `window` is that of signatures.
fn clock(here: u64, there: u64, window: u64) -> Finding {
    let apart = here.abs_diff(there);
    match apart {
        0..=SAME_TIME => Finding::ok("clock", "the clocks of both machines agree"),
        _ if apart > window => Finding::failure(
            "clock",
            format!(
                "the clocks of both machines are {apart} s apart: signatures with hmac-sha256 are refused, set the clocks"
            ),
        ),
        _ => Finding::warning("clock", format!("the clocks of both machines are {apart} s apart: set them by NTP")),
    }
}

/// The user as which the doctor logs in, and the room that it joins.
const USER: &str = "relay-doctor";
const ROOM: &str = "relay-doctor";
const SOCKETIO: &str = "EIO=4&transport=websocket";
/// Within this time the first bytes of a stream must come. A comment follows after 15 s, which must not be waited for.
const FIRST_BYTES: Duration = Duration::from_secs(8);
/// A stream has a comment every 15 s.
const STREAM_INTERVAL: Duration = Duration::from_secs(15);
const LARGEST_BODY: u64 = 64 << 20;
/// Seconds after which the progress is printed.
const PROGRESS: u64 = 10;
/// Days before its end that a certificate is warned about.
const SOON: u64 = 14;
/// Seconds that clocks may differ; answers have whole seconds, and take a while.
const SAME_TIME: u64 = 5;

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn names_certificates_and_clocks() {
        let address = |text: &str| (text.parse::<SocketAddr>().unwrap(), "refused".to_owned());
        let levels = |good: &[&str], bad: &[&str]| {
            let good: Vec<String> = good.iter().map(|text| (*text).to_owned()).collect();
            let bad: Vec<_> = bad.iter().map(|text| address(text)).collect();
            reachable("h", &good, &bad).into_iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(&["192.0.2.1"], &[]), [Level::Ok]);
        assert_eq!(levels(&["192.0.2.1"], &["[2001:db8::1]:443"]), [Level::Ok, Level::Warning]);
        assert_eq!(levels(&[], &["192.0.2.1:443"]), [Level::Failure]);
        assert_eq!(levels(&[], &[]), [Level::Failure]);
        assert_eq!(certificate(2, 100 * 86_400, 0).level, Level::Ok);
        assert_eq!(certificate(1, 13 * 86_400, 0).level, Level::Warning);
        assert_eq!(clock(1000, 1004, 300).level, Level::Ok);
        assert_eq!(clock(1000, 1100, 300).level, Level::Warning);
        assert_eq!(clock(1000, 1400, 300).level, Level::Failure);
    }
}
