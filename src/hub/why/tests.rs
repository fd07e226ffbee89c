use super::*;
use crate::{
    clock::{Now, Time},
    journal::{EVERY, More, Reason, Subject, What, pack},
    key::SessionKey,
    language::Language,
    message::{Author, Data, Event, Form, MessageId, Target},
    names::Rooms,
    state::{
        End,
        testing::{Login, config, join, received, session},
    },
};

mod away;

const CONFIG: &str = "[sources.one]\nsign_key = \"key\"\n[namespaces.\"/chat\"]\nauth = \"open\"\nsource = \"one\"\n";

fn hub(more: &str) -> Hub {
    let mut hub = Hub::new(config(&format!("{CONFIG}{more}")), MessageId::first(1000, 7), [0; 32]);
    hub.state.journal.begin();
    pass(&mut hub, 1);
    hub
}

/// Goes on to this second.
fn pass(hub: &mut Hub, second: u64) {
    let now = Now { time: Time::from_micros(second * 1_000_000), unix: 1_795_219_200 + second, ..Now::default() };
    hub.begin_turn(now);
}

fn enter(hub: &mut Hub, login: Login<'_>) -> SessionKey {
    let rooms = login.rooms;
    let key = session(&mut hub.state, Login { rooms: "", ..login });
    hub.state.note_came(key);
    join(&mut hub.state, key, rooms);
    key
}

fn user<'a>(userid: &'a str, rooms: &'a str) -> Login<'a> {
    Login { userid, rooms, ..Login::default() }
}

fn end(hub: &mut Hub, key: SessionKey, how: End) {
    let client = hub.state.sessions.get(key).unwrap().client;
    hub.end(client, how, true);
    hub.remove(client, true);
}

fn publish(hub: &mut Hub, rooms: &str) -> MessageId {
    let tenant = hub.state.tenant("one").unwrap();
    hub.publish(tenant, &Rooms::parse(rooms, 128, 0).unwrap(), Data::Text("x"), "")
}

/// A publication of another relay.
fn publish_elsewhere(hub: &mut Hub, id: MessageId, room: &str) {
    let (tenant, own) = (hub.state.tenant("one").unwrap(), hub.state.next_id(1));
    hub.publish_here((Author::Backend, None), tenant, &[room], Data::Text("x"), "", (id, own.stamp()));
}

/// The answer in English.
fn explain(hub: &Hub, question: &Question<'_>) -> Explanation {
    hub.explain(question, Language::English)
}

fn question(hub: &Hub) -> Question<'static> {
    let tenant = hub.state.known_tenant("one").unwrap();
    Question { tenant, id: None, userid: "", room: "", socket_id: "", confirmed: &[] }
}

fn texts(answer: &Explanation) -> Vec<&str> {
    answer.lines.iter().map(|line| &*line.text).collect()
}

/// The only verdict about a message and the user 7.
fn verdict(hub: &Hub, id: MessageId) -> String {
    let mut verdicts = explain(hub, &Question { id: Some(id), userid: "7", ..question(hub) }).verdicts;
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    verdicts.remove(0)
}

