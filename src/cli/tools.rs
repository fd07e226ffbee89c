//! Small blocking clients of a running relay: `sign`, `notify`, `listen`.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use form_urlencoded::Serializer;
use lexopt::ValueExt;
use serde_json::Value as Json;
use tungstenite::{Message, WebSocket, protocol::Role};

use super::{Argument, Arguments};
use crate::{
    http::response::{Reader, Response},
    plain::{json, json_string},
    server::{
        clock::unix_micros,
        process::{BadConfig, Origin, random},
    },
    sign::{Subject, to_hex},
    websocket::handshake::accept_key,
};

/// What all three need to know, and what each does with it.
#[derive(Debug, Default)]
pub struct Tool {
    action: Action,
    source: String,
    key: Option<String>,
    key_file: Option<String>,
    hmac: bool,
    hex: bool,
    ts: Option<String>,
    url: String,
    rooms: String,
    data: String,
    is_json: bool,
    filename: String,
    userid: String,
    username: String,
    ext_info: String,
    once: bool,
}

#[derive(Debug, Default, PartialEq)]
enum Action {
    #[default]
    SignConnect,
    SignNotify,
    Notify,
    Listen,
}

/// Reads the words after `sign`, `notify` or `listen`; an argument that is not theirs is given back.
pub fn parse(name: &str, arguments: &mut Arguments) -> Result<Result<Tool, Argument>, lexopt::Error> {
    let mut tool = Tool { source: "demo".into(), url: "http://127.0.0.1:4000".into(), ..Tool::default() };
    let (mut words, mut rooms, mut data) = (Vec::new(), Vec::new(), None);
    while let Some(argument) = arguments.advance()? {
        let Argument::Option(option) = argument else {
            let Argument::Word(word) = argument else { return Ok(Err(argument)) };
            words.push(word);
            continue;
        };
        match (option, name) {
            ("hmac", _) => tool.hmac = true,
            ("hex", "sign") => tool.hex = true,
            ("json", "notify" | "listen") => tool.is_json = true,
            ("once", "listen") => tool.once = true,
            ("source", _) => tool.source = arguments.value()?.string()?,
            ("key", _) => tool.key = Some(arguments.value()?.string()?),
            ("key-file", _) => tool.key_file = Some(arguments.value()?.string()?),
            ("ts", "sign") => tool.ts = Some(arguments.value()?.string()?),
            ("url", "notify" | "listen") => tool.url = arguments.value()?.string()?,
            ("room-id" | "room-ids", _) => rooms.push(arguments.value()?.string()?),
            ("data", "notify" | "sign") => data = Some(arguments.value()?.string()?),
            ("filename", "notify") => tool.filename = arguments.value()?.string()?,
            ("userid", "listen" | "sign") => tool.userid = arguments.value()?.string()?,
            ("username", "listen") => tool.username = arguments.value()?.string()?,
            ("ext-info", "listen") => tool.ext_info = arguments.value()?.string()?,
            _ => return Ok(Err(argument)),
        }
    }
    let mut words = words.into_iter();
    tool.action = match name {
        "notify" => Action::Notify,
        "listen" => Action::Listen,
        _ => match words.next().as_deref() {
            Some("connect") => Action::SignConnect,
            Some("notify") => Action::SignNotify,
            _ => return Err("sign what: connect or notify?".into()),
        },
    };
    if rooms.is_empty() {
        // The last word of a notification is its data.
        let takes_data = matches!(tool.action, Action::Notify | Action::SignNotify) && data.is_none();
        let most = if tool.action == Action::Listen { usize::MAX } else { 1 };
        rooms = words.by_ref().take(most).collect();
        if takes_data && rooms.is_empty() {
            return Err("which rooms, and what data? 'relay notify ROOMS DATA'".into());
        }
    }
    tool.rooms = rooms.join(",");
    if tool.rooms.is_empty() {
        return Err("which rooms?".into());
    }
    if matches!(tool.action, Action::Notify | Action::SignNotify) {
        tool.data = data.or_else(|| words.next()).ok_or("what data? ('-' reads standard input)")?;
    }
    match words.next() {
        Some(word) => Ok(Err(Argument::Word(word))),
        None => Ok(Ok(tool)),
    }
}

