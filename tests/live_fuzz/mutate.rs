//! Mutations of valid input.
// Some mutations do not need all of a `Vec`, but all have the same type.
#![allow(clippy::ptr_arg)]

use crate::random::Random;

/// Changes `bytes` in up to four places. `other` is another input of the kind, to splice with.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        if random.once_in(12) {
            splice(bytes, other, random);
        } else {
            MUTATIONS[random.below(MUTATIONS.len())](bytes, random);
        }
        bytes.truncate(LONGEST);
    }
}

type Mutation = fn(&mut Vec<u8>, &mut Random);

const MUTATIONS: [Mutation; 11] = [
    flip_bit,
    replace_byte,
    insert_bytes,
    insert_token,
    delete_range,
    truncate,
    duplicate_range,
    repeat_range,
    replace_number,
    replace_integer,
    swap_ranges,
];

/// Bytes of a mutated input.
const LONGEST: usize = 128 * 1024;

/// What separates, ends or means something in one of the protocols.
const TOKENS: [&[u8]; 40] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b",",
    b";",
    b":",
    b"&",
    b"=",
    b"?",
    b"/",
    b"-",
    b"\x1e",
    b"\xff",
    b"\xed\xa0\x80",
    "\u{1d11e}".as_bytes(),
    b"%00",
    b"%ff",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"1e999",
    b"{}",
    b"[]",
    b"{\"_placeholder\":true,\"num\":0}",
    b"{\"_base64\":\"AP8=\"}",
    b"$-1\r\n",
    b"*-1\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"2probe",
];

/// Numbers at the borders of their types, in decimal and hexadecimal.
const NUMBERS: [&str; 24] = [
    "0",
    "-0",
    "-1",
    "1",
    "00",
    "9",
    "100",
    "101",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "1000001",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "ffffffffffffffff",
    "1.5",
];

/// The same for binary fields.
const INTEGERS: [u64; 10] = [0, 1, 125, 126, 127, 0x7fff, 0xffff, 0x7fff_ffff, i64::MAX as u64, u64::MAX];

fn flip_bit(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn replace_byte(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte = random.below(256) as u8;
    }
}

fn insert_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    let new: Vec<u8> = (0..random.length(64)).map(|_| random.below(256) as u8).collect();
    insert(bytes, &new, random);
}

fn insert_token(bytes: &mut Vec<u8>, random: &mut Random) {
    let token = random.pick(&TOKENS);
    insert(bytes, token, random);
}

fn insert(bytes: &mut Vec<u8>, new: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    bytes.splice(at..at, new.iter().copied());
}

fn delete_range(bytes: &mut Vec<u8>, random: &mut Random) {
    let range = range(bytes, 64, random);
    bytes.drain(range);
}

fn truncate(bytes: &mut Vec<u8>, random: &mut Random) {
    bytes.truncate(random.below(bytes.len() + 1));
}

fn duplicate_range(bytes: &mut Vec<u8>, random: &mut Random) {
    let part = bytes[range(bytes, 1024, random)].to_vec();
    insert(bytes, &part, random);
}

fn repeat_range(bytes: &mut Vec<u8>, random: &mut Random) {
    let part = bytes[range(bytes, 64, random)].to_vec();
    let times = random.length(LONGEST / part.len().max(1));
    insert(bytes, &part.repeat(times), random);
}

fn replace_number(bytes: &mut Vec<u8>, random: &mut Random) {
    let from = random.below(bytes.len());
    let Some(begin) = bytes[from..].iter().position(u8::is_ascii_digit) else { return };
    let begin = from + begin;
    let length = bytes[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(begin..begin + length, random.pick(&NUMBERS).bytes());
}

fn replace_integer(bytes: &mut Vec<u8>, random: &mut Random) {
    let size = 1 << random.below(4);
    let Some(most) = bytes.len().checked_sub(size) else { return };
    let at = random.below(most + 1);
    let number = INTEGERS[random.below(INTEGERS.len())].to_be_bytes();
    bytes[at..at + size].copy_from_slice(&number[8 - size..]);
}

fn swap_ranges(bytes: &mut Vec<u8>, random: &mut Random) {
    let part: Vec<u8> = bytes.drain(range(bytes, 256, random)).collect();
    insert(bytes, &part, random);
}

/// The beginning of one and the end of the other.
fn splice(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    bytes.truncate(random.below(bytes.len() + 1));
    bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
}

/// A part of up to `most` bytes.
fn range(bytes: &[u8], most: usize, random: &mut Random) -> std::ops::Range<usize> {
    let begin = random.below(bytes.len() + 1);
    begin..begin + random.length(most).min(bytes.len() - begin)
}