#[test]
fn messages_of_other_relays() {
    let mut hub = hub("");
    let other = MessageId::first(1_795_219_200_000_000, 9);
    let key = enter(&mut hub, user("7", "a"));
    publish_elsewhere(&mut hub, other, "a");
    received(&mut hub.state, key);
    let answer = explain(&hub, &Question { id: Some(other), userid: "7", ..question(&hub) });
    let name = format!("relay {}", other.node());
    assert_eq!(answer.verdicts[0], format!("the message came from {name}"));
    assert!(answer.verdicts[1].contains("was in the room: it was sent the message"), "{:?}", answer.verdicts);
    let published = format!("published by {name} to room a, which keeps nothing: sent to 1 session");
    assert_eq!(texts(&answer)[2], published);
    // The number alone does not make a message.
    let same = MessageId::first(other.number(), 10);
    assert_eq!(verdicts_of(&hub, same).len(), 2);
    let missed = Subject { tenant: EVERY, who: 0, session: pack(&same.node()) };
    hub.state.journal.note_refusal(hub.state.now.time, What::Missed, missed, 5, &Reason::default());
    hub.state.journal.note_refusal(hub.state.now.time, What::Missed, missed, 7, &Reason::default());
    let verdicts = verdicts_of(&hub, same);
    assert!(
        verdicts[1].starts_with(&format!(
            "it is of relay {}, and was perhaps lost between the relays: 12 publications of that relay did not arrive here",
            same.node()
        )),
        "{verdicts:?}"
    );
    let answer = explain(&hub, &Question { userid: "7", ..question(&hub) });
    let missing = format!("12 publications of relay {} did not arrive here", same.node());
    assert!(texts(&answer).contains(&&*missing), "{:?}", answer.lines);
    assert!(answer.verdicts.iter().any(|verdict| verdict.starts_with("12 publications of other relays")));
    assert!(answer.advice.contains(&Advice::Missed));
}

fn verdicts_of(hub: &Hub, id: MessageId) -> Vec<String> {
    explain(hub, &Question { id: Some(id), userid: "7", ..question(hub) }).verdicts
}

/// A new source can get the index of one that was removed.
#[test]
fn a_source_does_not_see_what_was_of_another() {
    let mut hub = hub("");
    let key = enter(&mut hub, user("7", "a"));
    end(&mut hub, key, End::Left);
    hub.state.journal.note_refused_login(Time::START, (0, "7"), &Reason::free("no"));
    assert_eq!(explain(&hub, &Question { userid: "7", ..question(&hub) }).lines.len(), 4);
    let before = hub.state.known_tenant("one").unwrap();
    hub.reload(config("[sources.two]\nsign_key = \"key\"\n"), hub.state.now);
    let tenant = hub.state.known_tenant("two").unwrap();
    assert_eq!(tenant, before, "the index is used again");
    let answer = explain(&hub, &Question { tenant, id: None, userid: "7", room: "a", socket_id: "", confirmed: &[] });
    assert_eq!(texts(&answer), [""; 0]);
    assert_eq!(answer.since, None, "nothing of this source is missing");
}

/// They are named as their clients know them, also once they have ended.
#[test]
fn sessions_are_found_by_their_socket_id() {
    let mut hub = hub("");
    for (namespace, form, userid) in [
        ("/", Form::Json, ""),
        ("/", Form::SocketIo4, ""),
        ("/", Form::SocketIo3, ""),
        ("/chat", Form::SocketIo3, ""),
        ("/", Form::Json, "7"),
    ] {
        let login = |userid| Login { namespace, form, userid, rooms: "a", ..Login::default() };
        let key = enter(&mut hub, login(userid));
        enter(&mut hub, login(userid));
        let socket_id = hub.state.socket_id(key);
        let ask = |hub: &Hub, userid| {
            let answer = explain(hub, &Question { socket_id: &socket_id, userid, ..question(hub) });
            let texts: Vec<String> = answer.lines.into_iter().map(|line| line.text).collect();
            assert!(texts.iter().all(|text| text.starts_with(&format!("session {socket_id} "))), "{texts:?}");
            (texts.len(), answer.verdicts)
        };
        // Not every form can be found while it is there: that takes a client of Socket.IO.
        let (lines, verdicts) = ask(&hub, "");
        assert_eq!((lines, verdicts.len()), (2, 1), "{socket_id} {verdicts:?}");
        end(&mut hub, key, End::Left);
        assert!(hub.state.find_name(&socket_id).is_some());
        let (lines, verdicts) = ask(&hub, userid);
        assert_eq!((lines, verdicts.len()), (3, 1));
        assert!(
            verdicts[0].starts_with(&format!("there is no session here: session {socket_id} ended at ")),
            "{verdicts:?}"
        );
        assert_eq!(ask(&hub, "another").0, 0);
    }
    assert!(hub.state.find_name("AAAAAQAAAAA2AJSIvGzw2GAqeI8").is_none());
}

