//! docs/cluster.md, Sentinel: Sentinels know the master, and relay asks them for it.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::support::{
    self, Relay,
    link::*,
    redis::{Redis, wait_linked, wait_siblings, wait_until},
    wait_for,
};

/// A running Sentinel; killed when dropped.
struct Sentinel {
    port: u16,
    file: PathBuf,
    child: Child,
}

impl Sentinel {
    /// Watches `main` at a port. `more` are further lines of its configuration.
    fn start(master: u16, more: &str) -> Sentinel {
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let file = support::temp_file("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 6000\n{more}\n"
            );
            fs::write(&file, text).unwrap();
            let mut child = Command::new("redis-server")
                .arg(&file)
                .arg("--sentinel")
                .stdout(Stdio::null())
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let runs = wait_for("a Sentinel", || match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
            });
            if runs {
                return Sentinel { port, file, child };
            }
        }
        panic!("no Sentinel starts");
    }

    fn ask(&self, words: &[&str]) -> String {
        let done = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn knows(&self, text: &str) -> bool {
        self.ask(&["SENTINEL", "MASTER", "main"]).replace("\r", "").replace('\n', " ").contains(text)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

/// A master, a replica, and three Sentinels that know each other and both servers.
fn deployment() -> (Redis, Redis, [Sentinel; 3]) {
    let (master, replica) = (Redis::start(), Redis::start());
    follow(&replica, &master);
    let sentinels = [(); 3].map(|()| Sentinel::start(master.port, ""));
    for sentinel in &sentinels {
        wait_for("Sentinels", || {
            let known = sentinel.knows("num-slaves 1 ") && sentinel.knows("num-other-sentinels 2 ");
            known.then_some(())
        });
    }
    (master, replica, sentinels)
}

fn url(sentinels: &[Sentinel]) -> String {
    let hosts: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    format!("redis+sentinel://{}/main/0", hosts.join(","))
}

/// A planned failover, then the death of the master: relays follow, and messages pass afterwards.
#[test]
fn relays_follow_the_master() {
    let (first, mut second, sentinels) = deployment();
    let relays = [relay_at(&url(&sentinels), ""), relay_at(&url(&sentinels), "")];
    relays.iter().for_each(wait_linked);
    relays.iter().for_each(|relay| wait_siblings(relay, 1));
    assert_eq!(connections(&first), 4);
    let mut members = relays.each_ref().map(|relay| relay.connect("room"));
    let check = |relays: &[Relay; 2], members: &mut [support::Client; 2], name: &str| {
        relays.iter().for_each(wait_linked);
        relays.iter().for_each(|relay| wait_siblings(relay, 1));
        publish(&relays[0], name, 0..3);
        members.iter_mut().for_each(|member| assert_eq!(read_to(member, name, 2), [0, 1, 2]));
    };
    check(&relays, &mut members, "first");

    assert_eq!(sentinels[0].ask(&["SENTINEL", "FAILOVER", "main"]).trim(), "OK");
    wait_until((0, 4), || (connections(&first), connections(&second)));
    check(&relays, &mut members, "second");
    wait_until(2, || second.hash(ONLINE).len());
    // The old master is a replica again, and every Sentinel knows that.
    for sentinel in &sentinels {
        let port = format!(" port {} ", second.port);
        wait_for("the new roles", || (sentinel.knows(&port) && sentinel.knows("num-slaves 1 ")).then_some(()));
    }
    wait_until(true, || first.ask(&["INFO", "replication"]).text().unwrap().contains("master_link_status:up"));

    second.kill();
    wait_until(4, || connections(&first));
    check(&relays, &mut members, "third");
}

/// Sentinels that cannot be used are passed over: dead ones, silent ones, and servers that are none.
#[test]
fn the_first_sentinel_that_answers() {
    let (master, sentinel) = (Redis::start(), None::<Sentinel>);
    drop(sentinel);
    let sentinel = Sentinel::start(master.port, "");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let list = format!(
        "127.0.0.1:{dead},127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}",
        silent.local_addr().unwrap().port(),
        master.port,
        sentinel.port
    );
    let relay = relay_at(&format!("redis+sentinel://{list}/main"), "");
    wait_linked(&relay);
    relay.assert_idle("Sentinel");
}

/// A name that the Sentinels gave and that does not resolve is not kept: they are asked again.
#[test]
fn a_master_whose_name_does_not_resolve() {
    let master = Redis::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis+sentinel://{}/main", listener.local_addr().unwrap());
    let port = master.port.to_string();
    std::thread::spawn(move || {
        for question in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let _ = stream.read(&mut [0; 1024]);
            let (host, port) = if question < 2 { ("name.invalid", "6379") } else { ("127.0.0.1", &*port) };
            let answer = format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    wait_linked(&relay_at(&url, ""));
}

/// Reasons why no master is found.
#[test]
fn reasons() {
    let master = Redis::start();
    let sentinel = Sentinel::start(master.port, "");
    let locked = Sentinel::start(master.port, "requirepass sentinel-secret");
    let at = |port: u16, name: &str, more: &str| relay_at(&format!("redis+sentinel://127.0.0.1:{port}/{name}"), more);
    let unknown = at(sentinel.port, "other", "");
    wait_reason(&unknown, "it does not know the master other");
    fails_calmly(&unknown, "unknown");
    let direct = at(master.port, "main", "");
    wait_reason(&direct, "it is not a Sentinel");
    let password = at(locked.port, "main", "");
    wait_reason(&password, "refused: NOAUTH");
    let wrong = at(locked.port, "main", "sentinel_password = \"guess\"");
    wait_reason(&wrong, "refused: WRONGPASS");
    let right = at(locked.port, "main", "sentinel_password = \"sentinel-secret\"");
    wait_linked(&right);
    let plain = relay_at(&format!("redis://127.0.0.1:{}", sentinel.port), "");
    wait_reason(&plain, "it is a Sentinel: write redis+sentinel://");
    for relay in [&password, &wrong, &right] {
        assert!(!relay.log().join("\n").contains("secret"));
    }
}
