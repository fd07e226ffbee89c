//! What waits for the grace.

use super::*;

const QUIT: &str =
    r#"{"event":"newMsg","source":"one","data":{"username":"","key":"user_quit","msg":"退出群聊"},"room_id":"a","#;

/// A member of rooms with `watch_quit`.
fn quitter(world: &mut World, userid: &str) -> SessionKey {
    world.login(Login { userid, rooms: "a,b", wants: Wants::new(true, false), ..Login::default() })
}

#[test]
fn user_quit_waits_for_the_grace() {
    let mut world = World::new("grace = 5");
    let watcher = world.login(Login { userid: "1", rooms: "a", ..Login::default() });
    let quits = |world: &mut World, count: usize| {
        let got = world.received(watcher);
        assert!(got.len() == count && got.iter().all(|text| text.starts_with(QUIT)), "{got:?}");
    };
    let lost = quitter(&mut world, "7");
    world.end(lost, End::Lost);
    world.pass(4_999);
    quits(&mut world, 0);
    world.pass(1);
    quits(&mut world, 1);
    // He is back in one of the rooms, so only the other is told.
    let lost = quitter(&mut world, "7");
    world.end(lost, End::Lost);
    world.pass(1_000);
    let back = world.login(Login { rooms: "b", ..Login::default() });
    world.pass(60_000);
    quits(&mut world, 1);
    assert!(world.received(back).is_empty());
    // A goodbye is told at once, and so is the loss of a guest: nobody would know that it is back.
    let gone = quitter(&mut world, "7");
    world.end(gone, End::Left);
    quits(&mut world, 1);
    let guest = quitter(&mut world, "");
    world.end(guest, End::Lost);
    quits(&mut world, 1);
    world.pass(60_000);
    quits(&mut world, 0);
    assert_eq!(world.hub.presence.deadline(), Time::NEVER);
}

#[test]
fn nothing_waits_while_presence_is_off_or_without_grace() {
    for settings in ["", "[presence]\nevents = false\n", "[presence]\nevents = true\ngrace = 0\n"] {
        let mut world = World::new("");
        world.hub.reload(config(&format!("{CONFIG}{settings}")), Now::default());
        let watcher = world.login(Login { userid: "1", rooms: "a", ..Login::default() });
        let lost = quitter(&mut world, "7");
        world.end(lost, End::Lost);
        assert_eq!(world.received(watcher).len(), 1, "{settings}");
    }
}
