//! Requests: methods, heads, bodies with a length and chunked ones, pipelines.

use relay::sign::Subject;

use crate::{
    run::Protocol,
    samples::{NAMESPACES, ROOMS, VALUES, login, md5},
    support::{FORM, TOKEN, UPGRADE, form},
    wire::Case,
};

pub const PROTOCOL: Protocol = Protocol {
    name: "http",
    config: NAMESPACES,
    reaches: &["requests", "bad_requests", "logins", "notifies", "notifies_refused", "emitted", "tokens_wrong"],
    case,
};

/// A request before it is written as bytes.
struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

const REQUESTS: [fn(&mut Case) -> Request; 8] =
    [notify_form, notify_json, batch, emit, page, operator, operator_post, upgrade];

const JSON: &str = "application/json";

/// Sends requests, one by one or several at once, and reads answers or does not.
fn case(case: &mut Case) -> Option<()> {
    let mut wire = case.connect()?;
    for _ in 0..=case.random.below(5) {
        let mut bytes = Vec::new();
        for _ in 0..case.random.length(6) {
            let request = REQUESTS[case.random.below(REQUESTS.len())](case);
            bytes.extend(encode(case, request));
        }
        wire.send(case, "requests", &bytes)?;
        if case.random.once_in(2) {
            wire.answer()?;
        }
    }
    case.end(wire);
    Some(())
}

fn post(target: &str, media: &str, body: Vec<u8>) -> Request {
    Request { method: "POST", target: target.into(), headers: vec![("Content-Type", media.into())], body }
}

fn get(target: String) -> Request {
    Request { method: "GET", target, headers: Vec::new(), body: Vec::new() }
}

fn notify_form(case: &mut Case) -> Request {
    let (rooms, data) = (case.text(&ROOMS, 4), case.text(&VALUES, 3));
    let sign = md5(&Subject::Notify { source: "demo", room_id: &rooms, data: data.as_bytes() });
    let filename = case.text(&["", "day.log", "../x"], 4);
    let fields = [("source", "demo"), ("room_id", &*rooms), ("data", &data), ("sign", &sign), ("filename", &filename)];
    post("/api/notify", FORM, form(&fields).into_bytes())
}

/// A notification as JSON.
fn message(case: &mut Case) -> String {
    let (rooms, data) = (case.random.pick(&ROOMS), case.text(&VALUES, 3));
    // A string is signed as its value; what is not JSON has no right signature.
    let value = serde_json::from_str::<String>(&data).unwrap_or_else(|_| data.clone());
    let sign = md5(&Subject::Notify { source: "demo", room_id: rooms, data: value.as_bytes() });
    let list = rooms.split(',').map(|room| format!("\"{room}\"")).collect::<Vec<_>>().join(",");
    let rooms = if case.random.once_in(2) { format!("[{list}]") } else { format!("\"{rooms}\"") };
    format!("{{\"source\":\"demo\",\"room_id\":{rooms},\"data\":{data},\"sign\":\"{sign}\"}}")
}

fn notify_json(case: &mut Case) -> Request {
    post("/api/notify", JSON, message(case).into_bytes())
}

fn batch(case: &mut Case) -> Request {
    let messages: Vec<_> = (0..case.random.length(40)).map(|_| message(case)).collect();
    post("/api/notify/batch", JSON, format!("{{\"messages\":[{}]}}", messages.join(",")).into_bytes())
}

fn emit(case: &mut Case) -> Request {
    let data = case.text(&VALUES, 3);
    let nsp = case.random.pick(&["/", "/chat", "/none"]);
    let kind = case.random.pick(&["room_id", "userid", "socket_id", "nsp"]);
    let to = if kind == "nsp" { "" } else { case.random.pick(&["room", "7", "a"]) };
    let subject = Subject::Emit { source: "demo", nsp, kind, to, event: "news", data: data.as_bytes() };
    let sign = md5(&subject);
    let mut fields = vec![("source", "demo"), ("nsp", nsp), ("event", "news"), ("sign", &sign)];
    fields.push((case.random.pick(&["data", "data", "args"]), &data));
    if kind != "nsp" {
        fields.push((kind, to));
    }
    post("/api/emit", FORM, form(&fields).into_bytes())
}

