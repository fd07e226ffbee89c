//! Tests of signatures.

use super::*;

const KEY: &[u8] = b"try4dfs%#fs!#$2334ds(%B)";

fn policy(schemes: &[Scheme]) -> Policy<'_> {
    Policy { key: KEY, schemes, window: 300, unix: 1_000_000 }
}

#[test]
fn md5_covers_the_concatenation() {
    // From md5sum: `demochat_roomtry4dfs%#fs!#$2334ds(%B)`, and with `hello` before the key.
    let connect = Subject::Connect { source: "demo", userid: "7", room_ids: "chat_room" };
    let notify = Subject::Notify { source: "demo", room_id: "chat_room", data: b"hello" };
    assert_eq!(to_hex(&connect.md5(KEY)), "f837ba41aeedbfb5218c72c9febfe6e0");
    assert_eq!(to_hex(&notify.md5(KEY)), "84c016c32bbcb9da3081b11adad04e85");
}

#[test]
fn hex_digits_of_either_case_are_accepted() {
    let subject = Subject::Connect { source: "demo", userid: "", room_ids: "r" };
    let hex = to_hex(&subject.md5(KEY));
    let ok = |hex: &str| subject.verify(&Signature::new(hex, "", ""), &policy(&Scheme::ALL)).is_ok();
    assert!(ok(&hex) && ok(&hex.to_uppercase()));
    assert!(!ok("") && !ok(&hex[1..]) && !ok(&format!("{hex}0")) && !ok(&hex.replace(&hex[..1], "g")));
    let hmac = Signature::new(&hex, "hmac-sha256", "1000000");
    let all = policy(&Scheme::ALL);
    assert_eq!(subject.verify(&hmac, &all), Err(SignError::Digits(Scheme::HmacSha256)));
    assert_eq!(subject.verify(&Signature::new(&hex, "sha1", ""), &all), Err(SignError::Scheme));
}

#[test]
fn hmac_covers_user_border_and_time() {
    let subject = Subject::Connect { source: "demo", userid: "7", room_ids: "a,b" };
    let sign = |ts: &str| to_hex(&subject.hmac(KEY, ts));
    let check = |subject: &Subject<'_>, hex: &str, ts: &str| {
        subject.verify(&Signature::new(hex, "hmac-sha256", ts), &policy(&[Scheme::HmacSha256])).is_ok()
    };
    for (ts, right) in [("1000000", true), ("999700", true), ("1000300", true), ("999699", false), ("1000301", false)] {
        assert_eq!(check(&subject, &sign(ts), ts), right, "{ts}");
    }
    for ts in ["1000000.0", "1000000.123456789", "0999700.9"] {
        assert!(check(&subject, &sign(ts), ts), "{ts}");
    }
    for ts in [
        "",
        ".",
        "1000000.",
        ".5",
        "1000000.5.5",
        "1000000.x",
        "+1000000",
        "1e6",
        "1000000\n",
        "999699.9",
        "99999999999999999999999",
    ] {
        assert!(!check(&subject, &sign(ts), ts), "{ts}");
    }
    let other = Subject::Connect { source: "demo", userid: "8", room_ids: "a,b" };
    assert!(!check(&other, &sign("1000000"), "1000000"));
    let one = Subject::Notify { source: "s", room_id: "r1", data: b"2x" };
    let two = Subject::Notify { source: "s", room_id: "r12", data: b"x" };
    assert_eq!(one.md5(KEY), two.md5(KEY));
    assert_ne!(one.hmac(KEY, "1"), two.hmac(KEY, "1"));
}

/// md5 covers no border: a login's signature is a notification's for another room.
#[test]
fn an_md5_login_is_no_notification_where_schemes_are_apart() {
    let login = Subject::Connect { source: "demo", userid: "7", room_ids: "chat_room" };
    let notify = Subject::Notify { source: "demo", room_id: "chat", data: b"_room" };
    let emit = Subject::Emit { source: "demo", nsp: "/", kind: "nsp", to: "", event: "e", data: b"" };
    let hex = to_hex(&login.md5(KEY));
    let is_valid = |subject: &Subject<'_>, schemes: &Schemes| {
        subject.verify(&Signature::new(&hex, "", ""), &policy(schemes.accepted(subject))).is_ok()
    };
    let (all, apart) = (Schemes::all(&Scheme::ALL), Schemes::apart());
    assert!(is_valid(&login, &all) && is_valid(&notify, &all));
    assert!(is_valid(&login, &apart) && !is_valid(&notify, &apart));
    assert_eq!(apart.accepted(&emit), [Scheme::HmacSha256]);
}