impl Tool {
    /// Does it.
    pub fn run(mut self) -> ExitCode {
        let done = self.find_key().and_then(|key| match self.action {
            Action::SignConnect | Action::SignNotify => self.sign(&key),
            Action::Notify => self.notify(&key),
            Action::Listen => self.listen(&key),
        });
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("relay: {error}");
                ExitCode::from(match error {
                    Error::Config(_) => super::BAD_CONFIGURATION,
                    _ => super::FAILED,
                })
            }
        }
    }

    /// The key that was given, else the one this machine's configuration has for the source.
    fn find_key(&self) -> Result<String, Error> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        if let Some(file) = &self.key_file {
            let key = std::fs::read_to_string(file).map_err(|error| Error::Failed(format!("{file}: {error}")))?;
            return Ok(key.trim_end().into());
        }
        let config = Origin::find(None).load().map_err(|BadConfig(lines)| Error::Config(lines.join("\n")))?;
        match config.sources.get(&self.source) {
            Some(source) => Ok(source.sign_key.expose().into()),
            None => Err(Error::Failed(format!(
                "there is no key for source {:?}: give one with --key or --key-file",
                self.source
            ))),
        }
    }

    /// `sign`, and for hmac the two fields that go with it.
    fn signature(&self, subject: &Subject<'_>, key: &str) -> Vec<(&'static str, String)> {
        if !self.hmac {
            return vec![("sign", to_hex(&subject.md5(key.as_bytes())))];
        }
        let ts = self.ts.clone().unwrap_or_else(|| (unix_micros() / 1_000_000).to_string());
        let sign = to_hex(&subject.hmac(key.as_bytes(), &ts));
        vec![("sign_type", "hmac-sha256".into()), ("ts", ts), ("sign", sign)]
    }

    fn connect_signature(&self, key: &str) -> Vec<(&'static str, String)> {
        let subject = Subject::Connect { source: &self.source, userid: &self.userid, room_ids: &self.rooms };
        self.signature(&subject, key)
    }

    fn notify_signature(&self, key: &str) -> Vec<(&'static str, String)> {
        let subject = Subject::Notify { source: &self.source, room_id: &self.rooms, data: self.data.as_bytes() };
        self.signature(&subject, key)
    }

    fn read_data(&mut self) -> Result<(), Error> {
        if self.data == "-" {
            self.data.clear();
            io::stdin().read_to_string(&mut self.data).map_err(Error::io("standard input"))?;
        }
        Ok(())
    }

    fn sign(&mut self, key: &str) -> Result<(), Error> {
        self.read_data()?;
        let fields = match self.action {
            Action::SignConnect => self.connect_signature(key),
            _ => self.notify_signature(key),
        };
        match fields.last() {
            Some((_, hex)) if self.hex => super::say(&format!("{hex}\n")),
            _ => super::say(&format!("{}\n", form(&fields))),
        }
        Ok(())
    }

    fn notify(&mut self, key: &str) -> Result<(), Error> {
        self.read_data()?;
        let mut fields = vec![("source", self.source.clone()), ("room_id", self.rooms.clone())];
        fields.extend(self.notify_signature(key));
        if !self.filename.is_empty() {
            fields.push(("filename", self.filename.clone()));
        }
        let (media_type, body) = match self.is_json {
            false => {
                fields.push(("data", self.data.clone()));
                ("application/x-www-form-urlencoded", form(&fields))
            }
            true => {
                let value: Json = serde_json::from_str(&self.data)
                    .map_err(|error| Error::Failed(format!("the data is no JSON: {error}")))?;
                if value.is_string() {
                    // A string's value is what is signed, not its text.
                    let text = value.as_str().unwrap_or_default().to_owned();
                    let subject = Subject::Notify { source: &self.source, room_id: &self.rooms, data: text.as_bytes() };
                    fields.truncate(2);
                    fields.extend(self.signature(&subject, key));
                }
                let fields: Vec<_> =
                    fields.iter().map(|(name, value)| format!("\"{name}\":{}", json_string(value))).collect();
                ("application/json", format!("{{{},\"data\":{}}}", fields.join(","), self.data.trim()))
            }
        };
        let place = Place::parse(&self.url)?;
        let request = format!(
            "POST {}/api/notify HTTP/1.1\r\nHost: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            place.path,
            place.host,
            body.len()
        );
        let mut stream = place.connect()?;
        let (status, body) = ask(&mut stream, &request).map_err(Error::io(&self.url))?;
        let body = String::from_utf8_lossy(&body);
        super::say(&format!("{}\n", body.trim_end()));
        let accepted = serde_json::from_str::<Json>(&body).is_ok_and(|answer| answer["code"] == 1);
        match (accepted, status) {
            (true, _) => Ok(()),
            (false, 200) => Err(Error::Failed("the notification was refused".into())),
            (false, status) => Err(Error::Failed(format!("the relay answered {status}"))),
        }
    }

    /// Prints until it is killed; a lost connection is tried again, a refused one is not.
    fn listen(&mut self, key: &str) -> Result<(), Error> {
        let place = Place::parse(&self.url)?;
        let mut patience = SHORTEST_PAUSE;
        loop {
            let began = Instant::now();
            let lost = match self.listen_once(key, &place) {
                Ok(()) => return Ok(()),
                Err(Error::Lost(why)) => why,
                Err(error) => return Err(error),
            };
            if began.elapsed() > LONGEST_PAUSE {
                patience = SHORTEST_PAUSE;
            }
            let pause = patience.mul_f64(0.5 + f64::from(random::<1>()[0]) / 512.0);
            eprintln!("relay: {lost}; again in {:.1} s", pause.as_secs_f64());
            sleep(pause);
            patience = (patience * 2).min(LONGEST_PAUSE);
        }
    }

    fn listen_once(&self, key: &str, place: &Place) -> Result<(), Error> {
        let mut fields = vec![
            ("source", self.source.clone()),
            ("room_ids", self.rooms.clone()),
            ("userid", self.userid.clone()),
            ("username", self.username.clone()),
            ("ext_info", self.ext_info.clone()),
        ];
        fields.extend(self.connect_signature(key));
        let lost = |error: &dyn fmt::Display| Error::Lost(format!("{}: {error}", self.url));
        let stream = place.connect().map_err(|error| Error::Lost(error.to_string()))?;
        stream.patience(Some(SILENCE)).map_err(|error| lost(&error))?;
        let (mut stream, target) = (stream, format!("{}/ws?{}", place.path, form(&fields)));
        let mut socket = match open(&mut stream, &place.host, &target) {
            Ok(Opened::Socket(ahead)) => WebSocket::from_partially_read(stream, ahead, Role::Client, None),
            Ok(Opened::Refused(answer)) => {
                let body = serde_json::from_slice::<Json>(&answer.body).unwrap_or_default();
                let why = body["msg"].as_str().unwrap_or("no reason given");
                return Err(match answer.status {
                    status @ 500.. => lost(&format!("{status}: {why}")),
                    status => Error::Failed(format!("{} refused with {status}: {why}", self.url)),
                });
            }
            Err(error) if is_timeout(&error) => return Err(lost(&"the handshake took too long")),
            Err(error) => return Err(lost(&error)),
        };
        eprintln!("relay: listening to {} of {} at {}", self.rooms, self.source, self.url);
        let mut pinged = false;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    pinged = false;
                    if self.print(&text)? && self.once {
                        let _ = socket.close(None);
                        return Ok(());
                    }
                }
                Ok(Message::Close(frame)) => {
                    let why = frame.map_or_else(|| "closed".into(), |frame| format!("closed: {frame}"));
                    return Err(lost(&why));
                }
                Ok(_) => pinged = false,
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) && !pinged => {
                    pinged = true;
                    ping(&mut socket).map_err(|error| lost(&error))?;
                }
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    /// A line for a message; whether it was one.
    fn print(&self, text: &str) -> Result<bool, Error> {
        let message: Json = serde_json::from_str(text).unwrap_or_default();
        let line = match message["event"].as_str() {
            _ if self.is_json => text.to_owned(),
            Some("newMsg") => {
                let data = message["data"].as_str().map_or_else(|| json(&message["data"]), String::from);
                format!("{}\t{}", message["room_id"].as_str().unwrap_or_default(), data)
            }
            Some("sys_error") => {
                eprintln!("relay: {}", visible(message["msg"].as_str().unwrap_or_default()));
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let mut out = io::stdout().lock();
        let printed = writeln!(out, "{}", visible(&line)).and_then(|()| out.flush());
        // Who reads us has gone, as `head` does: that is an end, not a failure.
        if printed.is_err() {
            std::process::exit(0);
        }
        Ok(message["event"] == "newMsg")
    }
}

/// What a relay answers to who asks for a WebSocket.
enum Opened {
    /// The handshake is done; the first frames may have come with it.
    Socket(Vec<u8>),
    Refused(Response),
}

/// The handshake of a client (RFC 6455 section 4.1). tungstenite's would bring another HTTP library into the daemon.
fn open(stream: &mut Stream, host: &str, target: &str) -> io::Result<Opened> {
    let key = BASE64.encode(random::<16>());
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let (mut refusal, mut seen, mut piece) = (Reader::default(), Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece)?;
        let answer = match length {
            0 => Some(refusal.handle_end()),
            _ => {
                seen.extend_from_slice(&piece[..length]);
                let mut headers = [httparse::EMPTY_HEADER; 64];
                let mut head = httparse::Response::new(&mut headers);
                if let Ok(httparse::Status::Complete(end)) = head.parse(&seen)
                    && head.code == Some(101)
                {
                    let is = |name: &str, value: &str| {
                        let mut named = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
                        named.any(|header| header.value.eq_ignore_ascii_case(value.as_bytes()))
                    };
                    let accepted = head.headers.iter().any(|header| {
                        header.name.eq_ignore_ascii_case("sec-websocket-accept")
                            && header.value == accept_key(key.as_bytes()).as_bytes()
                    });
                    if !accepted || !is("upgrade", "websocket") || !is("connection", "upgrade") {
                        return Err(wrong("the answer is no WebSocket's"));
                    }
                    return Ok(Opened::Socket(seen.split_off(end)));
                }
                refusal.handle_input(&piece[..length], LARGEST_ANSWER).transpose()
            }
        };
        match answer {
            Some(Ok(answer)) => return Ok(Opened::Refused(answer)),
            Some(Err(malformed)) => return Err(wrong(&malformed.to_string())),
            None if seen.len() as u64 > LARGEST_ANSWER => return Err(wrong("the answer has no end")),
            None => {}
        }
    }
}

