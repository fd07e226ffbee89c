//! Tests of explanations: each signs as a program with one mistake would.

use super::*;
use crate::sign::{hmac_hex, to_hex};

const KEY: &[u8] = b"try4dfs%#fs!#$2334ds(%B)";
const TS: &str = "1700000000";

fn md5(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    to_hex(&hash.finalize())
}

fn found(subject: &Subject<'_>, sign: &str, kind: &str, ts: &str) -> String {
    let others = [("shop", &b"key of the shop"[..]), ("other", b"another key")];
    explain(subject, &Signature::new(sign, kind, ts), KEY, others.into_iter()).found.join("; ")
}

fn of_md5(subject: &Subject<'_>, parts: &[&[u8]]) -> String {
    found(subject, &md5(parts), "", "")
}

fn of_hmac(subject: &Subject<'_>, key: &[u8], text: &[u8]) -> String {
    found(subject, &hmac_hex(key, text), "hmac-sha256", TS)
}

fn notify<'a>(room_id: &'a str, data: &'a str) -> Subject<'a> {
    Subject::Notify { source: "demo", room_id, data: data.as_bytes() }
}

fn connect<'a>(userid: &'a str, room_ids: &'a str) -> Subject<'a> {
    Subject::Connect { source: "demo", userid, room_ids }
}

#[track_caller]
/// `…` stands for anything.
fn says(text: &str, parts: &str) {
    parts.split(" … ").for_each(|part| assert!(text.contains(part), "{text:?} has no {part:?}"));
}

#[test]
fn values_in_another_form() {
    let sent = notify("a%2Cb", "x");
    says(&of_md5(&sent, &[b"demo", b"a,b", b"x", KEY]), "you signed `a,b` (URL-decoded), you sent `a%2Cb` as room_id");
    let sent = notify("a,b", "x y");
    says(
        &of_md5(&sent, &[b"demoa%2Cb", b"x y", KEY]),
        "you signed `a%2Cb` (URL-encoded as in a form), you sent `a,b` as room_id",
    );
    says(&of_md5(&sent, &[b"demoa%2cb", b"x y", KEY]), "in lower case");
    says(&of_md5(&sent, &[b"demoa,bx+y", KEY]), "you signed `x+y` … you sent `x y` as data");
    // All values at once, as a form that was encoded before it was signed.
    let both = of_md5(&sent, &[b"demoa%2Cbx+y", KEY]);
    says(&both, "`a%2Cb`");
    says(&both, "`x+y`");
    says(&of_md5(&notify("r", "x+y"), &[b"demorx y", KEY]), "you signed `x y` … you sent `x+y` as data");
    says(&of_md5(&notify("r", "x"), &[b"demorx\n", KEY]), "you signed a line feed at the end of the text");
    says(
        &of_md5(&notify("r", "x\n"), &[b"demorx", KEY]),
        "you signed `x` (without white space … you sent `x\\n` as data",
    );
    says(&of_md5(&notify("r", "中文"), &[b"demor\xd6\xd0\xce\xc4", KEY]), "(in GBK in place of UTF-8)");
    says(
        &of_md5(&notify("房间", "x"), &[b"demo\xb7\xbf\xbc\xe4x", KEY]),
        "(in GBK in place of UTF-8), you sent `房间` as room_id",
    );
    says(&of_md5(&notify("r", "ü"), &[b"demor?", KEY]), "with ? in place of characters beyond ASCII");
    says(&of_md5(&notify("b,a", "x"), &[b"demoa,bx", KEY]), "you signed `a,b` … you sent `b,a` as room_id");
}

