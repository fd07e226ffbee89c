use super::*;

/// The part of the answer that says what was published while the user 7 was away.
fn missed(hub: &Hub, room: &'static str) -> Option<String> {
    let verdicts = explain(hub, &Question { userid: "7", room, ..question(hub) }).verdicts;
    verdicts.into_iter().find_map(|verdict| Some(verdict.strip_prefix("while the user had no session, ")?.to_owned()))
}

const KEPT: &str = "[history]\nrooms = [{ room = \"kept\", count = 5 }]\n";

#[test]
fn messages_that_were_published_while_a_user_was_away() {
    let mut hub = hub(KEPT);
    let [first, second] = [(); 2].map(|()| enter(&mut hub, user("7", "a,kept")));
    publish(&mut hub, "a,kept");
    end(&mut hub, first, End::Lost);
    publish(&mut hub, "a,kept");
    assert_eq!(missed(&hub, ""), None, "the second session is there");
    end(&mut hub, second, End::Lost);
    // In whatever order, one of the rooms keeps them.
    for rooms in ["other", "a,kept", "kept,a", "a"] {
        publish(&mut hub, rooms);
    }
    let third = enter(&mut hub, user("7", "b"));
    let words = |count: &str, kept: &str| {
        format!("{count} published to rooms that it had been in ({kept}), the last at 00:00:01")
    };
    assert_eq!(missed(&hub, "").unwrap(), words("3 messages were", "2 of them kept"));
    assert_eq!(missed(&hub, "a").unwrap(), words("3 messages were", "not kept"));
    assert_eq!(missed(&hub, "kept").unwrap(), words("2 messages were", "kept"));
    let advice = |hub: &Hub| explain(hub, &Question { userid: "7", room: "kept", ..question(hub) }).advice;
    assert!(advice(&hub).contains(&Advice::NotBack));
    // The page has left this room behind.
    publish(&mut hub, "a");
    end(&mut hub, third, End::Left);
    publish(&mut hub, "a");
    assert_eq!(missed(&hub, "a").unwrap(), words("3 messages were", "not kept"));
    // What a session gets again that comes back, was not missed.
    let back = enter(&mut hub, user("7", "a,kept"));
    hub.state.write_journal(back, What::Returned, More { count: 2, ..More::default() });
    assert_eq!(
        missed(&hub, "kept").unwrap(),
        words("2 messages were", "kept") + "; 2 messages were sent when the user came back"
    );
    assert!(!advice(&hub).contains(&Advice::NotBack));
}

/// Sessions that are older than the journal are there from its begin, in the rooms that they have now.
#[test]
fn old_sessions_are_not_away() {
    let mut hub = hub(KEPT);
    let old = enter(&mut hub, user("7", "a"));
    (0..30_000).for_each(|_| _ = publish(&mut hub, "busy"));
    let tab = enter(&mut hub, user("7", "a"));
    end(&mut hub, tab, End::Left);
    publish(&mut hub, "a");
    assert_eq!(missed(&hub, ""), None);
    // One that joined another room later.
    join(&mut hub.state, old, "b");
    end(&mut hub, old, End::Lost);
    publish(&mut hub, "a");
    publish(&mut hub, "b");
    assert_eq!(
        missed(&hub, "b").unwrap(),
        "1 message was published to rooms that it had been in (not kept), the last at 00:00:01"
    );
    let alone = enter(&mut hub, user("8", "a"));
    (0..30_000).for_each(|_| _ = publish(&mut hub, "busy"));
    hub.state.leave_all(alone, &Rooms::parse("a", 128, 0).unwrap());
    end(&mut hub, alone, End::Lost);
    publish(&mut hub, "a");
    let verdicts = explain(&hub, &Question { userid: "8", ..question(&hub) }).verdicts;
    assert!(!verdicts.iter().any(|verdict| verdict.starts_with("while")), "{verdicts:?}");
}
