//! How the commands read answers: in chunks, large ones, ones that are cut, and none.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use crate::support::{
    cli::{Run, relay, run, write},
    fake::{chunked, server, whole},
};

const VERSION: &str = "relay_build_info{version=\"1.2.3\"} 1\n";

/// Runs a command for operators against this address.
fn ask(url: &str, args: &[&str]) -> Run {
    run(&[args, &["--url", url, "--token", "t"]].concat())
}

fn top(url: &str) -> Run {
    ask(url, &["top", "--once", "--interval", "1"])
}

/// What relay would answer to a request.
fn body(request: &str) -> &'static str {
    match request.split([' ', '?']).nth(1).unwrap() {
        "/metrics" => VERSION,
        "/healthz" => r#"{"status":"ok"}"#,
        "/api/why" => r#"{"code":1,"msg":"","data":{"lines":[],"verdicts":["it was delivered"],"advice":[]}}"#,
        "/api/reload" => r#"{"code":1,"msg":"","data":{"changed":[]}}"#,
        "/api/trace" => r#"{"code":1,"msg":"","data":{"traces":[]}}"#,
        "/api/notify" => r#"{"code":1,"msg":"message notify successed!","data":""}"#,
        "/api/emit" => r#"{"code":1,"msg":"","data":{"sessions":3}}"#,
        other => panic!("{other}"),
    }
}

/// Proxies pass answers on in chunks.
#[test]
fn in_chunks() {
    let url = server(|request, stream| stream.write_all(&chunked(body(request))).unwrap());
    for (args, out) in [
        (&["why", "1j1b8cninpmrkqkbc"][..], "=> it was delivered\n"),
        (&["reload"], "nothing has changed\n"),
        (&["trace", "--list"], "no trace is on\n"),
        (&["notify", "room", "x"], "{\"code\":1,\"msg\":\"message notify successed!\",\"data\":\"\"}\n"),
        (&["emit", "news", "--all"], "{\"code\":1,\"msg\":\"\",\"data\":{\"sessions\":3}}\n"),
    ] {
        let run = ask(&url, args);
        assert_eq!((run.code, &*run.out), (0, out), "{args:?}: {}", run.err);
    }
    let run = run(&["health", "--url", &url]);
    assert_eq!((run.code, &*run.out), (0, "{\"status\":\"ok\"}\n"), "{}", run.err);
    let run = top(&url);
    assert!(run.code == 0 && run.out.starts_with("relay 1.2.3 "), "{} {}", run.out, run.err);
}

/// A relay with thousands of sources. What is larger than the limit is an error, and is not cut.
#[test]
fn large_ones() {
    let lines = |count: usize| "relay_rooms{source=\"a source of many\"} 12345\n".repeat(count);
    let (fits, too_large) = (lines(40_000) + VERSION, lines(400_000));
    assert!(fits.len() > 1 << 20 && too_large.len() > 16 << 20);
    let url = server(move |_, stream| stream.write_all(&whole(&fits)).unwrap());
    let run = top(&url);
    assert!(run.code == 0 && run.out.starts_with("relay 1.2.3 "), "{} {}", run.out, run.err);
    let run = ask(&url, &["why", "--room", "x"]);
    assert!(run.code == 1 && run.err.contains("the answer is larger than 1 MiB"), "{}", run.err);
    // The command hangs up.
    for answer in [whole(&too_large), chunked(&too_large), [b"HTTP/1.0 200 OK\r\n\r\n", too_large.as_bytes()].concat()]
    {
        let url = server(move |_, stream| drop(stream.write_all(&answer)));
        let run = top(&url);
        assert!(run.code == 1 && run.err.contains("the answer is larger than 16 MiB"), "{} {}", run.out, run.err);
    }
}

/// The rest of an answer that ends too early may have said something else.
#[test]
fn cut_ones() {
    let says = |answer: &'static str, why: &str| {
        let url = server(move |_, stream: &mut TcpStream| stream.write_all(answer.as_bytes()).unwrap());
        for run in [top(&url), ask(&url, &["reload"]), ask(&url, &["notify", "room", "x"])] {
            assert!(run.code == 1 && run.err.contains(why), "{answer}: {} {}", run.out, run.err);
        }
    };
    let early = "the connection was closed before the response was complete";
    says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nrelay_clients 1\n", early);
    says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nrelay_clients 1\n\r\n", early);
    says("HTTP/1.1 200 OK\r\nContent-Le", early);
    says("", "the connection was closed without a response");
    says("220 smtp ready\r\n", "the answer is not HTTP");
    says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nten\r\n", "malformed chunked body");
}

/// A server may refuse a request before it has read it, and close the connection: what it says counts.
#[test]
fn early_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 21\r\n\r\n{\"code\":0,\"msg\":\"no\"}").unwrap();
        // What was not read has the kernel reset the connection.
    });
    let data = write("data", &"x".repeat(16 << 20));
    let mut command = relay(&["notify", "room", "-", "--url", &url, "--token", "t"]);
    let done = command.stdin(File::open(&data).unwrap()).output().unwrap();
    let error = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(1) && error.contains("status 413: no"), "{error}");
    server.join().unwrap();
    fs::remove_file(data).unwrap();
}
