//! docs/protocol.md, Proxies and addresses: `X-Forwarded-For`, `Forwarded`, the PROXY protocol with real proxies, and the
//! mode and group of Unix sockets.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::support::{
    self, Answer, Client, PATIENCE, Relay, TOKEN, UPGRADE, cli, login, read_answer, send_request, temp_file, wait_for,
};

const TRUST: &str = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"unix\"]\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A stream with a relay at its other end.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Asks for a WebSocket with these headers; returns the status.
fn websocket(stream: &mut dyn Stream, userid: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Vec::new();
    let target = format!("/ws?{}", login(&[("userid", userid)]));
    send_request(&mut request, "GET", &target, &[&UPGRADE, headers].concat(), b"");
    stream.write_all(&request).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

/// A relay with a second listener, which proxies connect to; the first one, for the test's own requests, is not proxied.
struct Proxied {
    relay: Relay,
    proxy: String,
}

impl Proxied {
    fn start(more: &str) -> Proxied {
        Proxied::start_at("proxy+tcp://127.0.0.1:0", more)
    }

    fn start_at(listen: &str, more: &str) -> Proxied {
        let relay = Relay::start(&format!("listen = [\"127.0.0.1:0\", \"{listen}\"]\n{more}"));
        let addresses = relay.addresses(2);
        let proxy =
            addresses[1].strip_prefix("proxy+").expect("the log names it").trim_start_matches("tcp://").to_owned();
        Proxied { relay, proxy }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.proxy).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A login after `header`; returns the address that relay shows for it.
    fn shown(&self, header: &[u8], headers: &[(&str, &str)]) -> String {
        let mut stream = self.tcp();
        stream.write_all(header).unwrap();
        assert_eq!(websocket(&mut stream, "shown", headers), 101, "{:?}", header.escape_ascii());
        let ip = shown(&self.relay, "shown").expect("a session");
        stream.shutdown(Shutdown::Write).unwrap();
        wait_for("the end of the session", || shown(&self.relay, "shown").is_none().then_some(()));
        ip
    }
}

/// The address that relay shows for a user; an empty one stands for none.
fn shown(relay: &Relay, userid: &str) -> Option<String> {
    let answer = relay.request("GET", "/api/online?source=demo", &[("Authorization", &format!("Bearer {TOKEN}"))], b"");
    let list = answer.json()["list"].as_array().unwrap().clone();
    let session = list.into_iter().find(|session| session["userid"] == userid)?;
    Some(session["ip"].as_str().unwrap_or_default().to_owned())
}

fn v2(version: u8, family: u8, data: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[version, family], &u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

// Headers.

#[test]
fn addresses_in_headers() {
    let relay = Relay::start(TRUST);
    let shown = |headers: &[(&str, &str)]| {
        let mut stream = relay.tcp();
        assert_eq!(websocket(&mut stream, "x", headers), 101);
        let ip = shown(&relay, "x").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        wait_for("the end", || self::shown(&relay, "x").is_none().then_some(()));
        ip
    };
    let proxy = "127.0.0.1";
    for (list, ip) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51234", "203.0.113.9"),
        ("[2001:db8::9]:443", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("2001:db8::9", "2001:db8::9"),
        ("\"[2001:db8::9]:443\"", "2001:db8::9"),
        ("203.0.113.9:51234 ,10.1.2.3:80, 127.0.0.1", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9:1", "203.0.113.9"),
        ("203.0.113.9, unknown", proxy),
        ("203.0.113.9:99999999", proxy),
        ("203.0.113.9,", "203.0.113.9"),
        ("", proxy),
    ] {
        assert_eq!(shown(&[("X-Forwarded-For", list)]), ip, "{list}");
    }
    for (list, ip) in [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=\"203.0.113.9:51234\";proto=https", "203.0.113.9"),
        ("for=\"[2001:db8::9]:443\"", "2001:db8::9"),
        ("for=203.0.113.9, for=10.1.2.3;by=127.0.0.1", "203.0.113.9"),
        ("for=6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        ("for=\"6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        ("for=6.6.6.6, for=unknown", proxy),
        ("for=6.6.6.6, for=_hidden", proxy),
        ("for=6.6.6.6, proto=http", proxy),
        ("nonsense", proxy),
    ] {
        assert_eq!(shown(&[("Forwarded", list)]), ip, "{list}");
    }
    let lines = [("Forwarded", "for=6.6.6.6"), ("Forwarded", "for=203.0.113.9"), ("forwarded", "for=10.1.1.1")];
    assert_eq!(shown(&lines), "203.0.113.9");
    assert_eq!(shown(&[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9")]), "203.0.113.9");
    // A proxy that writes X-Forwarded-For leaves what the client writes into Forwarded.
    let both = [("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "203.0.113.9")];
    assert_eq!((shown(&both), shown(&[both[1], both[0]])), ("203.0.113.9".into(), "203.0.113.9".into()));
    // A peer that is not trusted is not asked.
    let open = Relay::start("");
    let mut stream = open.tcp();
    assert_eq!(websocket(&mut stream, "x", &[("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "6.6.6.6")]), 101);
    assert_eq!(self::shown(&open, "x").unwrap(), "127.0.0.1");
}

// The PROXY protocol.

#[test]
fn a_proxy_names_its_client() {
    let relay = Proxied::start(TRUST);
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&"2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let v4 = [203, 0, 113, 9, 127, 0, 0, 1, 200, 1, 15, 160];
    let extensions = [&v4[..], &[1, 0, 2, b'h', b'2', 4, 0, 0, 0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
    for (header, ip) in [
        (b"PROXY TCP4 203.0.113.9 127.0.0.1 51201 4000\r\n".to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 ::1 51201 4000\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 51201 4000\r\n".to_vec(), "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &v4), "203.0.113.9"),
        (v2(0x21, 0x11, &extensions), "203.0.113.9"),
        (v2(0x21, 0x21, &v6), "2001:db8::9"),
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
        (v2(0x20, 0x11, &v4), "127.0.0.1"),
        (v2(0x21, 0x00, &[]), "127.0.0.1"),
        (v2(0x21, 0x31, &[b'/'; 216]), "127.0.0.1"),
    ] {
        assert_eq!(relay.shown(&header, &[]), ip, "{:?}", header.escape_ascii());
        // X-Forwarded-For counts only if the named client is a trusted proxy itself.
        let expected = if ip == "127.0.0.1" { "198.51.100.7" } else { ip };
        assert_eq!(relay.shown(&header, &[("X-Forwarded-For", "198.51.100.7")]), expected);
    }
    let chained = b"PROXY TCP4 10.1.2.3 127.0.0.1 51201 4000\r\n";
    assert_eq!(relay.shown(chained, &[("X-Forwarded-For", "6.6.6.6, 198.51.100.7")]), "198.51.100.7");
    assert_eq!(relay.relay.counter("bad_requests"), 0);
}

#[test]
fn a_header_that_arrives_in_pieces() {
    let relay = Proxied::start(TRUST);
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for header in
        [b"PROXY TCP4 203.0.113.9 127.0.0.1 5 4\r\n".to_vec(), v2(0x21, 0x11, &[9; 12]), v2(0x20, 0, &[0; 4000])]
    {
        let whole = [&header[..], request].concat();
        for cut in [1, 5, 6, 12, 15, 16, 17, header.len() - 1, header.len(), header.len() + 1, header.len() + 20] {
            let mut stream = relay.tcp();
            stream.write_all(&whole[..cut]).unwrap();
            relay.relay.fence();
            stream.write_all(&whole[cut..]).unwrap();
            assert_eq!(read_answer(&mut stream, false).status, 200, "{cut} of {:?}", header.escape_ascii());
        }
    }
}

#[test]
fn a_connection_without_a_header_is_refused() {
    let relay = Proxied::start(&format!("{TRUST}[limits]\nrequest_timeout = 0.3"));
    let refused = |bytes: &[u8], status: u16| {
        let mut stream = relay.tcp();
        stream.write_all(bytes).unwrap();
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, status, "{:?}: {answer:?}", bytes.escape_ascii());
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0, "it is closed");
        answer
    };
    let answer = refused(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400);
    assert!(answer.body.contains("a connection to this address must begin with a PROXY protocol header"));
    for bad in [
        b"PROXY TCP4 a b c d\r\nGET / HTTP/1.1\r\n".to_vec(),
        [b"PROXY ", &[b'x'; 200][..]].concat(),
        v2(0x31, 0x11, &[0; 12]),
        v2(0x21, 0x11, &[0; 5]),
        v2(0x20, 0, &[0; 60_000]),
    ] {
        refused(&bad, 400);
    }
    // One that is incomplete must not wait longer than a request, and blocks nobody meanwhile.
    let waiting: Vec<TcpStream> = (0..50)
        .map(|number| {
            let mut stream = relay.tcp();
            stream.write_all(&SIGNATURE[..number % 13]).unwrap();
            stream
        })
        .collect();
    assert_eq!(relay.relay.get("/healthz").status, 200);
    for mut stream in waiting {
        assert_eq!(read_answer(&mut stream, false).status, 408);
    }
    refused(b"PROXY TCP4 203.0", 408);
    // A health check that only connects.
    drop(relay.tcp());
    assert_eq!(relay.relay.get("/healthz").status, 200);
    // The other listener does not read headers.
    let mut stream = relay.relay.tcp();
    stream.write_all(b"PROXY TCP4 203.0.113.9 127.0.0.1 5 4\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 400);
}

#[test]
fn a_proxy_that_is_not_trusted_names_nobody() {
    let relay = Proxied::start("");
    assert_eq!(relay.shown(b"PROXY TCP4 203.0.113.9 127.0.0.1 5 4\r\n", &[]), "127.0.0.1");
    relay.relay.wait_log("the PROXY header of 127.0.0.1 is ignored, because trusted_proxies does not list it");
    relay.relay.wait_log("the PROXY headers of all connections to proxy+tcp://127.0.0.1:0 are ignored");
}

#[test]
fn the_clients_of_a_proxy_are_counted_by_their_address() {
    let relay = Proxied::start(&format!("{TRUST}[limits]\nper_address = 2"));
    let open = |ip: &str| {
        let mut stream = relay.tcp();
        stream.write_all(format!("PROXY TCP4 {ip} 127.0.0.1 5 4\r\n").as_bytes()).unwrap();
        send_request(&mut stream, "GET", "/healthz", &[], b"");
        (read_answer(&mut stream, false), stream)
    };
    let mut held: Vec<(Answer, TcpStream)> = (0..2).map(|_| open("203.0.113.9")).collect();
    assert!(held.iter().all(|(answer, _)| answer.status == 200));
    let (answer, mut stream) = open("203.0.113.9");
    assert_eq!((answer.status, answer.header("retry-after")), (429, "5"));
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert_eq!(open("203.0.113.10").0.status, 200);
    // Health checks of the proxy itself are not counted.
    for _ in 0..5 {
        let mut stream = relay.tcp();
        stream.write_all(&v2(0x20, 0, &[])).unwrap();
        send_request(&mut stream, "GET", "/healthz", &[], b"");
        assert_eq!(read_answer(&mut stream, false).status, 200);
    }
    // A WebSocket takes the place of its connection.
    let (_, mut stream) = held.pop().unwrap();
    assert_eq!(websocket(&mut stream, "7", &[]), 101);
    assert_eq!(open("203.0.113.9").0.status, 429);
    drop(stream);
    wait_for("a place", || (open("203.0.113.9").0.status == 200).then_some(()));
    assert!(relay.relay.counter("address_refused") >= 2);
}

/// One address at its limit does not use up the connections of all.
#[test]
fn refused_connections_of_a_proxy_do_not_count() {
    let relay = Proxied::start(&format!("{TRUST}[limits]\nper_address = 1\nconnections = 30"));
    let open = |ip: &str| {
        let mut stream = relay.tcp();
        stream.write_all(format!("PROXY TCP4 {ip} 127.0.0.1 5 4\r\n").as_bytes()).unwrap();
        send_request(&mut stream, "GET", "/healthz", &[], b"");
        stream
    };
    let mut first = open("203.0.113.9");
    assert_eq!(read_answer(&mut first, false).status, 200);
    // They get 429, or an end without an answer, and are held open.
    let held: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = open("203.0.113.9");
            let _ = stream.read(&mut [0; 1024]);
            stream
        })
        .collect();
    assert_eq!(relay.relay.counter("address_refused"), 40);
    assert_eq!(read_answer(&mut open("203.0.113.10"), false).status, 200);
    drop(held);
}

/// An entry that is not UTF-8 is an entry: it neither hides what a proxy appends nor makes way for `Forwarded`.
#[test]
fn an_entry_that_is_not_utf8() {
    let relay = Proxied::start(TRUST);
    let seen = |lines: &[u8]| {
        let mut stream = relay.tcp();
        let head = format!(
            "PROXY UNKNOWN\r\nGET /ws?{} HTTP/1.1\r\nHost: x\r\n",
            login(&[("room_ids", "r"), ("userid", "u")])
        );
        let upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(&[head.as_bytes(), lines, upgrade].concat()).unwrap();
        assert_eq!(read_answer(&mut stream, true).status, 101);
        let list = wait_for("the session", || {
            let list = relay.relay.admin("/api/online?source=demo").json()["list"].clone();
            (list.as_array().unwrap().len() == 1).then_some(list)
        });
        drop(stream);
        wait_for("its end", || {
            let list = relay.relay.admin("/api/online?source=demo").json()["list"].clone();
            list.as_array().unwrap().is_empty().then_some(())
        });
        list[0]["ip"].as_str().unwrap().to_owned()
    };
    assert_eq!(seen(b"X-Forwarded-For: \xff, 203.0.113.9\r\n"), "203.0.113.9");
    assert_eq!(seen(b"Forwarded: for=6.6.6.6\r\nX-Forwarded-For: \xff, 203.0.113.9\r\n"), "203.0.113.9");
    assert_eq!(seen(b"Forwarded: \xff;for=6.6.6.6, for=203.0.113.9\r\n"), "203.0.113.9");
    assert_eq!(seen(b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: \xff\r\n"), "127.0.0.1");
    assert_eq!(seen(b"X-Forwarded-For: \r\nForwarded: for=6.6.6.6\r\n"), "127.0.0.1");
}

// Real proxies.

/// A proxy in front of a relay; killed when dropped.
struct Proxy {
    child: Child,
    port: u16,
    directory: PathBuf,
}

impl Proxy {
    /// Runs a proxy with the configuration that `configure` makes of a free port and a directory.
    fn start(program: &str, args: &[&str], configure: impl Fn(u16, &Path) -> String) -> Proxy {
        let directory = temp_file("proxy");
        fs::create_dir_all(&directory).unwrap();
        // Another process may take the port before the proxy does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let file = directory.join("proxy.conf");
            fs::write(&file, configure(port, &directory)).unwrap();
            let args = args.iter().map(|arg| arg.replace("FILE", file.to_str().unwrap()));
            let child = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut proxy = Proxy { child, port, directory: directory.clone() };
            let runs = wait_for(program, || match proxy.child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
            });
            if runs {
                return proxy;
            }
        }
        panic!("{program} does not start");
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Chats through a proxy whose clients have the address 127.0.0.1, which relay must take from the header: the real peer is
/// another loopback address.
fn chats_through(relay: &Relay, proxy: &Proxy, what: &str) {
    let mut member = Client::open(proxy.tcp(), &format!("/ws?{}", login(&[("userid", "visitor")])))
        .unwrap_or_else(|answer| panic!("{what}: {answer:?}"));
    assert_eq!(shown(relay, "visitor").as_deref(), Some("127.0.0.1"), "{what}");
    relay.notify("room", "hello");
    assert_eq!(member.data(), "hello", "{what}");
    let open = {
        let mut stream = proxy.tcp();
        send_request(&mut stream, "GET", "/socket.io/?EIO=4&transport=polling", &[], b"");
        read_answer(&mut stream, false)
    };
    assert!(open.body.starts_with("0{\"sid\""), "{what}: {open:?}");
    assert_eq!(relay.counter("bad_requests"), 0, "{what}");
}

#[test]
fn haproxy_sends_the_header() {
    for version in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
        for mode in ["tcp", "http"] {
            // HAProxy connects from 127.0.0.3, so that the header's address is another one.
            let relay = Proxied::start("trusted_proxies = [\"127.0.0.3\"]\n");
            let proxy = Proxy::start("/usr/sbin/haproxy", &["-db", "-f", "FILE"], |port, _| {
                format!(
                    "defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout tunnel 60s\n\
                     frontend f\n  bind 127.0.0.1:{port}\n  unique-id-format %[uuid()]\n  default_backend b\n\
                     backend b\n  option httpchk GET /healthz\n  \
                     server s {} source 127.0.0.3 {version} check inter 100 check-send-proxy\n",
                    relay.proxy
                )
            });
            wait_for("health checks", || (relay.relay.counter("requests") > 6).then_some(()));
            chats_through(&relay.relay, &proxy, &format!("{version} {mode}"));
        }
    }
}

#[test]
fn haproxy_sends_the_header_to_a_unix_socket() {
    let path = temp_file("socket");
    let relay =
        Proxied::start_at(&format!("proxy+unix:{}?mode=0600", path.display()), "trusted_proxies = [\"unix\"]\n");
    assert_eq!(relay.proxy, format!("unix:{}", path.display()));
    let proxy = Proxy::start("/usr/sbin/haproxy", &["-db", "-f", "FILE"], |port, _| {
        format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen l\n  bind 127.0.0.1:{port}\n  server s unix@{} send-proxy-v2\n",
            path.display()
        )
    });
    chats_through(&relay.relay, &proxy, "unix");
}

#[test]
fn nginx_sends_the_header() {
    let relay = Proxied::start("trusted_proxies = [\"127.0.0.3\"]\n");
    let proxy = Proxy::start("/usr/sbin/nginx", &["-c", "FILE", "-e", "stderr"], |port, directory| {
        format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
             daemon off; master_process off; pid {}/nginx.pid; error_log stderr; events {{}}\n\
             stream {{ server {{ listen 127.0.0.1:{port}; proxy_bind 127.0.0.3; proxy_pass {}; proxy_protocol on; }} }}\n",
            directory.display(),
            relay.proxy
        )
    });
    chats_through(&relay.relay, &proxy, "nginx");
}

// Unix sockets.

/// The mode of a socket, with a umask that would allow less and one that would allow more.
#[test]
fn the_mode_of_a_unix_socket() {
    for (umask, options, mode) in [
        (0o077, "?mode=0666", 0o666),
        (0o000, "?mode=0600", 0o600),
        (0o022, "?mode=660", 0o660),
        (0o022, "?group=0", 0o660),
        (0o022, "?mode=0770&user=0&group=root", 0o770),
        (0o027, "", 0o750),
    ] {
        let path = temp_file("socket");
        let listen = format!("listen = [\"unix:{}{options}\"]", path.display());
        let config = cli::write("relay.toml", &Relay::configuration(&listen));
        let mut command = Command::new("sh");
        command.args(["-c", "umask $0; exec \"$@\"", &format!("{umask:o}")]);
        command.arg(support::binary()).arg("--config").arg(&config);
        let mut relay = Relay::spawn(command, config);
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{options} with the umask {umask:o}");
        let mut stream = UnixStream::connect(&path).unwrap();
        assert_eq!(cli::healthz(&mut stream).status, 200);
        drop(stream);
        relay.signal(15);
        assert_eq!(relay.wait(), 0);
        assert!(!path.exists());
    }
}

#[test]
fn the_group_of_a_unix_socket() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        return eprintln!("left out: only root can give a socket any group");
    }
    let path = temp_file("socket");
    let listen = format!("unix:{}?mode=0640&user=daemon&group=www-data", path.display());
    let relay = Relay::start(&format!("listen = [\"{listen}\"]"));
    let metadata = fs::symlink_metadata(&path).unwrap();
    let number = |file: &str, name: &str| -> u32 {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap().to_owned();
        line.split(':').nth(2).unwrap().parse().unwrap()
    };
    let (user, group) = (number("/etc/passwd", "daemon"), number("/etc/group", "www-data"));
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (user, group, 0o640));
    drop(relay);
    let _ = fs::remove_file(path);
}

#[test]
fn a_group_that_does_not_exist() {
    let path = temp_file("socket");
    let why = "this machine has no group \"no-such-group\": create it, or name another one";
    let listen = format!("unix:{}?group=no-such-group", path.display());
    let run = cli::run(&["--listen", &listen]);
    assert!(run.code == 1 && run.err.contains(why), "{}", run.err);
    assert!(!path.exists());
    let config = cli::write("relay.toml", &Relay::configuration(&format!("listen = [\"{listen}\"]")));
    let run = cli::run(&["check", "--config", cli::text(&config)]);
    assert!(run.err.contains(why) || run.out.contains(why), "{} {}", run.out, run.err);
    let bad = Relay::configuration("listen = [\"unix:/r?mod=0660\"]");
    fs::write(&config, bad).unwrap();
    let run = cli::run(&["check", "--config", cli::text(&config)]);
    let expected = "expected mode=0660, user=NAME or group=NAME after the ? of a unix socket, not \"mod=0660\"";
    assert!(run.code == 78 && run.err.contains(expected), "{}", run.err);
    let _ = fs::remove_file(config);
}
