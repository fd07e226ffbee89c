use core::time::Duration;

use super::*;
use crate::{
    clock::Time,
    hub::login::{Admitted, Login},
    key::{ConnKey, Handle, Key},
    message::{Form, MessageId},
    sign::{Claims, TokenPolicy, to_hex},
    state::{
        Effect,
        testing::{config, received},
    },
};

const CONFIG: &str = "[sources.one]\nsign_key = \"key\"\njwt = { secret = \"secret\" }\n[sources.two]\nsign_key = \"key\"\n\
                      [namespaces.\"/\"]\nrules = [{ event = \"say\", send = \"rooms\" }, { event = \"echo\", send = \"self\" }]\n";

fn at(seconds: u64) -> Now {
    Now { time: Time::START.after(Duration::from_secs(seconds)), unix: 1000 + seconds, ..Now::default() }
}

fn hub() -> Hub {
    let mut hub = Hub::new(config(CONFIG), MessageId::first(1000, 7), [0; 32]);
    hub.begin_turn(at(0));
    hub
}

/// A token of the user 7 that is valid until `expires`.
fn token(rooms: &[&str], expires: u64) -> String {
    of_user("7", rooms, expires, true)
}

fn of_user(userid: &str, rooms: &[&str], expires: u64, may_post: bool) -> String {
    let rooms = rooms.iter().map(|room| room.to_string()).collect();
    let claims = Claims { userid: userid.into(), username: Some("N".into()), rooms, may_post, expires };
    claims.to_token("secret", None, &TokenPolicy::default(), 1000)
}

fn login<'a>(source: &'a str, room_ids: &'a str, jwt: &'a str) -> Login<'a> {
    Login {
        source,
        room_ids,
        signature: Signature::new("", "", ""),
        jwt,
        userid: "somebody",
        username: "Somebody",
        ext_info: "",
        watch_quit: true,
        presence: false,
        form: Form::Json,
        since: None,
        pid: "",
        offset: "",
        proxied: false,
        ip: None,
        referer: "",
        user_agent: "",
    }
}

fn admit(hub: &mut Hub, login: &Login<'_>, now: Now) -> Result<SessionKey, Refusal> {
    let conn = ConnKey::wrap(Key::from_bits(1 << 32).unwrap());
    let Admitted { client, .. } = hub.admit("/", login, "", conn, now)?;
    Ok(hub.state.clients.get(client).unwrap().session.unwrap())
}

fn rooms(hub: &Hub, key: SessionKey) -> Vec<String> {
    let mut names: Vec<String> =
        hub.state.room_names(hub.state.sessions.get(key).unwrap()).iter().map(|name| name.to_string()).collect();
    names.sort_unstable();
    names
}

/// Sends a frame of a plain WebSocket client. Returns what it gets.
fn send(hub: &mut Hub, key: SessionKey, frame: &str, now: Now) -> Vec<String> {
    let client = hub.state.sessions.get(key).unwrap().client;
    super::super::handle_message(hub, client, super::super::Incoming::Text(frame), now);
    received(&mut hub.state, key)
}

#[test]
fn a_token_says_who_and_where() {
    let mut hub = hub();
    let jwt = token(&["a", "news-*", "b"], 2000);
    let key = admit(&mut hub, &login("one", "", &jwt), at(0)).unwrap();
    assert_eq!(rooms(&hub, key), ["a", "b"], "the names, and no pattern");
    let identity = &hub.state.sessions.get(key).unwrap().identity;
    assert_eq!((identity.userid(), identity.username()), ("7", "N"), "not those of the login");
    let key = admit(&mut hub, &login("one", "news-1,a", &jwt), at(0)).unwrap();
    assert_eq!(rooms(&hub, key), ["a", "news-1"]);
    let wrong = |error| Err(Refusal::TokenWrong(error));
    let mut refused = |source, list, jwt: &str, now| admit(&mut hub, &login(source, list, jwt), now);
    use crate::sign::TokenError;
    assert_eq!(refused("one", "a,c", &jwt, at(0)), Err(Refusal::RoomNotAllowed));
    assert_eq!(refused("one", "*", &jwt, at(0)), Err(Refusal::RoomsMissing));
    assert_eq!(refused("one", "", &token(&["news-*"], 2000), at(0)), Err(Refusal::RoomsMissing));
    assert_eq!(refused("", "a", &jwt, at(0)), Err(Refusal::SourceMissing));
    assert_eq!(refused("three", "a", &jwt, at(0)), Err(Refusal::SourceUnknown));
    assert_eq!(refused("two", "a", &jwt, at(0)), wrong(TokenError::NotAccepted), "it is of another source");
    assert_eq!(refused("one", "a", &jwt, at(1005)), wrong(TokenError::Expired { seconds: 5 }));
    assert_eq!(refused("one", "a", "x", at(0)), wrong(TokenError::Parts));
    assert_eq!((hub.state.session_count(), hub.state.grants.len(), hub.state.client_count()), (2, 2, 2));
}

