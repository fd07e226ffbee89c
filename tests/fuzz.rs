//! Runs the fuzz targets for a few seconds on seeded mutations of valid input. `fuzz/` runs them for as long as you like.
#![allow(missing_docs)]

#[path = "support/heap.rs"]
mod heap;

use relay::fuzzing::{TARGETS, memory};

/// A pseudo-random generator with a fixed seed (xorshift).
struct Random(u64);

impl Random {
    /// A number below `bound`; 0 if `bound` is 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    #[cfg(feature = "tls")]
    if target.starts_with("tls_") {
        use relay::tls::testing::{client, sent};
        use rustls::version::{TLS12, TLS13};
        return vec![
            sent(&mut client(&TLS12)),
            sent(&mut client(&TLS13)),
            b"\x17\x03\x03\0\x20abcdefghijklmnopqrstuvwxyz".to_vec(),
        ];
    }
    let texts: &[&[u8]] = match target {
        "token" => &[
            b"{\"exp\":1700000060,\"rooms\":[\"a\",\"b-*\"],\"sub\":\"7\",\"name\":\"x\",\"post\":false,\"nbf\":1.5,\"aud\":[]}",
            b"{\"alg\":\"HS256\",\"kid\":\"1\"}\n{\"exp\":1700000060,\"rooms\":[]}",
            b"eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDAwMDAwNjAsInJvb21zIjpbXX0.",
            b"{\"jwt\":\"a\",\"source\":\"b\"}",
        ],
        "config" => &[include_bytes!("../etc/relay.toml"), b"[limits]\nbody = 5\n[sources.a]\nsign_key = \"k\"\n"],
        "http" => &[
            b"\x10GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET",
            b"\x30POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            b"\x05GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        ],
        "chunked" => &[b"4\r\nWiki\r\n5;x=y\r\npedia\r\n0\r\nTrailer: x\r\n\r\n", b"1\r\na\r\n64\r\n"],
        "multipart" => &[
            b"--b\r\nContent-Disposition: form-data; name=\"source\"\r\n\r\ndemo\r\n--b\r\nContent-Disposition: form-data; name=data\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi\r\n--b--\r\n",
            b"\r\n--b \r\nContent-Disposition: form-data; name=\"a%22%0D%0A\\\\\"; filename=\"\"\r\n\r\n\r\n--b--",
            b"--b\r\nContent-Disposition: form-data; name=\"\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff--b\r\n--b--",
        ],
        "forwarded" => &[
            b"for=192.0.2.1;proto=https, for=\"[2001:db8::1]:80\";host=\"a\\\", b\\\\\"",
            b"192.0.2.1:80, [2001:db8::1]:443 , unknown,\"\\",
        ],
        "proxy" => &[
            b"PROXY TCP4 192.0.2.1 192.0.2.9 5000 80\r\nGET",
            b"PROXY TCP6 2001:db8::1 ::1 5000 80\r\n",
            b"PROXY UNKNOWN x\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14aaaabbbbccdd\x04\0\x02xy\x05\0\0GET",
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x03abcGET",
        ],
        "response" => &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nT: x\r\n\r\n",
            b"HTTP/1.0 502 Bad\r\n\r\nto the end",
        ],
        "handshake" => &[
            b"Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: v2.x, chat",
            b"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\nSec-WebSocket-Version: 13\n\
              Sec-WebSocket-Protocol: a b,\t\"c\"\nSec-WebSocket-Protocol: ,chat,d=e",
        ],
        "websocket" => &[
            b"\x81\x83\0\0\0\0abc\x89\x81\0\0\0\0x\x01\x81\x01\x02\x03\x04a\x80\x81\0\0\0\0b\x88\x82\0\0\0\0\x03\xe8",
            b"\x82\xfe\0\x80\x01\x01\x01\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
        "event" => &[
            br#"{"event":"postMsg","data":{"a":[1,2.0,"\u00e4"]},"room_ids":["a",1],"ack":7}"#,
            br#"{"event":"join","room_ids":"a,c","sign":"00","sign_type":"hmac-sha256","ts":1}"#,
            br#"{"data":"x","room_id":"a"}"#,
        ],
        "payload" => &[
            "\x004hello\u{1e}2\u{1e}bAQIDBA==\u{1e}4€𝄞".as_bytes(),
            "\u{1}6:4hello2:4€10:b4AQIDBA==1:2".as_bytes(),
            b"\x02\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04",
        ],
        "packet" => &[
            b"0/admin,{\"token\":\"123\"}",
            b"2/admin,456[\"project:delete\",123,{\"_placeholder\":true,\"num\":0}]",
            b"52-[\"hello\",{\"_placeholder\":true,\"num\":0},[{\"num\":1,\"_placeholder\":true}]]",
        ],
        "socketio" => &[
            b"\x014{\"x\":1}\n42[\"postMsg\",{\"a\":1},\"a,b\"]\n451-7[\"postMsg\",{\"_placeholder\":true,\"num\":0},[\"a\"]]\n\xffbytes\n41\n40\n40/x,\n42/x,[\"join\",\"r\"]\n3\n1",
            b"\x002\n42[\"join\",\"c\",\"00\"]\n40/x?a=b\n41/x\n451-[\"postMsg\",{\"_placeholder\":true,\"num\":0},\"a\"]\n\xff\x04b\n2probe",
            b"\x0342[\"postMsg\",1,\"a\"]\x1e451-[\"postMsg\",[{\"_placeholder\":true,\"num\":0}],\"a\"]\x1ebAQID\x1e40/x,{}",
            b"\x0e24:42[\"postMsg\",1,\"a\"]1:2",
        ],
        "resp" => &[
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$30\r\n123456789012345678901234567890\r\n+OK\r\n-ERR x\r\n",
            b"*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$-1\r\n:7\r\n*0\r\n*-1\r\n",
        ],
        "published" => &[
            b"\x01{\"source\":\"demo\",\"data\":{\"b\":1},\"room_id\":\"r,s\",\"from_sys\":true,\"binary\":true,\"id\":\"1km9g41o7vkabc123\",\"seq\":7,\"node\":\"abc123\"}",
            b"\x01{\"sys_info\":true,\"key\":\"system_start\",\"log_file\":\"/x\",\"app_config\":{\"env\":1}}",
            b"\x00{\"do\":\"emit\",\"source\":\"demo\",\"nsp\":\"/web\",\"to\":\"all\",\"names\":[\"a\"],\"event\":\"e\",\"args\":[{\"_base64\":\"AP8=\"}],\"binary\":true,\"re\":5,\"ack\":true,\"seq\":1,\"node\":\"x\"}",
            b"\x00{\"do\":\"refresh\",\"to\":\"prefixed\",\"name\":\"demor\",\"seq\":2,\"node\":\"x\"}",
            b"\x00{\"do\":\"find\",\"source\":\"demo\",\"nsp\":\"/app\",\"name\":\"7\",\"re\":9,\"node\":\"x\"}",
        ],
        other => panic!("no seeds for the target {other}"),
    };
    texts.iter().map(|text| text.to_vec()).collect()
}

