//! The fuzz targets on seeded mutations of real inputs: a few seconds of what `fuzz/` does for hours.
#![allow(missing_docs)]

use relay::fuzzing::TARGETS;

/// A generator whose every run is the same (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
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
        other => panic!("no seeds for {other}"),
    };
    texts.iter().map(|text| text.to_vec()).collect()
}

#[test]
fn mutations_of_real_inputs() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for _ in 0..ROUNDS {
            let mut bytes = seeds[dice.roll(seeds.len())].clone();
            for _ in 0..=dice.roll(4) {
                let at = dice.roll(bytes.len());
                match dice.roll(6) {
                    0 => bytes[at] ^= 1 << dice.roll(8),
                    1 => bytes[at] = dice.roll(256) as u8,
                    2 => bytes.insert(at, b"\r\n\0,;:{[\"\\ 0"[dice.roll(12)]),
                    3 => drop(bytes.remove(at)),
                    4 => bytes.truncate(at.max(1)),
                    _ => {
                        let end = at + dice.roll(bytes.len() - at);
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
