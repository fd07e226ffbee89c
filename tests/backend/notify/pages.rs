//! Notifications that pages send themselves.

use crate::support::{FORM, Relay};

/// Whatever becomes of a notification, the page that sent it may read the answer.
#[test]
fn refusals_may_be_read_by_pages_too() {
    let relay = Relay::start("");
    let page = |more: &[(&str, &str)], body: &[u8]| {
        let headers = [&[("Origin", "https://shop.example.org")], more].concat();
        let answer = relay.request("POST", "/api/notify", &headers, body);
        (answer.status, answer.header("access-control-allow-origin").to_owned())
    };
    let everybody = String::from("*");
    let form = ("Content-Type", FORM);
    assert_eq!(page(&[form], b"source=demo"), (200, everybody.clone()));
    assert_eq!(page(&[form], b"data=1&data=2"), (400, everybody.clone()));
    assert_eq!(page(&[("Content-Type", "application/json")], b"{"), (400, everybody.clone()));
    assert_eq!(page(&[("Content-Type", "text/plain")], b"x"), (415, everybody.clone()));
    let asked = [
        ("Origin", "https://shop.example.org"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    for target in ["/api/notify", "/api/notify/", "/api/notify/batch"] {
        let answer = relay.request("OPTIONS", target, &asked, b"");
        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{answer:?}");
    }
}