/// Shows the input of a target that panics.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Shown(target, bytes) = self;
            let begin = bytes[..bytes.len().min(500)].escape_ascii();
            eprintln!("the target {target} fails with {} bytes: b\"{begin}\"", bytes.len());
        }
    }
}

/// Changes `bytes` in up to five places.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => bytes.insert(at, b"\r\n\0,;:{[\"\\ 0"[random.below(12)]),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let end = at + random.below(bytes.len() - at);
                bytes.extend_from_within(at..end);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

#[test]
fn mutations_of_valid_input() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        // A handshake takes as long as some hundred parsings.
        for _ in 0..if name.starts_with("tls_") { ROUNDS / 100 } else { ROUNDS } {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            mutate(&mut bytes, &mut random);
            let _shown = Shown(name, &bytes);
            target(&bytes);
        }
    }
}

/// Input that costs much for its length: the beginning, what is repeated, and the end.
fn costly(target: &str) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let long = [&b"1;"[..], &[b'x'; 4000], b"\r\na\r\n"].concat();
    let chunked = b"\x01HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let parts: &[(&[u8], &[u8], &[u8])] = match target {
        "config" => &[(b"[sources]\n", b"a.b=1\n", b""), (b"a=[", b"[],", b"]"), (b"a=[", b"{b=0},", b"]")],
        "http" => &[
            (b"\x01GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n", b"\r\n"),
            (b"\x02POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 250\r\n\r\n", b"x", b""),
            (b"\x03GET / HTTP/1.1\r\n", b"Host: x\r\n\r\nGET / HTTP/1.1\r\n", b""),
            (b"\x04POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", &long, b""),
        ],
        "chunked" => &[
            (b"\x01", &long, b"0\r\n\r\n"),
            (b"\x02", b"1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n", b""),
            (b"\x030\r\n", b"T: x\r\n", b"\r\n"),
        ],
        "response" => &[
            (chunked, &long, b""),
            (b"\x01", b"HTTP/1.1 100 Continue\r\n\r\n", b""),
            (b"\x02HTTP/1.1 200 OK\r\n", b"A: b\r\n", b"\r\n"),
            (b"\x03HTTP/1.1 200 OK\r\n\r\n", b"x", b""),
        ],
        "websocket" => &[
            // The frame of a long message that does not come, fragments, and control frames between them.
            (b"\x01\x82\xff\0\0\0\0\0\x01\x80\0\x01\x02\x03\x04", b"x", b""),
            (b"\x02\x02\x81\0\0\0\0a", b"\0\x81\0\0\0\0a", b""),
            (b"\x03\x02\x81\0\0\0\0a", b"\x89\x81\0\0\0\0a", b""),
            (b"\x04", b"\x82\x80\0\0\0\0", b""),
        ],
        "multipart" => &[
            (b"", b"--b\r\nContent-Disposition:form-data;name=\r\n\r\n\r\n", b"--b--"),
            (b"--b\r\nContent-Disposition:form-data;name=a\r\n\r\n", b"\xff", b"\r\n--b--"),
            (b"--b\r\nContent-Disposition:form-data", b";a=", b"\r\n--b--"),
        ],
        "forwarded" => &[
            (b"", b"for=1,", b""),
            (b"\"", b"\\\\", b"\""),
            (b"for=\"", b"a", b"\""),
            (b"", b";a=b", b""),
        ],
        "proxy" => &[
            (b"PROXY UNKNOWN ", b"x", b"\r\n"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\x0f\0", b"x", b""),
        ],
        "payload" => &[
            (b"\0", b"bAAAA\x1e", b""),
            (b"\x01", b"0:", b""),
            (b"\x02", b"\x01\x02\xff\x04a", b""),
            (b"\0b", b"AAAA", b""),
        ],
        "packet" => &[
            (b"2[\"a\"", b",0", b"]"),
            (b"2[\"a\"", b",[]", b"]"),
            (b"51-[\"a\"", b",{\"\":0}", b"]"),
            (b"51-[\"a\"", b",0", b"]"),
            (b"599-[\"a\"", b",{\"_placeholder\":true,\"num\":1}", b"]"),
        ],
        "resp" => &[
            (b"\x01*1000000\r\n", b":1\r\n", b""),
            (b"\x02*1000000\r\n", b"*1\r\n:1\r\n", b""),
            (b"\x03*1000000\r\n", b"$1\r\na\r\n", b""),
            (b"\x04*1000000\r\n", b"*0\r\n", b""),
            (b"\x05$99999\r\n", b"a", b""),
            (b"\x06+", b"a", b""),
        ],
        "event" => &[
            (b"{\"event\":\"postMsg\",\"data\":[0", b",0", b"],\"room_ids\":\"a\"}"),
            (b"{\"event\":\"postMsg\",\"data\":1,\"room_ids\":[1", b",1", b"]}"),
            (b"{\"event\":\"ack\",\"ack\":1,\"args\":[0", b",{\"\":0}", b"]}"),
        ],
        "socketio" => &[
            (b"\x0142[\"x\"", b",0", b"]"),
            (b"\x01451-[\"x\"", b",{\"\":0}", b"]"),
            (b"\x0140/x?", b"a&", b",{}"),
            (b"\x03", b"41/x\x1e40/x\x1e", b""),
        ],
        "published" => &[
            (b"\x01{\"source\":\"demo\",\"from_sys\":1,\"room_id\":[0", b",0", b"],\"data\":1}"),
            (
                b"\x01{\"source\":\"demo\",\"from_sys\":1,\"room_id\":\"a\",\"binary\":true,\"data\":[0",
                b",{\"\":0}",
                b"]}",
            ),
            (
                b"\0{\"do\":\"emit\",\"source\":\"demo\",\"nsp\":\"/web\",\"to\":\"all\",\"event\":\"e\",\"binary\":true,\"args\":[0",
                b",{\"\":0}",
                b"],\"node\":\"x\"}",
            ),
        ],
        other => panic!("nothing costly for the target {other}"),
    };
    parts.iter().map(|(begin, part, end)| (begin.to_vec(), part.to_vec(), end.to_vec())).collect()
}