#[test]
fn no_field_but_data_may_have_a_control_character() {
    use Scheme::{HmacSha256, Md5};
    let connect = |source, userid, room_ids| Subject::Connect { source, userid, room_ids };
    let notify = |source, room_id, data| Subject::Notify { source, room_id, data };
    let emit = |nsp, kind, to, event| Subject::Emit { source: "s", nsp, kind, to, event, data: b"\n" };
    for (subject, field) in [
        (connect("s", "u", "a,b"), None),
        (connect("s\n", "u", "r"), Some("source")),
        (connect("s", "x\nsecret,", "public"), Some("userid")),
        (connect("s", "x", "secret,\npublic"), Some("room_ids")),
        (notify("s", "r", b"\n1700000000\n\0"), None),
        (notify("s\0", "r", b""), Some("source")),
        (notify("s", "public\n1\nhello,secret", b"x"), Some("room_id")),
        (emit("/", "nsp", "", "e"), None),
        (emit("/\n", "nsp", "", "e"), Some("nsp")),
        (emit("/", "room_id", "r\n", "e"), Some("room_id")),
        (emit("/", "userid", "\u{7f}", "e"), Some("userid")),
        (emit("/", "socket_id", "\t", "e"), Some("socket_id")),
        (emit("/", "userid", "7", "e\n1"), Some("event")),
    ] {
        assert_eq!(subject.control_field(HmacSha256), field, "{subject:?}");
        let of_md5 = field.filter(|field| *field != "userid" || matches!(subject, Subject::Emit { .. }));
        assert_eq!(subject.control_field(Md5), of_md5, "{subject:?}");
    }
}

/// Without control characters, different fields never have one input.
#[test]
fn hmac_inputs_of_different_fields_differ() {
    let texts = ["", "a", "b", "a,b", ",", "connect", "notify", "1"];
    let mut seen = std::collections::BTreeSet::new();
    for (one, two, three) in
        texts.iter().flat_map(|one| texts.iter().flat_map(move |two| texts.map(|three| (*one, *two, three))))
    {
        assert!(seen.insert(Subject::Connect { source: one, userid: two, room_ids: three }.hmac(KEY, "1")));
        for end in ["", "\n", "\na"] {
            let data = [three, end].concat();
            assert!(seen.insert(Subject::Notify { source: one, room_id: two, data: data.as_bytes() }.hmac(KEY, "1")));
        }
    }
}

#[test]
fn a_mark_is_the_beginning_of_the_bytes() {
    let hex = "00112233445566778899aabbccddeeff".repeat(2);
    let mark = Some(Mark { second: 17, digest: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff });
    assert_eq!(Signature::new(&hex, "hmac-sha256", "17.5").mark(), mark);
    assert_eq!(Signature::new(&hex.to_uppercase(), "hmac-sha256", "17").mark(), mark);
    for (hex, kind, ts) in [(&*hex, "md5", "17"), ("00", "hmac-sha256", "17"), (&*hex, "hmac-sha256", "x")] {
        assert_eq!(Signature::new(hex, kind, ts).mark(), None);
    }
}

#[test]
fn a_wrong_ts_is_named_before_the_digits() {
    let subject = Subject::Connect { source: "demo", userid: "", room_ids: "r" };
    let all = policy(&Scheme::ALL);
    let error = |ts: &str| subject.verify(&Signature::new("0", "hmac-sha256", ts), &all).unwrap_err();
    assert_eq!(error(""), SignError::TsMissing);
    assert_eq!(error("1e6"), SignError::TsFormat);
    assert_eq!(error("1000000000"), SignError::TsUnit);
    assert_eq!(error("1000000000000"), SignError::TsUnit);
    assert_eq!(error("999000"), SignError::TsOff { seconds: -1000, window: 300 });
    assert_eq!(error("18446744073709551615"), SignError::TsOff { seconds: i64::MAX, window: 300 });
    assert_eq!(error("1000000"), SignError::Digits(Scheme::HmacSha256));
    let wrong = Signature { hex: &"0".repeat(64), ..Signature::new("", "hmac-sha256", "1000000") };
    assert_eq!(subject.verify(&wrong, &all), Err(SignError::Mismatch));
}

#[test]
fn only_accepted_schemes_are_valid() {
    let subject = Subject::Connect { source: "demo", userid: "", room_ids: "r" };
    let hex = to_hex(&subject.md5(KEY));
    let refused = subject.verify(&Signature::new(&hex, "md5", ""), &policy(&[Scheme::HmacSha256]));
    assert_eq!(refused, Err(SignError::NotAccepted(Scheme::Md5)));
}
