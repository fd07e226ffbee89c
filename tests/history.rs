//! The memory that kept messages take, measured by the allocator of the program.
#![allow(missing_docs)]

use std::rc::Rc;

use relay::{
    clock::{Now, Time},
    config::{Config, parse},
    events,
    hub::Hub,
    memory::allocated,
    message::{Data, MessageId},
    names::Rooms,
    server::allocator::Counting,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn hub(history: &str) -> Hub {
    let text = format!("[sources.demo]\nsign_key = \"key\"\n[history]\n{history}\nmemory = 1000000000\n");
    let config: Config = parse(&text, &mut |_| Ok(String::new())).unwrap();
    Hub::new(Rc::new(config), MessageId::first(1_795_000_000_000_000, 7), [0; 32])
}

fn publish(hub: &mut Hub, room: &str, data: &str) {
    let tenant = hub.state.tenant("demo").unwrap();
    hub.publish(tenant, &Rooms::parse(room, 128, 0).unwrap(), Data::Text(data), "");
}

/// Publishes messages to rooms. Returns the allocated bytes, and those that the history counts.
fn fill(hub: &mut Hub, rooms: usize, messages: usize, data: &str) -> (usize, usize) {
    publish(hub, "warm-up", data);
    let before = (allocated(), hub.history.bytes());
    for _ in 0..messages {
        (0..rooms).for_each(|room| publish(hub, &format!("room-{room}"), data));
    }
    (allocated() - before.0, hub.history.bytes() - before.1)
}

/// One test, because the count is that of the process.
#[test]
fn kept_messages() {
    let data = "x".repeat(128);
    let mut hub = hub("count = 100");
    let empty = allocated();
    let (real, counted) = fill(&mut hub, 100, 100, &data);
    let each = real / (100 * 100);
    eprintln!("{each} bytes for each of 100 messages of 128 bytes, {} counted", counted / (100 * 100));
    assert!(each <= 200, "a kept message of 128 bytes costs {each} bytes");
    assert!(real.abs_diff(counted) <= real / 20, "{real} bytes are allocated, {counted} counted");
    // Rooms that get no message any more cost nothing.
    let mut seconds = 200;
    while hub.history.deadline() < Time::NEVER {
        seconds += 1;
        let now = Now { time: Time::from_micros(seconds * 1_000_000), ..Now::default() };
        hub.begin_turn(now);
        events::handle_timeout(&mut hub, now);
        assert!(seconds < 210, "{} messages are left", hub.history.messages());
    }
    let left = allocated() - empty;
    assert!(left < real / 100 && hub.history.bytes() == 0, "{left} bytes are left");

    for rooms in [40_000, 60_000] {
        let mut hub = self::hub("last = true");
        let (real, counted) = fill(&mut hub, rooms, 1, &data);
        eprintln!("{} bytes for a room with one message of 128 bytes, {} counted", real / rooms, counted / rooms);
        assert!(real / rooms <= 460, "a room with one message costs {} bytes", real / rooms);
        assert!(real.abs_diff(counted) <= real / 4, "{real} bytes are allocated, {counted} counted");
    }
}