/// Input that costs much, of up to 60 KB, as it is and mutated, and mutations of valid input.
fn costs_little(name: &str) {
    let (_, target) = memory::TARGETS.into_iter().find(|(other, _)| *other == name).unwrap();
    let (costly, seeds) = (costly(name), seeds(name));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..MEMORY_ROUNDS {
        let mut bytes = if round % 4 == 3 {
            let mut bytes = vec![round as u8];
            bytes.extend_from_slice(&seeds[random.below(seeds.len())]);
            mutate(&mut bytes, &mut random);
            bytes
        } else {
            let (begin, part, end) = &costly[round % costly.len()];
            let most = 60_000 >> random.below(8);
            [begin, &part.repeat(most / part.len()), end].map(Vec::as_slice).concat()
        };
        // The plain ones come first.
        if round > 8 * costly.len() && random.below(2) == 0 {
            mutate(&mut bytes, &mut random);
        }
        let _shown = Shown(name, &bytes);
        target(&bytes, heap::HEAP);
    }
}

macro_rules! memory {
    ($($name:ident)*) => {
        mod memory_of {
            $(#[test] fn $name() { super::costs_little(stringify!($name)); })*
        }
        const MEMORY: &[&str] = &[$(stringify!($name)),*];
    };
}

memory!(config http chunked multipart forwarded proxy response websocket payload packet resp event socketio published);

#[test]
fn every_target_has_a_test() {
    assert_eq!(memory::TARGETS.map(|(name, _)| name), MEMORY);
}

const ROUNDS: usize = 20_000;
const MEMORY_ROUNDS: usize = 1500;
