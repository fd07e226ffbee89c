//! What of a notification is delivered.

use super::{SUCCESS, document, post, refusal, sign};
use crate::support::{FORM, Relay, plain};

#[test]
fn a_form_s_data_is_delivered_as_that_very_string() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let mut text = relay.connect_with(&[("format", "text")]);
    for data in [
        "{\"a\":1}",
        "[1]",
        "null",
        "1.50",
        "\"quoted\"",
        "a+b c&d=e;f%41",
        "line\r\nline\nline\rend\t",
        "\u{5f20}\u{4e09} \u{1f600} \u{2028}",
        " ",
        "\0\u{1}\u{7f}",
        "\u{feff}bom",
        "</script>",
    ] {
        relay.notify("room", data);
        assert_eq!(member.data(), data);
        assert_eq!(text.text(), data);
    }
    for (encoded, data) in [
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("%e5%bc%a0", "\u{5f20}"),
        ("%E5%BC%A0", "\u{5f20}"),
        ("\u{5f20}", "\u{5f20}"),
        ("a=b=c", "a=b=c"),
        ("a;b", "a;b"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%0d%0A", "\r\n"),
    ] {
        let body = format!("data={encoded}&&source=demo&room_id=room&sign={}&more=fields", sign("room", data));
        assert_eq!(post(&relay, FORM, body.as_bytes()).body, SUCCESS, "{encoded}");
        assert_eq!(member.data(), data, "{encoded}");
        assert_eq!(text.text(), data, "{encoded}");
    }
}

/// Over a string the signature is over its value, over anything else it is over the text; both are delivered as written.
#[test]
fn json_data_may_be_of_any_type_and_is_signed_as_sent() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for (data, signed) in [
        ("\"text\"", "text"),
        (r#""\u5f20 \"\n\/ \ud83d\ude00""#, "\u{5f20} \"\n/ \u{1f600}"),
        ("\"null\"", "null"),
        ("1.50", "1.50"),
        ("-0", "-0"),
        ("1e400", "1e400"),
        ("12345678901234567890", "12345678901234567890"),
        ("true", "true"),
        ("false", "false"),
        ("0", "0"),
        ("[]", "[]"),
        ("{}", "{}"),
        ("[1, 2,  3]", "[1, 2,  3]"),
        (r#"{ "b":1, "a":2 }"#, r#"{ "b":1, "a":2 }"#),
        ("{\"a\":\n1,\"a\":2}", "{\"a\":\n1,\"a\":2}"),
        (r#"{"x":"\u5f20"}"#, r#"{"x":"\u5f20"}"#),
        (&deep, &deep),
    ] {
        let answer = relay.post_json("/api/notify", &document(&format!("  {data} "), signed));
        assert_eq!(answer.body, SUCCESS, "{data}");
        let text = member.text();
        let begin = format!(r#"{{"event":"newMsg","source":"demo","data":{data},"room_id":"room","id":""#);
        assert!(text.starts_with(&begin), "{data}: {text}");
    }
    // The text is signed, not what it means.
    for (data, signed) in [
        ("1.50", "1.5"),
        (r#"{ "b":1, "a":2 }"#, r#"{"b":1,"a":2}"#),
        (r#"{ "b":1, "a":2 }"#, r#"{"a":2,"b":1}"#),
        ("\"text\"", "\"text\""),
        (r#""\u5f20""#, r"\u5f20"),
    ] {
        let answer = relay.post_json("/api/notify", &document(data, signed));
        assert_eq!(plain(&answer.body), refusal("api notify sign verify failed!"), "{data} signed as {signed}");
    }
    for missing in ["null", "\"\""] {
        let answer = relay.post_json("/api/notify", &document(missing, "null"));
        assert_eq!(plain(&answer.body), refusal("data can not be null!"), "{missing}");
    }
    member.silence();
}

#[test]
fn data_may_be_nearly_as_large_as_a_body() {
    let relay = Relay::start("");
    let mut member = relay.connect("room");
    let data = "0123456789".repeat(99_980);
    relay.notify("room", &data);
    assert!(member.data() == data.as_str());
    assert_eq!(
        relay.post_json("/api/notify", &document(&format!("[\"{data}\"]"), &format!("[\"{data}\"]"))).body,
        SUCCESS
    );
    assert!(member.data()[0] == data.as_str());
}