fn ping(socket: &mut WebSocket<Stream>) -> Result<(), tungstenite::Error> {
    socket.send(Message::Ping(Default::default()))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// One line, and nothing a terminal would obey.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

fn form(fields: &[(&'static str, String)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Where a relay listens.
struct Place {
    host: String,
    path: String,
    unix: Option<String>,
}

impl Place {
    fn parse(url: &str) -> Result<Place, Error> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Place { host: "localhost".into(), path: String::new(), unix: Some(path.into()) });
        }
        let rest = url.strip_prefix("http://").or(url.strip_prefix("ws://"));
        let Some(rest) = rest.or((!url.contains("://")).then_some(url)) else {
            return Err(Error::Failed(format!(
                "{url:?}: expected http://host:port or unix:PATH; for https ask the proxy's inner address"
            )));
        };
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_port =
            host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let host = if has_port { host.into() } else { format!("{host}:80") };
        Ok(Place { host, path: path.trim_end_matches('/').into(), unix: None })
    }

    fn connect(&self) -> Result<Stream, Error> {
        if let Some(path) = &self.unix {
            return UnixStream::connect(path).map(Stream::Unix).map_err(Error::io(path));
        }
        let addresses = self.host.to_socket_addrs().map_err(Error::io(&self.host))?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(Error::io(&self.host))?;
                    return Ok(Stream::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(Error::io(&self.host)(last))
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn patience(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(limit),
            Stream::Unix(stream) => stream.set_read_timeout(limit),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a request and reads its answer to the end: its status and body.
fn ask(stream: &mut Stream, request: &str) -> io::Result<(u16, Vec<u8>)> {
    stream.patience(Some(SILENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let no_http = |_| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP");
    match parsed.parse(&answer).map_err(no_http)? {
        httparse::Status::Complete(head) => Ok((parsed.code.unwrap_or(0), answer.split_off(head))),
        httparse::Status::Partial => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[derive(Debug)]
enum Error {
    Config(String),
    Failed(String),
    /// A connection that may be tried again.
    Lost(String),
}

impl Error {
    fn io(what: &str) -> impl Fn(io::Error) -> Error + use<> {
        let what = what.to_owned();
        move |error| Error::Failed(format!("{what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Error::Config(why) | Error::Failed(why) | Error::Lost(why)) = self;
        f.write_str(why)
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A relay pings every 25 s: after so long without a sign of life we ask, after twice that we give up.
const SILENCE: Duration = Duration::from_secs(40);
/// Bytes of an answer that are read.
const LARGEST_ANSWER: u64 = 1 << 20;

/// `relay sign --help`.
pub const SIGN_HELP: &str = "\
relay sign connect ROOMS [--userid ID]
relay sign notify ROOMS DATA

Makes the signature for a login or a notification, as fields of a URL or a form. ROOMS is a room or
several separated by commas; DATA of '-' is read from standard input.

  --source NAME           the source (demo)
  --key KEY, --key-file FILE
                          its key; otherwise the one in this machine's configuration
  --hmac                  hmac-sha256 in place of md5: binds user and time
  --ts SECONDS            for hmac: unix seconds (now)
  --hex                   only the digits
";
/// `relay notify --help`.
pub const NOTIFY_HELP: &str = "\
relay notify ROOMS DATA

Posts a signed notification and shows the answer. ROOMS is a room or several separated by commas; DATA
of '-' is read from standard input. Exit code 0 only if the relay accepted it.

  --url URL               http://host:port or unix:PATH (http://127.0.0.1:4000)
  --source NAME           the source (demo)
  --key KEY, --key-file FILE
                          its key; otherwise the one in this machine's configuration
  --hmac                  hmac-sha256 in place of md5
  --json                  DATA is JSON and arrives as the value it is, not as a string
  --filename NAME         the log file the relay should keep it in
";
/// `relay listen --help`.
pub const LISTEN_HELP: &str = "\
relay listen ROOMS…

Joins rooms and prints a line for each message: the room, a tab, the data. Reconnects by itself; exits
with 1 if it is refused.

  --url URL               http://host:port or unix:PATH (http://127.0.0.1:4000)
  --source NAME           the source (demo)
  --key KEY, --key-file FILE
                          its key; otherwise the one in this machine's configuration
  --hmac                  hmac-sha256 in place of md5
  --userid ID, --username NAME, --ext-info TEXT
                          who to be
  --json                  print messages as they came
  --once                  end after the first message
";
