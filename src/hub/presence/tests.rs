use super::*;
use crate::{
    clock::{Now, Time},
    frame::Opcode,
    message::{Form, MessageId},
    state::{
        End, Wants,
        client::Mode,
        testing::{Login, config, join, queued, received, session},
    },
};

mod crowds;
mod farewells;

const CONFIG: &str = "[sources.one]\nsign_key = \"key\"\n[namespaces.\"/chat\"]\nauth = \"open\"\nsource = \"one\"\n";

/// A hub whose time the test sets.
struct World {
    hub: Hub,
    millis: u64,
}

impl World {
    fn new(settings: &str) -> World {
        let config = config(&format!("{CONFIG}[presence]\nevents = true\n{settings}"));
        World { hub: Hub::new(config, MessageId::first(1000, 7), [0; 32]), millis: 0 }
    }

    /// Lets time pass, as the event loop does: it wakes at each deadline.
    fn pass(&mut self, millis: u64) {
        let end = self.millis + millis;
        loop {
            self.hub.feed();
            let next = self.hub.presence_deadline().micros().div_ceil(1000).max(self.millis);
            self.millis = next.min(end);
            self.hub.begin_turn(Now { time: Time::from_micros(self.millis * 1000), ..Now::default() });
            self.hub.presence.tracker.assert_sums();
            if next > end {
                return;
            }
            self.hub.expire_presence();
        }
    }

    /// A session that gets events.
    fn subscribe(&mut self, userid: &str, rooms: &str) -> SessionKey {
        self.login(Login { userid, rooms, wants: Wants::new(false, true), ..Login::default() })
    }

    fn login(&mut self, login: Login<'_>) -> SessionKey {
        session(&mut self.hub.state, login)
    }

    fn end(&mut self, session: SessionKey, how: End) {
        let client = self.hub.state.sessions.get(session).unwrap().client;
        self.hub.end(client, how, true);
        self.hub.remove(client, true);
    }

    fn received(&mut self, session: SessionKey) -> Vec<String> {
        received(&mut self.hub.state, session)
    }