/// A session that takes over another has its name.
#[test]
fn sessions_that_took_over_others() {
    let mut hub = hub("");
    let first = enter(&mut hub, user("", "a"));
    let socket_id = hub.state.socket_id(first);
    end(&mut hub, first, End::Lost);
    pass(&mut hub, 5);
    let second = session(&mut hub.state, user("", ""));
    hub.state.take_name(second, first);
    hub.state.note_came(second);
    hub.state.settle_name(second);
    join(&mut hub.state, second, "a");
    let more = More { stamp: 0, count: 3, ..More::default() };
    hub.state.write_journal(second, What::Returned, more);
    let expected = [
        "logged in",
        "joined another room",
        "was lost: the connection was lost",
        "logged in",
        "joined room a",
        "went on in the place of one that was lost; 3 messages again",
    ];
    let check = |hub: &Hub, expected: &[&str], room: &str| {
        let answer = explain(hub, &Question { socket_id: &socket_id, ..question(hub) });
        let texts = texts(&answer).into_iter().map(|text| text.replace("another room", room));
        let texts: Vec<String> = texts.map(|text| text.replace("room a", room)).collect();
        let expected = expected.iter().map(|text| format!("session {socket_id} {text}").replace("another room", room));
        let expected: Vec<String> = expected.map(|text| text.replace("room a", room)).collect();
        assert_eq!(texts, expected);
    };
    check(&hub, &expected, "room a");
    let id = publish(&mut hub, "a");
    let answer = explain(&hub, &Question { id: Some(id), socket_id: &socket_id, ..question(&hub) });
    assert!(answer.verdicts[0].starts_with(&format!("session {socket_id} was in the room")), "{:?}", answer.verdicts);
    end(&mut hub, second, End::Left);
    let ended = [&expected[..], &["ended: the client has left"]].concat();
    check(&hub, &ended, "another room");
}

#[test]
fn who_ended_a_session_and_who_changed_its_rooms() {
    let mut hub = hub("");
    let key = enter(&mut hub, user("7", "a"));
    let id = publish(&mut hub, "a");
    hub.state.journal.cause = Reason::fixed("by the backend", "由后台");
    join(&mut hub.state, key, "b");
    hub.state.journal.cause = Reason::default();
    hub.state.write_journal(key, What::SentAway, More { reason: Reason::free("an operator"), ..More::default() });
    end(&mut hub, key, End::Expelled);
    let told = verdict(&hub, id);
    assert!(told.contains("ended later (sent away by an operator or the backend: an operator)"), "{told}");
    let answer = explain(&hub, &Question { userid: "7", room: "b", ..question(&hub) });
    let socket_id = hub.state.sids.socket(key);
    assert!(texts(&answer).contains(&&*format!("session {socket_id} joined room b (by the backend)")), "{answer:?}");
    assert!(answer.advice.contains(&Advice::SentAway));
}

