//! Calls about sessions of a [`State`], up to their answers.

use core::time::Duration;
use std::rc::Rc;

use serde_json::{Value, json};

use super::*;
use crate::{
    clock::Now,
    config::{Auth, Config, Namespace},
    hooks::failure::Failure,
    message::{Form, MessageId},
    state::{Client, MAIN, Session, Wants, identity::Identity, record::RecordState},
};

const URL: &str = "http://127.0.0.1:9/hook";

fn config(url: &str, events: &[&str]) -> Config {
    let mut config = Config::demo();
    config.hooks.url = Some(Backend::parse(url).unwrap());
    config.hooks.events = events.iter().map(|name| (*name).to_owned()).collect();
    let namespace = Namespace { auth: Auth::Hook, source: Some("demo".into()), ..Namespace::default() };
    config.namespaces.insert("/ask".into(), namespace);
    config
}

/// A state and hooks with that configuration, and a session of `ann` in `/ask`.
fn start(config: Config) -> (State, Hooks, SessionKey) {
    let mut state = State::new(MessageId::first(1, 1), [0; 32]);
    let mut hooks = Hooks::default();
    hooks.configure(&config.hooks);
    state.reload(Rc::new(config));
    state.now = Now { unix: 1_795_219_200, ..Now::default() };
    let session = enter(&mut state, "ann");
    (state, hooks, session)
}

fn enter(state: &mut State, userid: &str) -> SessionKey {
    let client = state.clients.insert(Client::default());
    let agent = state.agents.intern("", "");
    let identity = Identity::new(userid, "A\"nn", "", agent, "192.0.2.7".parse().ok(), 5);
    state.sessions.insert(Session {
        client,
        identity,
        rooms: smallvec::SmallVec::new(),
        tenant: state.any_tenant("demo").unwrap(),
        namespace: state.find_namespace("/ask").unwrap(),
        form: Form::SocketIo4,
        wants: Wants::default(),
        pending: false,
        record: RecordState::default(),
    })
}

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1000)
}

/// The bodies of the calls that are sent now, with their numbers.
fn sent(hooks: &mut Hooks, now: Time) -> Vec<(u64, Value)> {
    assert_eq!(hooks.take_failed(), []);
    let body = |call: &Call| {
        let body: Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!((body["id"].as_str(), body["event"].as_str()), (Some(&*call.id), Some(call.kind.name())));
        (call.number, body)
    };
    core::iter::from_fn(|| hooks.poll_send(now).map(body)).collect()
}

fn response(body: &str) -> Response {
    Response { status: 200, body: body.as_bytes().to_vec(), reusable: true }
}

fn common(state: &State, session: SessionKey, event: &str, rooms: &Value) -> Value {
    json!({
        "event": event, "nsp": "/ask", "socket_id": state.sids.socket(session), "source": "demo", "userid": "ann",
        "username": "A\"nn", "ip": "192.0.2.7", "ts": 1_795_219_200, "rooms": rooms,
    })
}

fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more}") };
    object.as_object_mut().unwrap().extend(more);
    object
}

#[test]
fn a_connect() {
    let (mut state, mut hooks, session) = start(config(URL, &["connect", "disconnect"]));
    assert!(hooks.is_empty() && !hooks.has_calls());
    let rooms = Rooms::parse("a,b", 10, 9).unwrap();
    hooks.connect(&mut state, session, Some(&rooms), "userid=ann&sign=secret&x=1&x=2&y=%22", "{\"token\":7}");
    assert!(state.is_pending(session) && hooks.has_calls());
    let calls = sent(&mut hooks, at(0));
    let [(number, body)] = calls.as_slice() else { panic!("{calls:?}") };
    let own = json!({"query": {"userid": "ann", "x": "1", "y": "\""}, "auth": {"token": 7}, "id": body["id"]});
    assert_eq!(*body, with(common(&state, session, "connect", &json!(["a", "b"])), own));

    let finished = hooks.handle_response(*number, response("{\"userid\":\"7\",\"join\":\"c\"}"), at(1));
    let [finished] = finished.as_slice() else { panic!("{finished:?}") };
    let answer = finished.answer().unwrap();
    assert_eq!((answer.allow, answer.userid.as_deref(), answer.join), (true, Some("7"), vec!["c".into()]));
    let Some(Waiting::Connect(connecting)) = hooks.take(finished.number) else { panic!() };
    assert_eq!((connecting.session, &*connecting.auth), (session, "{\"token\":7}"));
    assert_eq!(connecting.rooms.iter().map(|room| &**room).collect::<Vec<_>>(), ["a", "b"]);
    assert!(hooks.take(finished.number).is_none() && hooks.is_empty());

    // The session has ended in the meantime.
    let expected = common(&state, session, "disconnect", &json!(["a", "b"]));
    state.sessions.remove(session);
    hooks.disconnect_late(&mut state, connecting.lane, connecting.disconnect);
    let calls = sent(&mut hooks, at(2));
    assert_eq!(calls[0].1, with(expected, json!({"id": calls[0].1["id"]})));
    assert!(matches!(hooks.take(calls[0].0), Some(Waiting::Disconnect)));
}

