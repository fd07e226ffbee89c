//! To which rooms a notification goes.

use serde_json::json;

use super::{SUCCESS, sign};
use crate::support::{self, Client, Relay};

#[test]
fn several_rooms_get_it_in_the_order_listed() {
    let relay = Relay::start("");
    let mut member = relay.connect("a,b,c");
    let hear = |member: &mut Client, rooms: &[&str]| {
        for room in rooms {
            assert_eq!(member.json()["room_id"], *room);
        }
    };
    relay.notify("c,a", "x");
    hear(&mut member, &["c", "a"]);
    relay.notify(",b,,a,", "x");
    hear(&mut member, &["b", "a"]);
    relay.notify("nobody,b,neither", "x");
    hear(&mut member, &["b"]);
    for (list, signed, rooms) in [
        (r#"["b","a","c"]"#, "b,a,c", &["b", "a", "c"][..]),
        (r#"["c"]"#, "c", &["c"]),
        (r#"["b,c", "a"]"#, "b,c,a", &["b", "c", "a"]),
        (r#""a,c""#, "a,c", &["a", "c"]),
    ] {
        let body = format!(r#"{{"sign":"{}","room_id":{list},"data":"x","source":"demo"}}"#, sign(signed, "x"));
        assert_eq!(relay.post_json("/api/notify", &body).body, SUCCESS, "{list}");
        hear(&mut member, rooms);
    }
    let mut seven = relay.connect("7");
    let body = format!(r#"{{"sign":"{}","room_id":[7],"data":"x","source":"demo"}}"#, sign("7", "x"));
    assert_eq!(relay.post_json("/api/notify", &body).body, SUCCESS);
    assert_eq!(seven.data(), "x");
    member.silence();
    assert_eq!(
        relay.post_json("/api/notify", r#"{"source":"demo","data":"x","sign":"0","room_id":[]}"#).json(),
        json!({"code": 0, "msg": "room_id can not be null!", "data": ""})
    );
}

#[test]
fn a_room_without_members_is_no_fault() {
    let relay = Relay::start("");
    relay.notify("nobody is here", "x");
    let mut member = relay.connect("room");
    let mut other =
        relay.connect_with(&[("source", "other"), ("sign", &support::connect_sign("other", "room", "other key"))]);
    relay.notify("room", "after");
    assert_eq!(member.data(), "after", "what was sent before it came is not for it");
    other.silence();
    drop(member);
    relay.notify("room", "x");
    assert_eq!((relay.counter("notifies"), relay.counter("notifies_refused")), (3, 0));
}
