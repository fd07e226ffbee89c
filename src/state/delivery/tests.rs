use super::*;
use crate::state::{
    Effect,
    testing::{CONFIG, Login, join, received, session, state},
};

fn member(state: &mut State, namespace: &str, form: Form) -> SessionKey {
    session(state, Login { namespace, rooms: "room", form, ..Login::default() })
}

fn deliver(state: &mut State, data: &str) {
    let (tenant, id) = (state.tenant("one").unwrap(), state.next_id(1));
    state.deliver(
        tenant,
        HashedRoom::new("room"),
        Data::Json(data),
        ("", Author::Backend),
        id,
        Stamp { number: id.stamp(), kept: false },
    );
}

/// Ends a turn without a flush.
fn end_turn(state: &mut State) {
    let mut dirty = Vec::new();
    state.poll_dirty(usize::MAX, &mut dirty);
    dirty.into_iter().for_each(|key| state.clients.get_mut(key).unwrap().dirty = Dirty::No);
    state.end_flush();
}

#[test]
fn each_member_gets_its_form() {
    let mut state = state(CONFIG);
    let json = member(&mut state, "/", Form::Json);
    let text = member(&mut state, "/", Form::Text);
    let other = session(&mut state, Login { rooms: "other", ..Login::default() });
    let chat = member(&mut state, "/chat", Form::SocketIo4);
    deliver(&mut state, "\"hi\"");
    let id = state.ids.first().with_number(state.ids.last());
    let fields = |from_sys| format!(r#""source":"one","data":"hi","room_id":"room",{from_sys}"id":"{id}""#);
    assert_eq!(received(&mut state, json), [format!(r#"{{"event":"newMsg",{}}}"#, fields(""))]);
    assert_eq!(received(&mut state, text), ["hi"]);
    assert!(received(&mut state, other).is_empty());
    let packet = format!(r#"42/chat,["newMsg",{{{}}}]"#, fields("\"from_sys\":true,"));
    assert_eq!(received(&mut state, chat), [packet]);
    assert_eq!((state.stats.published, state.stats.delivered), (1, 3));
    let mut dirty = Vec::new();
    state.poll_dirty(usize::MAX, &mut dirty);
    assert_eq!(dirty.len(), 3);
}

#[test]
fn a_slow_consumer_is_closed_and_others_are_not() {
    let mut state = state(&format!("{CONFIG}\n[limits]\nunsent = 65536\n"));
    let [slow, other] = [(); 2].map(|()| member(&mut state, "/", Form::Text));
    let client = state.sessions.get(slow).unwrap().client;
    let large = format!("\"{}\"", "x".repeat(40_000));
    for _ in 0..3 {
        deliver(&mut state, &large);
        assert!(state.needs_flush(), "a message is larger than half of the limit");
        assert_eq!(received(&mut state, other).len(), 1);
        state.keep(client);
        end_turn(&mut state);
    }
    deliver(&mut state, &large);
    assert_eq!(state.effects, [Effect::Close { client, close: Close::SLOW }]);
    assert_eq!((state.stats.slow_consumers, state.stats.delivered), (1, 7));
    deliver(&mut state, "1");
    assert_eq!(received(&mut state, other).len(), 2);
    assert_eq!(state.effects.len(), 1, "closed once");
}

/// One member that has stopped reading must not make each delivery to its room a flush of all members.
#[test]
fn unsent_bytes_of_earlier_turns_force_no_flush() {
    let mut state = state(&format!("{CONFIG}\n[limits]\nunsent = 65536\n"));
    let slow = member(&mut state, "/", Form::Text);
    let client = state.sessions.get(slow).unwrap().client;
    for _ in 0..3 {
        deliver(&mut state, &format!("\"{}\"", "x".repeat(20_000)));
        assert!(!state.needs_flush());
        state.keep(client);
        end_turn(&mut state);
    }
    deliver(&mut state, "1");
    assert!(!state.needs_flush() && state.clients.get(client).unwrap().outbox.bytes() > 60_000);
    let other = member(&mut state, "/", Form::Text);
    (0..3).for_each(|_| deliver(&mut state, &format!("\"{}\"", "x".repeat(20_000))));
    assert!(state.needs_flush(), "so much is queued for a client that was not written to yet");
    assert_eq!(received(&mut state, other).len(), 3);
}

#[test]
fn volatile_events_skip_clients_with_unsent_data() {
    let mut state = state(CONFIG);
    let [behind, other] = [(); 2].map(|()| member(&mut state, "/", Form::Json));
    let client = state.sessions.get(behind).unwrap().client;
    state.send(client, Opcode::Text, b"unsent");
    state.keep(client);
    let receivers = [behind, other].map(|key| state.receiver(key).unwrap());
    let event = Event { volatile: true, ..Event::new("e", "1") };
    assert_eq!(state.emit_to(&receivers, &event), 1);
    assert_eq!(state.stats.volatile_dropped, 1);
    assert_eq!(state.emit_to(&receivers, &Event::new("e", "2")), 2);
    assert_eq!(received(&mut state, other), [1, 2].map(|data| format!(r#"{{"event":"e","data":{data}}}"#)));
    assert_eq!(received(&mut state, behind), ["unsent", r#"{"event":"e","data":2}"#]);
}

/// The bytes that are queued for the client of a session.
fn raw(state: &mut State, session: SessionKey) -> String {
    let client = state.sessions.get(session).unwrap().client;
    let mut bytes = Vec::new();
    let outbox = &mut state.clients.get_mut(client).unwrap().outbox;
    outbox.write_to(&mut bytes, &state.turn, &mut state.scratch).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn streams_share_bytes_without_headers() {
    let mut state = state(CONFIG);
    let streams: Vec<_> = (0..100).map(|_| member(&mut state, "/", Form::Sse)).collect();
    let lines = member(&mut state, "/", Form::Lines);
    deliver(&mut state, "1");
    deliver(&mut state, "2");
    let place = (state.tenant("one").unwrap(), 0, "room");
    // A name with a line end has no form in a block.
    assert_eq!(state.emit_to_room(place, None, &Event::new("a\nb", "3")), 1);
    assert_eq!(state.emit_to_room(place, None, &Event::new("c", "4")), 101);
    let all: Vec<String> = streams.iter().map(|key| raw(&mut state, *key)).collect();
    assert!(all.iter().all(|text| *text == all[0]));
    assert_eq!(all[0].matches("\n\n").count(), 3);
    assert!(all[0].ends_with("}\n\nevent: c\ndata: 4\n\n") && all[0].contains("\"data\":2,"), "{}", all[0]);
    let text = raw(&mut state, lines);
    assert_eq!(text.lines().count(), 4);
    assert_eq!(state.turn.open_bytes(), all[0].len() + text.len(), "once for each form");
}

#[test]
fn a_stream_ends_with_a_block() {
    let mut state = state(CONFIG);
    for (close, last) in [
        (Close::SLOW, "event: disconnect\ndata: {\"code\":1013,\"reason\":\"slow consumer\"}\n\n"),
        (Close::GOING_AWAY, ""),
    ] {
        let stream = member(&mut state, "/", Form::Sse);
        let client = state.sessions.get(stream).unwrap().client;
        deliver(&mut state, "1");
        let form = state.stream_form(client);
        state.queue_last(client, Some(close), form);
        let text = raw(&mut state, stream);
        assert!(text.ends_with(last) && state.is_ending(client), "{text}");
        assert_eq!(text.contains("\"data\":1"), close != Close::SLOW, "what waits for a slow client is dropped");
    }
}

#[test]
fn rooms_get_an_event_once_and_without_the_sender() {
    let mut state = state(CONFIG);
    let [sender, both] = [(); 2].map(|()| member(&mut state, "/", Form::Json));
    let text = member(&mut state, "/", Form::Text);
    join(&mut state, both, "second");
    let place = (state.tenant("one").unwrap(), 0);
    let event = Event::new("e", "");
    assert_eq!(state.emit_to_rooms(place, &["room"], Some(sender), &event), 1);
    assert_eq!(state.emit_to_rooms(place, &["room", "second"], Some(sender), &event), 1);
    assert_eq!(state.emit_to_rooms(place, &["room", "second"], None, &event), 2);
    assert_eq!([both, sender, text].map(|key| received(&mut state, key).len()), [3, 1, 0]);
}