#[test]
fn json_that_was_written_again() {
    let sent = notify("r", r#"{"b": "中/", "a": [1, 2]}"#);
    for (signed, how) in [
        (r#"{"b":"中/","a":[1,2]}"#, "JSON.stringify"),
        (r#"{"b":"\u4e2d\/","a":[1,2]}"#, "PHP's json_encode"),
        (r#"{"b": "\u4e2d/", "a": [1, 2]}"#, "Python's json.dumps"),
        (r#"{"a":[1,2],"b":"中/"}"#, "alphabetical"),
        ("Array", "converted to text"),
    ] {
        says(&of_md5(&sent, &[b"demor", signed.as_bytes(), KEY]), how);
        let text = format!("notify\ndemo\nr\n{TS}\n{signed}");
        says(&of_hmac(&sent, KEY, text.as_bytes()), how);
    }
    says(&of_hmac(&sent, KEY, format!("notify\ndemo\nr\n{TS}\n").as_bytes()), "(nothing)");
    says(&of_md5(&notify("r", "中\"x"), &[br#"demor"\u4e2d\"x""#, KEY]), "the JSON string with its quotation marks");
    says(&of_md5(&notify("r", "\"x\""), &[b"demorx", KEY]), "the value of the JSON string");
}

#[test]
fn order_and_separators() {
    let sent = notify("r", "x");
    says(
        &of_md5(&sent, &[b"r", b"demo", b"x", KEY]),
        "in the order room_id, source, data; the order is source, room_id, data",
    );
    says(&of_md5(&sent, &[KEY, b"demorx"]), "with the key before the fields");
    says(&of_md5(&sent, &[b"demorx"]), "an md5 without the key");
    says(&of_md5(&sent, &[b"demo,r,x", KEY]), "you joined the fields with commas");
    says(&of_md5(&sent, &[b"demo,r,x,", KEY]), "you joined the fields with commas, also at the end");
    says(&of_md5(&sent, &[b"rx", KEY]), "you did not sign the source");
    says(&of_md5(&connect("7", "r"), &[b"demo7r", KEY]), "you signed the userid, which md5 does not cover");
    let hmac = |text: &str| of_hmac(&connect("7", "a,b"), KEY, text.as_bytes());
    says(&hmac(&format!("connect\ndemo\n\na,b\n{TS}")), "you signed the login without its userid");
    says(&hmac(&format!("connect\ndemo\na,b\n{TS}")), "you did not sign the userid");
    says(&hmac(&format!("connect\ndemo\na,b\n7\n{TS}")), "in the order purpose, source, room_ids, userid, ts");
    says(&hmac(&format!("connect\ndemo\n7\na,b\n{TS}\n")), "a line feed at the end of the text");
    says(&hmac(&format!("connect\\ndemo\\n7\\na,b\\n{TS}")), "a backslash and an n");
    says(&hmac(&format!("connectdemo7a,b{TS}")), "with nothing between them");
    says(&hmac(&format!("notify\ndemo\na,b\n{TS}\n")), "you signed a notification");
    says(&hmac(&format!("connect\ndemo\n7\na,b\n{TS}000")), "you signed `1700000000000` … you sent `1700000000` as ts");
    says(&of_hmac(&sent, KEY, format!("connect\ndemo\n\nr\n{TS}").as_bytes()), "you signed a login instead");
    says(&of_md5(&sent, &[b"demor", KEY]), "you signed a login instead");
}

#[test]
fn another_hash() {
    let sent = connect("7", "r");
    let text = format!("connect\ndemo\n7\nr\n{TS}");
    says(&found(&sent, &md5(&[b"demor", KEY]), "hmac-sha256", TS), "you made an md5 in place of the HMAC-SHA256");
    says(&found(&sent, &md5(&[text.as_bytes(), KEY]), "hmac-sha256", TS), "you made an md5");
    says(&found(&sent, &hmac_hex(KEY, text.as_bytes()), "", TS), "which needs sign_type=hmac-sha256");
    says(&of_hmac(&sent, KEY, b"demor"), "you joined the fields as md5 does");
    let mut mac = Hmac::<Md5>::new_from_slice(KEY).unwrap();
    mac.update(b"demor");
    says(&found(&sent, &to_hex(&mac.finalize().into_bytes()), "", ""), "you made an HMAC-MD5");
    let sha256 = to_hex(&Sha256::new().chain_update(&text).chain_update(KEY).finalize());
    says(&found(&sent, &sha256, "hmac-sha256", TS), "a SHA-256 without HMAC");
    let sha1 = to_hex(&Sha1::new().chain_update(b"demor").chain_update(KEY).finalize());
    says(&found(&sent, &sha1, "", ""), "a SHA-1");
    let bytes = sent.hmac(KEY, TS);
    let base64 = base64::prelude::BASE64_STANDARD.encode(bytes);
    says(&found(&sent, &base64, "hmac-sha256", TS), "sign is base64");
    says(&found(&sent, &format!(" {} ", to_hex(&bytes)), "hmac-sha256", TS), "sign has other characters around");
    assert_eq!(found(&sent, &to_hex(&bytes).to_uppercase(), "hmac-sha256", TS), "the signature itself is right");
    assert_eq!(
        found(&sent, &"0".repeat(16), "", ""),
        "sign has 16 characters: md5 has 32 hexadecimal digits, hmac-sha256 has 64"
    );
    for nothing in ["", "?", "not hex or base64!", &"0".repeat(100_000)] {
        assert_eq!(found(&sent, nothing, "", ""), "sign is neither hexadecimal digits nor base64");
    }
}

#[test]
fn another_key() {
    let sent = notify("r", "x");
    says(&of_md5(&sent, &[b"demorx", KEY, b"\n"]), "the key with a line feed at its end");
    says(&of_md5(&sent, &[b"demorx\"", KEY, b"\""]), "the key in double quotation marks");
    says(&of_md5(&sent, &[b"demorx", b"try4dfs%"]), "the key cut at its #");
    let text = format!("notify\ndemo\nr\n{TS}\nx");
    says(&of_hmac(&sent, b"key of the shop", text.as_bytes()), "with the key of the source \"shop\"");
    says(&of_md5(&sent, &[b"demorx", b"another key"]), "with the key of the source \"other\"");
    says(&of_md5(&sent, &[b"demorx\n", KEY, b"\n"]), "the key with a line feed at its end");
    says(&of_md5(&sent, &[b"demorx", b"unknown key"]), "no known mistake");
}

#[test]
fn events() {
    let sent = Subject::Emit { source: "demo", nsp: "/", kind: "room_id", to: "a,b", event: "news", data: b"x" };
    let text = |to: &str| format!("emit\ndemo\n/\nroom_id\n{to}\nnews\n{TS}\nx");
    says(&of_hmac(&sent, KEY, text("a%2Cb").as_bytes()), "you signed `a%2Cb` … you sent `a,b` as to");
    says(&of_hmac(&sent, KEY, text("a,b").replace("\n/\n", "\n\n").as_bytes()), "the event with an empty nsp");
    says(&of_hmac(&sent, KEY, format!("notify\ndemo\na,b\n{TS}\nx").as_bytes()), "you signed a notification instead");
    assert_eq!(of_hmac(&sent, KEY, text("a,b").as_bytes()), "the signature itself is right");
}

/// Neither the key nor a right signature is in an explanation.
#[test]
fn an_explanation_has_no_secret() {
    let key = core::str::from_utf8(KEY).unwrap();
    for subject in [notify("r", "x"), connect("7", "r")] {
        for (sign, kind) in [("0".repeat(32), ""), ("0".repeat(64), "hmac-sha256"), (md5(&[b"demorx", KEY, b"\n"]), "")]
        {
            let explanation = explain(&subject, &Signature::new(&sign, kind, TS), KEY, core::iter::empty());
            let texts = [explanation.to_string(), explanation.json()].concat();
            let right = [to_hex(&subject.md5(KEY)), to_hex(&subject.hmac(KEY, TS))];
            assert!(!texts.contains(key) && right.iter().all(|sign| !texts.contains(sign)), "{texts}");
            assert_eq!(explanation.hashed.contains(MASK), kind.is_empty());
        }
    }
}

/// Whatever the fields are, an explanation is short and made within the budget.
#[test]
fn hostile_fields_cost_little() {
    let long = "中,%+\"\\/\u{1}".repeat(100_000);
    let deep = "[".repeat(8000);
    let lists = ",".repeat(8000);
    for data in [&long, &deep, &lists] {
        for (sign, kind) in [("0".repeat(32), ""), ("0".repeat(64), "hmac-sha256")] {
            for subject in [notify(data, data), connect(data, data)] {
                let explanation = explain(&subject, &Signature::new(&sign, kind, data), KEY, core::iter::empty());
                assert!(explanation.to_string().len() < 20_000);
            }
        }
    }
}