#[test]
fn troubles_are_counted() {
    let mut hub = hub("[history]\ncount = 5\n");
    let key = enter(&mut hub, user("7", "a"));
    for second in 0..3 {
        pass(&mut hub, second);
        hub.state.note_failure(key, What::MessageRefused, &Reason::free("too many messages!"));
        hub.state.note_failure(key, What::HookFailed, &Reason::free("no answer in time"));
        hub.state.journal.note_refused_login(hub.state.now.time, (0, "7"), &Reason::free("sign verify failed!"));
    }
    let rooms: Vec<String> = (0..12).map(|number| format!("r{number}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    hub.state.note_gaps(key, &rooms);
    let answer = explain(&hub, &Question { userid: "7", ..question(&hub) });
    let has = |start: &str| answer.verdicts.iter().filter(|verdict| verdict.contains(start)).count();
    assert_eq!(has("is connected, in 1 room"), 1, "{:?}", answer.verdicts);
    assert_eq!(has("what it sent was refused 3 times, the last at"), 1, "{:?}", answer.verdicts);
    assert_eq!(has("a login was refused 3 times, the last at"), 1);
    assert_eq!(has("the backend did not answer a call about it 3 times"), 1);
    assert_eq!(has("it has not got messages that were not kept any more 8 times"), 1);
    assert!(texts(&answer).contains(&"the same is so in 4 more of its rooms"));
    for advice in [Advice::Gap, Advice::OwnRefused, Advice::HookFailed, Advice::Refused] {
        assert_eq!(answer.advice.iter().filter(|given| **given == advice).count(), 1, "{advice:?}");
    }
    // What was refused makes no session.
    assert_eq!(has("is connected"), 1);
}

/// An answer has a bound, whatever is in the journal.
#[test]
fn answers_are_bounded() {
    let mut hub = hub("");
    for _ in 0..30 {
        enter(&mut hub, user("7", "a"));
    }
    let rooms: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let rooms = rooms.join(",");
    // A relay that counts wrongly: all of them have the same id.
    let id = MessageId::first(1_795_219_200_000_000, 9);
    (0..100).for_each(|_| publish_elsewhere(&mut hub, id, "a"));
    (0..27).for_each(|_| _ = publish(&mut hub, &rooms));
    let answer = explain(&hub, &Question { id: Some(id), userid: "7", ..question(&hub) });
    assert_eq!((answer.verdicts.len(), answer.lines.len()), (50, 160));
}

#[test]
fn a_message_is_looked_for_in_all_of_its_rooms() {
    let mut hub = hub("");
    enter(&mut hub, user("7", "c"));
    let id = publish(&mut hub, "a,b,c");
    assert!(verdict(&hub, id).contains("was in the room: "), "{}", verdict(&hub, id));
    let other = publish(&mut hub, "a,b");
    // One of the same moment, with the next numbers.
    publish(&mut hub, "c");
    assert!(
        verdict(&hub, other).ends_with("was connected, but not in the room of the message"),
        "{}",
        verdict(&hub, other)
    );
}

#[test]
fn what_was_before_the_journal_is_not_known() {
    let mut hub = hub("");
    let key = enter(&mut hub, user("7", "a"));
    for _ in 0..30_000 {
        publish(&mut hub, "busy");
    }
    let id = publish(&mut hub, "a");
    assert!(verdict(&hub, id).contains("was in the room"));
    end(&mut hub, key, End::Left);
    let told = verdict(&hub, id);
    assert!(told.ends_with("the records no longer say whether it was in the room of the message"), "{told}");
    let answer = explain(&hub, &Question { id: Some(id), userid: "7", ..question(&hub) });
    assert!(!answer.advice.contains(&Advice::NotMember));
}

#[test]
fn a_loss_says_nothing_about_what_had_arrived() {
    let mut hub = hub("");
    let key = enter(&mut hub, user("7", "a"));
    let id = publish(&mut hub, "a");
    end(&mut hub, key, End::Lost);
    let told = verdict(&hub, id);
    assert!(
        told.contains("was sent the message, and was lost at ") && told.contains("if the message had not arrived"),
        "{told}"
    );
}

#[test]
fn no_session_was_in_the_room() {
    let mut hub = hub("");
    for rooms in ["b", "c"] {
        let key = enter(&mut hub, user("7", rooms));
        end(&mut hub, key, End::Left);
    }
    let verdicts = |room| explain(&hub, &Question { userid: "7", room, ..question(&hub) }).verdicts;
    assert_eq!(verdicts("a")[0], "none of the last 2 sessions was in room a");
    assert!(verdicts("b")[0].starts_with("there is no session here: "), "{:?}", verdicts("b"));
}

/// Lines of publications have the id of the message: the one in their room.
#[test]
fn lines_have_the_ids_of_messages() {
    let mut hub = hub("");
    let first = publish(&mut hub, "a,b");
    let other = MessageId::first(1_795_219_200_000_000, 9);
    publish_elsewhere(&mut hub, other, "b");
    let ids = |room| {
        explain(&hub, &Question { room, ..question(&hub) }).lines.into_iter().map(|line| line.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("a"), [Some(first)]);
    assert_eq!(ids("b"), [Some(first.part(1)), Some(other)]);
}

/// A busy room leaves half of the lines to what has happened to the user.
#[test]
fn a_busy_room_does_not_push_out_the_user() {
    let mut hub = hub("");
    for _ in 0..80 {
        let key = enter(&mut hub, user("7", "a"));
        end(&mut hub, key, End::Lost);
    }
    (0..300).for_each(|_| _ = publish(&mut hub, "a"));
    let lines = |userid, room| explain(&hub, &Question { userid, room, ..question(&hub) }).lines;
    let (both, alone) = (lines("7", "a"), lines("7", ""));
    assert_eq!((both.len(), both.iter().filter(|line| line.id.is_some()).count()), (200, 100));
    assert_eq!((alone.len(), lines("", "a").len()), (200, 200));
}

#[test]
fn events_of_backends() {
    let mut hub = hub("");
    let (key, tenant) = (enter(&mut hub, user("7", "a")), hub.state.tenant("one").unwrap());
    let socket_id = hub.state.socket_id(key).to_string();
    let event = Event::new("news", "1");
    for target in
        [Target::User("7"), Target::Session(&socket_id), Target::Room("a"), Target::User("8"), Target::Session("x")]
    {
        hub.emit(tenant, "/", &target, &event);
    }
    (0..2).for_each(|_| _ = hub.emit(tenant, "/", &Target::Namespace, &event));
    hub.emit(tenant, "/chat", &Target::User("7"), &event);
    let lines = |userid, room| {
        let answer = explain(&hub, &Question { userid, room, ..question(&hub) });
        let texts = answer.lines.into_iter().map(|line| line.text.replace(&socket_id, "S"));
        texts.filter(|text| text.starts_with("an event")).collect::<Vec<_>>()
    };
    assert_eq!(
        lines("7", ""),
        [
            "an event was sent to the user",
            "an event was sent to session S",
            "an event was sent to all sessions of the source 2 times",
            "an event for the user in namespace /chat was sent to no session here"
        ]
    );
    assert_eq!(lines("", "a"), ["an event was sent to room a"]);
    assert_eq!(lines("8", ""), ["an event for the user was sent to no session here"]);
}

/// A namespace can get the index of one that a reload has removed.
#[test]
fn events_of_a_removed_namespace() {
    let mut hub = hub("");
    let tenant = hub.state.tenant("one").unwrap();
    hub.emit(tenant, "/chat", &Target::User("7"), &Event::new("news", "1"));
    let before = hub.state.find_namespace("/chat").unwrap();
    let lines = |hub: &Hub| explain(hub, &Question { userid: "7", ..question(hub) }).lines.len();
    assert_eq!(lines(&hub), 1);
    hub.reload(config(&CONFIG.replace("/chat", "/other")), hub.state.now);
    assert_eq!(hub.state.find_namespace("/other"), Some(before), "the index is used again");
    assert_eq!(lines(&hub), 0);
}

/// A backend that emits many events pushes out nothing else.
#[test]
fn events_have_places_of_their_own() {
    let mut hub = hub("");
    let tenant = hub.state.tenant("one").unwrap();
    enter(&mut hub, user("7", "a"));
    for number in 0..40_000 {
        hub.emit(tenant, "/", &Target::User(&number.to_string()), &Event::new("news", "1"));
    }
    assert_eq!(explain(&hub, &Question { userid: "7", ..question(&hub) }).lines.len(), 2);
    assert!(hub.state.journal.bytes() < 200_000 + 4096 * 40, "{}", hub.state.journal.bytes());
}
