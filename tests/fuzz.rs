//! Runs the fuzz targets for a few seconds on seeded mutations of valid input. `fuzz/` runs them for as long as you like.
#![allow(missing_docs)]

use relay::fuzzing::TARGETS;

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
    let texts: &[&[u8]] = match target {
        "config" => &[include_bytes!("../etc/relay.toml"), b"[limits]\nbody = 5\n[sources.a]\nsign_key = \"k\"\n"],
        "http" => &[
            b"\x10GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET",
            b"\x30POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            b"\x05GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        ],
        "chunked" => &[b"4\r\nWiki\r\n5;x=y\r\npedia\r\n0\r\nTrailer: x\r\n\r\n", b"1\r\na\r\n64\r\n"],
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

#[test]
fn mutations_of_valid_input() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..ROUNDS {
            let mut bytes = seeds[random.below(seeds.len())].clone();
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
            target(&bytes);
        }
    }
}

const ROUNDS: usize = 20_000;