#[test]
fn a_login_ends_after_a_warning() {
    let mut hub = hub();
    let key = admit(&mut hub, &login("one", "", &token(&["a"], 1300)), at(0)).unwrap();
    let client = hub.state.sessions.get(key).unwrap().client;
    assert_eq!(hub.deadline(), at(270).time);
    handle_timeout(&mut hub, at(269));
    assert!(received(&mut hub.state, key).is_empty());
    handle_timeout(&mut hub, at(270));
    assert_eq!(received(&mut hub.state, key), [r#"{"event":"expiring","data":{"seconds":30,"exp":1300}}"#]);
    handle_timeout(&mut hub, at(304));
    assert!(received(&mut hub.state, key).is_empty() && hub.poll_effect().is_none());
    handle_timeout(&mut hub, at(305));
    assert_eq!(hub.poll_effect(), Some(Effect::Close { client, close: Close::EXPIRED }));
    assert_eq!((hub.state.stats.logins_expired, hub.state.grants.is_empty()), (1, true));
    hub.remove(client, true);
    assert_eq!((hub.state.session_count(), hub.state.room_count()), (0, 0));
}

#[test]
fn a_login_is_renewed() {
    let mut hub = hub();
    let key = admit(&mut hub, &login("one", "a,news-1,b", &token(&["*"], 1300)), at(0)).unwrap();
    let renew = |jwt: &str| format!(r#"{{"event":"renew","jwt":"{jwt}","ack":1}}"#);
    let answer = send(&mut hub, key, &renew(&token(&["a", "news-*"], 1600)), at(280));
    assert_eq!(answer, [r#"{"event":"ack","ack":1,"code":1,"msg":"","data":{"exp":1600,"left":["b"]}}"#]);
    assert_eq!(rooms(&hub, key), ["a", "news-1"]);
    handle_timeout(&mut hub, at(400));
    assert!(received(&mut hub.state, key).is_empty(), "the old end has no effect");
    for (jwt, why) in [
        (of_user("8", &["*"], 1600, true), r#""msg":"renew needs a login of the same user!""#),
        (token(&["a"], 900), r#""reason":"the token has expired: exp was 500 s ago""#),
        ("x".into(), r#""msg":"jwt verify failed!""#),
    ] {
        let answer = send(&mut hub, key, &renew(&jwt), at(400));
        assert!(answer.len() == 1 && answer[0].contains(why), "{answer:?}");
    }
    assert_eq!((rooms(&hub, key).len(), hub.state.grants.get(key).unwrap().expires), (2, Some(1600)));
    // Joining is limited by the newest token.
    let join = |room: &str| format!(r#"{{"event":"join","room_ids":"{room}","ack":1}}"#);
    assert!(send(&mut hub, key, &join("news-2"), at(400))[0].contains("\"code\":1"));
    assert!(send(&mut hub, key, &join("a,b"), at(400))[0].contains("the token does not allow this room!"));
    assert!(send(&mut hub, key, &join("b").replace("join", "leave"), at(400))[0].contains("\"code\":1"));
    assert_eq!(rooms(&hub, key), ["a", "news-1", "news-2"]);
    hub.reload(config(&CONFIG.replace("jwt = { secret = \"secret\" }\n", "")), at(401));
    assert_eq!(hub.state.session_count(), 1, "it ends nothing");
    assert!(send(&mut hub, key, &renew(&token(&["a"], 1600)), at(401))[0].contains("the source accepts no tokens"));
}

#[test]
fn a_session_that_only_reads() {
    let mut hub = hub();
    let key = admit(&mut hub, &login("one", "", &of_user("7", &["a"], 1300, false)), at(0)).unwrap();
    for frame in [r#"{"data":"x","room_ids":"a"}"#, r#"{"event":"say","data":1}"#] {
        let answer = send(&mut hub, key, frame, at(0));
        assert_eq!(answer, [r#"{"event":"sys_error","msg":"this login can not post!"}"#], "{frame}");
    }
    assert_eq!(send(&mut hub, key, r#"{"event":"echo","data":1}"#, at(0)), [r#"{"event":"echo","data":1}"#]);
    assert!(!hub.state.sessions.get(key).unwrap().wants.quit(), "its end is not announced");
    let jwt = of_user("7", &["a"], 1300, false);
    let text = Login { form: Form::Text, ..login("one", "", &jwt) };
    let key = admit(&mut hub, &text, at(0)).unwrap();
    send(&mut hub, key, "hello", at(0));
    assert!(matches!(hub.poll_effect(), Some(Effect::Close { close: Close::READ_ONLY, .. })));
    assert_eq!(hub.state.stats.published, 0);
}

/// An hmac-sha256 signature with `exp` and `ro`.
#[test]
fn terms_of_a_signature() {
    let mut hub = hub();
    let subject = Subject::Connect { source: "one", userid: "7", room_ids: "a" };
    let sign = |ts: &str| to_hex(&subject.hmac(b"key", ts));
    let of = |hex, exp, ro| Signature::of_login(hex, "hmac-sha256", "1000", Terms { exp, ro });
    let mut attempt = |signature| {
        let login = Login { signature, userid: "7", ..login("one", "a", "") };
        admit(&mut hub, &login, at(0))
    };
    let (old, both) = (sign("1000"), sign("1000\n1300\n1"));
    let without = attempt(of(&old, "", "")).unwrap();
    let with = attempt(of(&both, "1300", "1")).unwrap();
    for (hex, exp, ro) in [
        (&old, "1300", "1"),
        (&old, "1300", ""),
        (&both, "1300", ""),
        (&both, "1301", "1"),
        (&both, "", "1"),
        (&both, "", ""),
        (&both, "1300\n1", ""),
        (&both, "1300", "1\n"),
        (&both, "1300.0", "1"),
    ] {
        assert!(matches!(attempt(of(hex, exp, ro)), Err(Refusal::ConnectSignWrong(_))), "{exp:?} {ro:?}");
    }
    // The terms cannot be moved into ts.
    let moved = Signature::new(&both, "hmac-sha256", "1000\n1300\n1");
    assert!(attempt(moved).is_err());
    assert_eq!(hub.state.grants.get(without), None);
    let grant = hub.state.grants.get(with).unwrap();
    assert_eq!((grant.expires, grant.may_post, &grant.rooms), (Some(1300), false, &None));
    // Renewed with another signature, over other rooms.
    let subject = Subject::Connect { source: "one", userid: "7", room_ids: "b,c" };
    let hex = to_hex(&subject.hmac(b"key", "1200\n1500\n"));
    let frame = format!(
        r#"{{"event":"renew","room_ids":["b","c"],"sign":"{hex}","sign_type":"hmac-sha256","ts":1200,"exp":1500,"ack":1}}"#
    );
    let answer = send(&mut hub, with, &frame, at(200));
    assert_eq!(answer, [r#"{"event":"ack","ack":1,"code":1,"msg":"","data":{"exp":1500,"left":["a"]}}"#]);
    assert!(rooms(&hub, with).is_empty(), "it joins nothing");
    assert!(hub.state.grants.get(with).unwrap().may_post);
    // A session without a limit has no such event.
    let answer = send(&mut hub, without, &frame, at(200));
    assert_eq!(answer, [r#"{"event":"ack","ack":1,"code":0,"msg":"unknown event!","data":""}"#]);
}

/// A session that is pending is not told, but it ends.
#[test]
fn a_pending_session() {
    let mut hub = hub();
    let key = admit(&mut hub, &login("one", "", &token(&["a"], 1300)), at(0)).unwrap();
    hub.state.sessions.get_mut(key).unwrap().pending = true;
    handle_timeout(&mut hub, at(270));
    assert!(received(&mut hub.state, key).is_empty());
    hub.state.sessions.get_mut(key).unwrap().pending = false;
    handle_timeout(&mut hub, at(271));
    assert_eq!(received(&mut hub.state, key).len(), 1);
}

/// The end of many logins at once takes several turns.
#[test]
fn many_at_once() {
    let mut hub = hub();
    let jwt = token(&["a"], 1300);
    for _ in 0..MOST_IN_A_TURN + 10 {
        admit(&mut hub, &login("one", "", &jwt), at(0)).unwrap();
    }
    handle_timeout(&mut hub, at(400));
    assert_eq!((hub.state.stats.logins_expired, hub.deadline()), (MOST_IN_A_TURN as u64, at(270).time));
    handle_timeout(&mut hub, at(400));
    assert_eq!(hub.state.stats.logins_expired, MOST_IN_A_TURN as u64 + 10);
}