fn page(case: &mut Case) -> Request {
    let target = case.text(
        &[
            "/",
            "/healthz",
            "/js/node_im.min.js",
            "/js/md5.js",
            "/demo",
            "/demo/",
            "http://relay/healthz",
            "/API/%4Eotify",
            "*",
            "/../..",
        ],
        4,
    );
    let mut request = get(target);
    request.method = case.random.pick(&["GET", "GET", "HEAD", "OPTIONS", "PUT"]);
    let headers = [
        ("If-None-Match", "\"x\", *"),
        ("Origin", "http://shop.example.org"),
        ("Expect", "100-continue"),
        ("X-Forwarded-For", "1.2.3.4, ::1"),
        ("Connection", "close"),
    ];
    for (name, value) in headers {
        if case.random.once_in(4) {
            request.headers.push((name, case.text(&[value], 4)));
        }
    }
    request
}

fn operator(case: &mut Case) -> Request {
    let path = case.random.pick(&[
        "/api/online?source=demo&limit=5&offset=1",
        "/api/users?source=demo&nsp=/chat",
        "/api/today?source=demo",
        "/api/rooms?source=demo&limit=3",
        "/api/stats?",
        "/metrics?",
        "/online?source=demo",
        "/today?source=demo",
        "/readmsg?source=demo&date=2026-11-28&bytes=100",
        "/api/log/sys?bytes=1",
        "/sessionlocation?",
    ]);
    let mut target = format!("{path}&token={TOKEN}").into_bytes();
    case.mutate(&mut target, b"", 3);
    get(String::from_utf8_lossy(&target).into_owned())
}

fn operator_post(case: &mut Case) -> Request {
    let fields =
        [("token", TOKEN), ("source", "demo"), case.random.pick(&[&("room", "a"), &("userid", "8")]).to_owned()];
    post(case.random.pick(&["/api/refresh", "/api/disconnect"]), FORM, form(&fields).into_bytes())
}

fn upgrade(case: &mut Case) -> Request {
    let path = case.random.pick(&[
        "/ws?",
        "/?",
        "/socket.io/?EIO=4&transport=websocket&",
        "/socket.io/?EIO=3&transport=polling&",
    ]);
    let mut request = get(format!("{path}{}", login(case)));
    for (name, value) in UPGRADE {
        if !case.random.once_in(8) {
            request.headers.push((name, case.text(&[value], 8)));
        }
    }
    request
}

/// The bytes of a request. Its body may be mutated before its length is written, and may be chunked.
fn encode(case: &mut Case, mut request: Request) -> Vec<u8> {
    case.mutate(&mut request.body, b"{\"messages\":[]}", 3);
    let version = case.random.pick(&["1.1", "1.1", "1.1", "1.0", "2.0"]);
    let mut head = format!("{} {} HTTP/{version}\r\nHost: relay\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if request.method != "POST" {
        return format!("{head}\r\n").into_bytes();
    }
    if case.random.once_in(2) {
        return [format!("{head}Content-Length: {}\r\n\r\n", request.body.len()).as_bytes(), &request.body].concat();
    }
    let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    chunks(case, &request.body, &mut bytes);
    bytes
}

/// A chunked body, whose chunks are small and may have long extensions.
pub fn chunks(case: &mut Case, body: &[u8], out: &mut Vec<u8>) {
    let extension = format!(";a=\"{}\"", "x".repeat(case.random.length(5000)));
    let size = case.random.length(200);
    for chunk in body.chunks(size) {
        // Together at most as long as a case should be.
        let extension = if case.random.once_in(4) && out.len() < 1 << 18 { &*extension } else { "" };
        out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    let trailers = case.random.pick(&["", "", "A: b\r\n", "Content-Length: 3\r\nHost: x\r\n"]);
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
}
