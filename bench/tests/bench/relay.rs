//! A running relay for tests.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use relay_bench::{load::KEY, server::Server};
use serde_json::Value;

use crate::{program, wait_for};

/// A relay with sources `demo` and `other` and an admin token; killed when dropped.
pub struct Relay {
    server: Server,
    /// Its TCP address.
    pub addr: String,
}

impl Relay {
    /// Starts relay with further sections of configuration.
    pub fn start(sections: &str) -> Relay {
        Relay::start_with("listen = [\"127.0.0.1:0\"]", sections)
    }

    /// Starts relay with a line of root keys and further sections.
    pub fn start_with(root: &str, sections: &str) -> Relay {
        let config = format!(
            "{root}\n[sources.demo]\nsign_key = \"{KEY}\"\n[sources.other]\nsign_key = \"other key\"\n\
             [admin]\ntoken = \"{TOKEN}\"\n{sections}\n"
        );
        let server = Server::start_relay_with(&program::relay(), &config).unwrap();
        Relay { addr: server.address.clone(), server }
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// A number of `/api/stats`, by its JSON pointer.
    pub fn stat(&self, pointer: &str) -> u64 {
        let request = format!(
            "GET /api/stats HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let body = response.split_once("\r\n\r\n").unwrap().1;
        let stats: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {response}"));
        stats.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {stats}")).as_u64().unwrap()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.stat(&format!("/counters/{name}"))
    }

    /// Waits until no session is left.
    pub fn wait_empty(&self) {
        wait_for("the end of all sessions", || (self.stat("/sessions") == 0).then_some(()));
    }
}

/// A path in the directory for temporary files that no other test uses.
pub fn temp_path(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("relay-bench-test-{}-{count}-{name}", std::process::id()))
}

const TOKEN: &str = "test-token";