    /// The only event that a session got.
    fn event(&mut self, session: SessionKey) -> String {
        let mut all = self.received(session);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

fn event(members: &str) -> String {
    format!("{{\"event\":\"presence\",\"room_id\":\"a\",{members}}}")
}

#[test]
fn users_come_and_leave() {
    let mut world = World::new("");
    let seven = world.subscribe("7", "a");
    world.pass(200);
    let here = "\"here\":[{\"userid\":\"7\",\"username\":\"\",\"sessions\":1}],\"count\":1,\"guests\":0";
    assert_eq!(world.event(seven), event(here));
    let eight = world.login(Login { userid: "8", rooms: "a", ..Login::default() });
    let guest = world.login(Login { userid: "", rooms: "a", ..Login::default() });
    world.pass(199);
    assert!(world.received(seven).is_empty(), "changes gather for 200 ms");
    world.pass(1);
    assert_eq!(world.event(seven), event("\"came\":[{\"userid\":\"8\",\"username\":\"\"}],\"count\":2,\"guests\":1"));
    world.end(guest, End::Lost);
    world.end(eight, End::Left);
    world.pass(200);
    assert_eq!(world.event(seven), event("\"left\":[\"8\"],\"count\":1,\"guests\":0"));
    assert!(world.received(seven).is_empty());
}

#[test]
fn each_form_gets_its_own_event() {
    let mut world = World::new("");
    let wants = Wants::new(false, true);
    let forms = [Form::JsonTime, Form::SocketIo4, Form::Text];
    let sessions =
        forms.map(|form| world.login(Login { namespace: "/chat", rooms: "a", form, wants, ..Login::default() }));
    // Presence is that of the source's room, whichever namespace the sessions are in.
    let other = world.subscribe("7", "a");
    world.pass(200);
    let members = "\"here\":[{\"userid\":\"7\",\"username\":\"\",\"sessions\":4}],\"count\":1,\"guests\":0";
    assert_eq!(world.event(sessions[0]), event(members));
    assert_eq!(world.event(sessions[1]), format!("42/chat,[\"presence\",{{\"room_id\":\"a\",{members}}}]"));
    assert!(world.received(sessions[2]).is_empty());
    assert_eq!(world.event(other), event(members));
    assert_eq!(world.hub.state.stats.presence_events, 1);
}

#[test]
fn streams_get_blocks_and_lines() {
    let mut world = World::new("");
    let wants = Wants::new(false, true);
    let [sse, lines] = [Form::Sse, Form::Lines]
        .map(|form| world.login(Login { userid: "", rooms: "a", form, wants, ..Login::default() }));
    world.pass(200);
    let members = "\"room_id\":\"a\",\"here\":[],\"count\":0,\"guests\":2";
    let mut raw = |session| String::from_utf8(queued(&mut world.hub.state, session)).unwrap();
    assert_eq!(raw(sse), format!("event: presence\ndata: {{{members}}}\n\n"));
    assert_eq!(raw(lines), format!("{{\"event\":\"presence\",{members}}}\n"));
}

#[test]
fn two_tabs_are_one_user() {
    let mut world = World::new("");
    let watcher = world.subscribe("1", "a");
    let tabs = [(); 2].map(|()| world.login(Login { rooms: "a", ..Login::default() }));
    world.pass(200);
    assert!(world.event(watcher).contains("{\"userid\":\"7\",\"username\":\"\",\"sessions\":2}"));
    world.end(tabs[0], End::Left);
    world.pass(60_000);
    assert!(world.received(watcher).is_empty());
    world.end(tabs[1], End::Left);
    world.pass(200);
    assert_eq!(world.event(watcher), event("\"left\":[\"7\"],\"count\":1,\"guests\":0"));
}

#[test]
fn a_lost_user_leaves_after_the_grace() {
    let mut world = World::new("grace = 5");
    let watcher = world.subscribe("1", "a");
    let user = world.login(Login { rooms: "a", ..Login::default() });
    world.pass(200);
    world.received(watcher);
    world.end(user, End::Lost);
    world.pass(4_999);
    assert!(world.hub.who(watcher, "a").unwrap().contains("{\"userid\":\"7\",\"username\":\"\",\"sessions\":0}"));
    world.pass(200);
    assert!(world.received(watcher).is_empty());
    world.pass(1);
    assert_eq!(world.event(watcher), event("\"left\":[\"7\"],\"count\":1,\"guests\":0"));
    // One tab is lost, and the other says goodbye: the lost one may come back.
    let tabs = [(); 2].map(|()| world.login(Login { rooms: "a", ..Login::default() }));
    world.pass(1000);
    world.received(watcher);
    world.end(tabs[0], End::Lost);
    world.end(tabs[1], End::Left);
    world.pass(3000);
    assert!(world.received(watcher).is_empty());
    // It does, and says goodbye: nobody is waited for any more.
    let back = world.login(Login { rooms: "a", ..Login::default() });
    world.pass(1000);
    assert!(world.received(watcher).is_empty());
    world.end(back, End::Left);
    world.pass(200);
    assert_eq!(world.event(watcher), event("\"left\":[\"7\"],\"count\":1,\"guests\":0"));
    world.pass(20_000);
    assert!(world.received(watcher).is_empty());
    assert_eq!(world.hub.presence.deadline(), Time::NEVER);
}

#[test]
fn without_grace_a_loss_is_a_goodbye() {
    let mut world = World::new("grace = 0");
    let watcher = world.subscribe("1", "a");
    let user = world.login(Login { rooms: "a", ..Login::default() });
    world.pass(200);
    world.received(watcher);
    world.end(user, End::Lost);
    world.pass(200);
    assert!(world.event(watcher).contains("\"left\":[\"7\"]"));
}

#[test]
fn a_large_room_is_not_named() {
    let mut world = World::new("most = 2");
    let watcher = world.subscribe("1", "a");
    let second = world.login(Login { userid: "2", rooms: "a", ..Login::default() });
    world.pass(200);
    assert!(world.event(watcher).contains("\"here\":[{"));
    let third = world.login(Login { userid: "3", rooms: "a", ..Login::default() });
    world.pass(200);
    assert_eq!(world.event(watcher), event("\"count\":3,\"guests\":0"));
    let newcomer = world.subscribe("1", "a");
    world.pass(200);
    assert_eq!(world.event(newcomer), event("\"count\":3,\"guests\":0"));
    world.end(second, End::Left);
    world.pass(200);
    // They do not know the names, so they get all of them.
    let user = |userid, sessions| format!("{{\"userid\":\"{userid}\",\"username\":\"\",\"sessions\":{sessions}}}");
    let everybody = event(&format!("\"here\":[{},{}],\"count\":2,\"guests\":0", user(1, 2), user(3, 1)));
    assert_eq!([world.event(watcher), world.event(newcomer)], [everybody.clone(), everybody]);
    world.end(third, End::Left);
    world.pass(200);
    assert_eq!(world.event(watcher), event("\"left\":[\"3\"],\"count\":1,\"guests\":0"));
    // Long names count, too.
    let mut world = World::new("");
    let long = "x".repeat(512);
    let watcher = world.subscribe("1", "a");
    world.pass(200);
    world.received(watcher);
    for number in 0..600 {
        world.login(Login { userid: &format!("{number:03}{}", &long[3..]), rooms: "a", ..Login::default() });
    }
    world.pass(200);
    assert_eq!(world.event(watcher), event("\"count\":601,\"guests\":0"));
}

#[test]
fn joins_and_leaves_of_a_session() {
    let mut world = World::new("");
    let member = world.subscribe("7", "");
    let watcher = world.subscribe("1", "a");
    world.pass(200);
    assert!(world.received(member).is_empty());
    world.received(watcher);
    join(&mut world.hub.state, member, "a");
    world.pass(200);
    assert!(world.event(member).contains("\"here\":[{\"userid\":\"1\""));
    assert!(world.event(watcher).contains("\"came\":[{\"userid\":\"7\""));
    crate::names::Rooms::parse("a", 128, 0).unwrap().iter().for_each(|room| world.hub.state.leave(member, room));
    world.pass(200);
    assert!(world.received(member).is_empty());
    assert!(world.event(watcher).contains("\"left\":[\"7\"]"));
}

/// Messages come first: what it knew of the room is out of date then, so it is told anew.
#[test]
fn a_client_that_is_behind_is_told_anew() {
    let mut world = World::new("");
    let member = world.subscribe("7", "a");
    world.pass(200);
    world.received(member);
    let client = world.hub.state.sessions.get(member).unwrap().client;
    world.hub.state.clients.get_mut(client).unwrap().mode = Mode::Behind;
    let other = world.login(Login { userid: "8", rooms: "a", ..Login::default() });
    world.pass(200);
    world.end(other, End::Left);
    let late = world.login(Login { userid: "9", rooms: "a", ..Login::default() });
    world.pass(200);
    assert!(world.received(member).is_empty());
    world.hub.state.clients.get_mut(client).unwrap().mode = Mode::Live;
    world.hub.state.note_caught_up(client);
    world.pass(200);
    let got = world.event(member);
    assert!(got.contains("\"here\":[{\"userid\":\"7\"") && got.contains("\"userid\":\"9\""), "{got}");
    world.end(late, End::Left);
    world.pass(200);
    assert!(world.event(member).contains("\"left\":[\"9\"]"));
    // One that was told nothing is not told anew.
    world.hub.state.note_caught_up(client);
    world.pass(200);
    assert!(world.received(member).is_empty());
}

#[test]
fn who_is_for_members() {
    let mut world = World::new("");
    let member = world.login(Login { rooms: "a", ..Login::default() });
    assert_eq!(world.hub.who(member, "b"), Err(Refusal::NotInRoom));
    let here =
        "{\"room_id\":\"a\",\"here\":[{\"userid\":\"7\",\"username\":\"\",\"sessions\":1}],\"count\":1,\"guests\":0}";
    assert_eq!(world.hub.who(member, "a").unwrap(), here, "at once, not after 200 ms");
}

#[test]
fn nothing_is_tracked_while_it_is_off() {
    let text = format!("{CONFIG}[presence]\nevents = false\n");
    let mut world = World::new("");
    world.hub.reload(config(&text), Now::default());
    let member = world.subscribe("7", "a");
    world.pass(60_000);
    assert!(world.received(member).is_empty() && !world.hub.state.has_moves());
    assert_eq!((world.hub.presence.tracker.users(), world.hub.presence_deadline()), (0, Time::NEVER));
    // Those that are there when it is switched on are told.
    world.hub.reload(config(&format!("{CONFIG}[presence]\nevents = true\n")), world.hub.state.now);
    world.pass(200);
    assert!(world.event(member).contains("\"count\":1"));
    world.hub.reload(config(&text), world.hub.state.now);
    world.login(Login { userid: "8", rooms: "a", ..Login::default() });
    world.pass(60_000);
    assert!(world.received(member).is_empty() && world.hub.presence.tracker.users() == 0);
}

#[test]
fn rooms_that_are_empty_are_forgotten() {
    let mut world = World::new("");
    for number in 0..100 {
        let session = world.subscribe("7", &format!("room{number}"));
        world.pass(10);
        world.end(session, if number % 2 == 0 { End::Lost } else { End::Left });
    }
    world.pass(60_000);
    let tenant = world.hub.state.tenant("one").unwrap();
    assert_eq!(world.hub.presence.tracker.rooms(tenant).count(), 0);
    assert_eq!(world.hub.presence.deadline(), Time::NEVER);
}

#[test]
fn unsent_data_does_not_stop_events() {
    let mut world = World::new("");
    let member = world.subscribe("7", "a");
    let client = world.hub.state.sessions.get(member).unwrap().client;
    world.hub.state.send(client, Opcode::Text, b"first");
    world.pass(200);
    assert_eq!(world.received(member).len(), 2);
}

#[test]
fn a_goodbye_counts_even_if_the_connection_ends_first() {
    let mut world = World::new("");
    let watcher = world.subscribe("1", "a");
    let user = world.login(Login { rooms: "a", ..Login::default() });
    world.pass(200);
    world.received(watcher);
    let client = world.hub.state.sessions.get(user).unwrap().client;
    world.hub.state.close(client, crate::websocket::Close::NORMAL);
    world.hub.remove(client, true);
    world.pass(200);
    assert!(world.event(watcher).contains("\"left\":[\"7\"]"));
}