#[test]
fn an_event_with_bytes() {
    let (mut state, mut hooks, session) = start(config(URL, &["message"]));
    let attachments = [vec![0, 255]];
    let list = "[{\"_placeholder\":true,\"num\":0}, 1.0]";
    let event = ClientEvent { name: "e\"", list, attachments: &attachments, ack: Some("7") };
    assert!(hooks.message(&mut state, session, &event));
    let calls = sent(&mut hooks, at(0));
    let own = json!({"name": "e\"", "args": [{"_base64": "AP8="}, 1.0], "id": calls[0].1["id"]});
    assert_eq!(calls[0].1, with(common(&state, session, "message", &json!([])), own));
    match hooks.take(calls[0].0) {
        Some(Waiting::Message { session: known, ack }) => assert_eq!((known, ack.as_deref()), (session, Some("7"))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn which_calls_are_made() {
    let (mut state, mut hooks, session) = start(config(URL, &["connect"]));
    let ask = state.find_namespace("/ask").unwrap();
    assert!(hooks.has_hook(&state, ask, Kind::Connect) && !hooks.has_hook(&state, ask, Kind::Disconnect));
    assert!(!hooks.has_hook(&state, MAIN, Kind::Connect), "it has no rule for the backend");
    let event = ClientEvent { name: "e", list: "[]", attachments: &[], ack: None };
    assert!(!hooks.message(&mut state, session, &event));
    hooks.disconnect(&mut state, session);
    assert!(!hooks.has_calls());
    hooks.configure(&config(URL, &["disconnect"]).hooks);
    hooks.disconnect(&mut state, session);
    assert!(hooks.has_calls());
    hooks.configure(&Config::demo().hooks);
    assert!(!hooks.has_hook(&state, ask, Kind::Disconnect) && !hooks.has_message_hook(), "there is no URL");
}

#[test]
fn health_changes_are_reported_once() {
    let (mut state, mut hooks, session) = start(config(URL, &["message"]));
    let event = ClientEvent { name: "e", list: "[]", attachments: &[], ack: None };
    assert_eq!(hooks.health(), &Health::Fine);
    assert_eq!(hooks.poll_health_change(), None);
    for _ in 0..5 {
        assert!(hooks.message(&mut state, session, &event));
        let calls = sent(&mut hooks, at(0));
        let finished = hooks.handle_attempt_error(calls[0].0, AttemptError::Timeout, at(0));
        assert_eq!(finished, [Finished { number: calls[0].0, result: Err(Failure::Timeout) }]);
        assert_eq!(finished[0].answer(), Err(&Failure::Timeout));
        assert!(hooks.take(calls[0].0).is_some());
    }
    assert_eq!(hooks.poll_health_change(), Some(&Health::Failing("no answer in time".into())));
    assert_eq!(hooks.poll_health_change(), None);
    assert_eq!((hooks.stats().sent, hooks.stats().failed), (5, 5));
    // Calls fail at once, until another backend is configured.
    assert!(hooks.message(&mut state, session, &event));
    assert_eq!(hooks.take_failed()[0].result, Err(Failure::Timeout));
    hooks.configure(&config(URL, &["connect"]).hooks);
    assert_eq!(hooks.poll_health_change(), None, "the URL stayed");
    hooks.configure(&config("http://127.0.0.1:10/", &["message"]).hooks);
    assert_eq!(hooks.health(), &Health::Fine);
    assert_eq!(hooks.poll_health_change(), None, "the new backend has not answered anything yet");
    hooks.configure(&Config::demo().hooks);
    assert_eq!(hooks.health(), &Health::Off);
    assert_eq!(hooks.poll_health_change(), None);
}

#[test]
fn a_client_s_calls_keep_their_order() {
    let (mut state, mut hooks, session) = start(config(URL, &["message", "disconnect"]));
    let other = enter(&mut state, "bob");
    let event = ClientEvent { name: "e", list: "[]", attachments: &[], ack: None };
    for session in [session, session, other] {
        assert!(hooks.message(&mut state, session, &event));
    }
    hooks.disconnect(&mut state, session);
    let calls = |hooks: &mut Hooks| sent(hooks, at(0)).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(calls(&mut hooks), [1, 3]);
    assert_eq!(hooks.deadline(), Time::START.after(Duration::from_secs(3)));
    hooks.handle_response(1, response(""), at(0));
    assert_eq!(calls(&mut hooks), [2]);
    hooks.handle_response(2, response(""), at(0));
    assert_eq!(calls(&mut hooks), [4]);
}
