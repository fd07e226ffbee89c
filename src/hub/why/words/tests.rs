use super::*;
use crate::{
    hub::why::{
        Advice, Question,
        away::Away,
        verdicts::{After, Begin, Ending, Fate, Missed, Place, Progress, Resumption, Slowness, Trouble, Verdict},
    },
    journal::{EVERY, More, Publication, Reason, Recipient, Subject, What, pack},
    key::{Handle, SessionKey},
    language::testing::{assert_chinese, is_chinese, samples},
    room_hash::room_hash,
    state::testing::{Login, config, session},
};

const CONFIG: &str = "[sources.one]\nsign_key = \"key\"\n[namespaces.\"/chat\"]\nauth = \"open\"\nsource = \"one\"\n";
const WHY: Reason<'static> = Reason::fixed("why", "原因");

/// A hub with a session of user 7 in room `a`.
fn hub() -> (Hub, SessionKey) {
    let mut hub = Hub::new(config(CONFIG), MessageId::first(1000, 7), [0; 32]);
    hub.state.journal.begin();
    let key = session(&mut hub.state, Login { rooms: "a", ..Login::default() });
    (hub, key)
}

fn question(hub: &Hub) -> Question<'static> {
    Question {
        tenant: hub.state.known_tenant("one").unwrap(),
        id: None,
        userid: "7",
        room: "",
        socket_id: "",
        confirmed: &[],
    }
}

/// What is said in each language, with `S` in place of the `socket_id`.
fn said(hub: &Hub, key: SessionKey, say: impl Fn(&Words<'_>) -> String) -> [String; 2] {
    let found = Findings::collect(hub, &question(hub));
    let socket_id = hub.state.socket_id(key);
    [Language::English, Language::Chinese]
        .map(|language| say(&Words { hub, found: &found, language }).replace(&socket_id, "S"))
}

/// Checks what is said. Returns the English line.
fn assert_both([english, chinese]: &[String; 2]) -> String {
    assert!(!english.contains(is_chinese), "{english}");
    assert_chinese(chinese, &["S", "a", "b", "a1b2c3", "idempotency_key", "chat"]);
    format!("{english}\n")
}

/// Each kind of record, as it is written in each way: of a session or not, with a reason or not, once or more often.
#[test]
fn records_are_said_in_both_languages() {
    let (mut hub, key) = hub();
    let whats = samples!(What:
        What::Published => What::Published,
        What::Kept => What::Kept,
        What::Came => What::Came,
        What::Joined => What::Joined,
        What::Left => What::Left,
        What::Ended => What::Ended,
        What::Lost => What::Lost,
        What::Silent => What::Silent,
        What::Returned => What::Returned,
        What::Resumed => What::Resumed,
        What::Behind => What::Behind,
        What::CaughtUp => What::CaughtUp,
        What::Slow => What::Slow,
        What::Gap => What::Gap,
        What::Gaps => What::Gaps,
        What::SentAway => What::SentAway,
        What::GivenUp => What::GivenUp,
        What::Refreshed => What::Refreshed,
        What::Emitted(_) => What::Emitted(Recipient::All),
        What::Refused => What::Refused,
        What::MessageRefused => What::MessageRefused,
        What::HookFailed => What::HookFailed,
        What::PublicationRefused => What::PublicationRefused,
        What::Repeated => What::Repeated,
        What::Missed => What::Missed,
    );
    let chat = hub.state.find_namespace("/chat").unwrap().into();
    let (now, later, room) = (Time::START, Time::from_micros(5_000_000), room_hash("a"));
    for what in whats {
        let journal = &mut hub.state.journal;
        for (count, reason) in [(1, Reason::default()), (3, WHY)] {
            let session = match what {
                What::Missed => pack("a1b2c3"),
                What::MessageRefused | What::HookFailed => key.key().to_bits(),
                _ => 0,
            };
            let mut note = |time, tenant, who| {
                journal.note_refusal(time, what, Subject { tenant, who, session }, count.into(), &reason);
            };
            match what {
                What::Published | What::Kept => {}
                What::Emitted(_) => {
                    for (recipient, who) in
                        [(Recipient::Room, room), (Recipient::User, 0), (Recipient::Session, 0), (Recipient::All, 0)]
                    {
                        let session = if recipient == Recipient::Session { key.key().to_bits() } else { chat };
                        let subject = Subject { tenant: 0, who, session };
                        journal.note_event(now, recipient, subject, count == 1);
                        if count > 1 {
                            journal.note_event(later, recipient, subject, false);
                        }
                    }
                }
                What::Refused | What::MessageRefused | What::HookFailed | What::Missed => {
                    note(now, 0, 0);
                    if count > 1 {
                        note(later, 0, 0);
                    }
                }
                What::PublicationRefused | What::Repeated | What::Refreshed => {
                    let whose = [(0, room), (EVERY, 5), (0, 0), (EVERY, 0)];
                    whose.into_iter().for_each(|(tenant, who)| note(now, tenant, who));
                }
                _ => journal.note(now, what, (0, "7"), key, More { stamp: room, count, reason }),
            }
        }
    }
    hub.state.write_journal(key, What::Refreshed, More::default());
    for kept in [false, true] {
        for node in [None, Some(9)] {
            let publication = Publication { room, stamp: 1, id: 1, node, queued: 1, kept, ..Publication::default() };
            hub.state.journal.note_publication(now, publication);
        }
    }
    let records: Vec<Record> = hub.state.journal.records().copied().collect();
    let records = records.iter().map(|record| assert_both(&said(&hub, key, |words| words.record(record))));
    let mut english: Vec<String> = records.collect();
    english.dedup();
    assert_eq!(english.concat(), include_str!("records.txt"));
}

#[test]
fn advice_is_given_in_both_languages() {
    for advice in Advice::ALL {
        assert!(!advice.text(Language::English).contains(is_chinese));
        assert_chinese(advice.text(Language::Chinese), NAMES);
    }
}

/// Keys, commands and files in advice.
const NAMES: &[&str] = &[
    "room_ids",
    "history",
    "count",
    "rooms",
    "docs/troubleshooting.md",
    "sign",
    "explain",
    "since",
    "recovery.window",
    "doctor",
    "URL",
    "trace",
    "limits.unsent",
    "age",
    "bytes",
    "recovered",
    "false",
    "relay_redis_missed_total",
    "client-output-buffer-limit",
    "pubsub",
    "limits.message_rate",
    "hooks",
    "hooks.timeout",
    "code",
    "msg",
    "idempotency_key",
    "ping_interval",
    "POST",
    "api/disconnect",
    "disconnect",
];

/// Each verdict, with each clause that it can have.
#[test]
fn verdicts_are_said_in_both_languages() {
    let (mut hub, key) = hub();
    let (now, bits) = (hub.state.now.time, key.key().to_bits());
    for what in [What::Lost, What::Ended, What::Returned, What::Resumed] {
        hub.state.write_journal(key, what, More { count: 2, reason: WHY, ..More::default() });
    }
    let publication =
        Publication { room: 1, stamp: 1, id: 1, node: Some(9), queued: 1, kept: true, ..Publication::default() };
    hub.state.journal.note_publication(now, publication);
    let records: Vec<Record> = hub.state.journal.records().copied().collect();
    let [_, lost, ended, returned, resumed, published] = &records[..] else { panic!("{records:?}") };
    let missed = |count| Missed { node: "a1b2c3".into(), count, last: now };
    let ending = |sent_away| Ending { record: ended, sent_away };
    let later = || Resumption { record: returned, from: Begin::Later };
    let rooms = |number| vec!["a".into(); number];
    let mut all = samples!(Verdict<'_>:
        Verdict::NotFound => Verdict::NotFound,
        Verdict::PerhapsMissed(_) => Verdict::PerhapsMissed(missed(1)),
        Verdict::OfRelay(_) => Verdict::OfRelay("a1b2c3".into()),
        Verdict::CameFrom(_) => Verdict::CameFrom(published),
        Verdict::MoreRooms(_) => Verdict::MoreRooms(3),
        Verdict::Member(..) => Verdict::Member(bits, Fate::Received),
        Verdict::NotMember(..) => Verdict::NotMember(bits, room_hash("a")),
        Verdict::PerhapsMember(_) => Verdict::PerhapsMember(bits),
        Verdict::NotAdmitted(_) => Verdict::NotAdmitted(ended),
        Verdict::NeverThere => Verdict::NeverThere,
        Verdict::LostBefore(..) => Verdict::LostBefore(lost, After::NotKept),
        Verdict::EndedBefore(..) => Verdict::EndedBefore(ending(None), Some(later())),
        Verdict::Connected { .. } => Verdict::Connected { session: bits, place: Place::In("a"), is_behind: false, bytes: 0 },
        Verdict::Gone(_) => Verdict::Gone(ending(Some(lost))),
        Verdict::NoSession => Verdict::NoSession,
        Verdict::NeverInRoom(..) => Verdict::NeverInRoom(3, "a"),
        Verdict::Away(_) => Verdict::Away(Away { count: 3, kept: 0, again: 2, last: now }),
        Verdict::Troubles(..) => Verdict::Troubles(Trouble::Lost, 1, lost),
        Verdict::MissedOfOthers(_) => Verdict::MissedOfOthers(missed(5)),
        Verdict::Room { .. } => Verdict::Room { name: "a", members: 2, keeps: true },
        Verdict::PublicationsRefused(..) => Verdict::PublicationsRefused(3, ended),
        Verdict::PublicationsRepeated(..) => Verdict::PublicationsRepeated(3, published),
    );
    all.extend([
        Verdict::Away(Away { count: 1, kept: 1, again: 1, last: now }),
        Verdict::Away(Away { count: 3, kept: 1, again: 2, last: now }),
        Verdict::NotMember(bits, 1),
        Verdict::EndedBefore(ending(None), None),
        Verdict::Gone(Ending { record: lost, sent_away: None }),
        Verdict::Room { name: "a", members: 1, keeps: false },
    ]);
    let fates = samples!(Fate<'_>:
        Fate::Received => Fate::Received,
        Fate::CaughtUp(..) => Fate::CaughtUp(lost, ended, None),
        Fate::There(..) => Fate::There(Some(lost), Progress::Received),
        Fate::Lost(..) => Fate::Lost(Slowness::Not, lost, After::NotKept),
        Fate::LostUnknown(..) => Fate::LostUnknown(Slowness::Not, lost, After::NotKept),
        Fate::Ended(..) => Fate::Ended(Slowness::Not, ending(None)),
    );
    let fates = fates
        .into_iter()
        .chain([Fate::CaughtUp(lost, ended, Some(lost)), Fate::LostUnknown(Slowness::Not, lost, After::Away)]);
    let progress = samples!(Progress<'_>:
        Progress::Unknown => Progress::Unknown,
        Progress::Gap(_) => Progress::Gap(lost),
        Progress::Received => Progress::Received,
        Progress::Behind(_) => Progress::Behind(5),
        Progress::Unconfirmed => Progress::Unconfirmed,
        Progress::Unchecked => Progress::Unchecked,
        Progress::Waiting(_) => Progress::Waiting(5),
    );
    let fates = fates.chain(progress.into_iter().map(|progress| Fate::There(None, progress)));
    let slow = || {
        samples!(Slowness<'_>:
            Slowness::Not => Slowness::Not,
            Slowness::Behind(_) => Slowness::Behind(lost),
            Slowness::Closed(..) => Slowness::Closed(None, lost),
        )
    };
    let slow = || slow().into_iter().chain([Slowness::Closed(Some(lost), ended)]);
    let fates = fates.chain(slow().map(|slow| Fate::Lost(slow, lost, After::NotKept)));
    let fates = fates.chain(slow().map(|slow| Fate::Ended(slow, ending(None))));
    let afters = samples!(After<'_>:
        After::NotKept => After::NotKept,
        After::Resumed(_) => After::Resumed(later()),
        After::Away => After::Away,
        After::GivenUp(_) => After::GivenUp(lost),
        After::NotBack => After::NotBack,
    );
    let begins = samples!(Begin<'_>:
        Begin::Later => Begin::Later,
        Begin::Gap(_) => Begin::Gap(lost),
        Begin::Before => Begin::Before,
    );
    let afters = afters.into_iter();
    let afters = afters.chain(begins.into_iter().map(|from| After::Resumed(Resumption { record: resumed, from })));
    let places = samples!(Place<'_>:
        Place::Rooms(_) => Place::Rooms(rooms(1)),
        Place::In(_) => Place::In("a"),
        Place::InSimilar(..) => Place::InSimilar("a", "b".into()),
        Place::NotIn(..) => Place::NotIn("a", rooms(6)),
    );
    let places = places.into_iter().chain([Place::Rooms(rooms(0))]);
    let places = places.zip([(false, 0), (false, 5), (true, 5), (false, 0), (false, 0)]);
    let troubles = samples!(Trouble:
        Trouble::Lost => Trouble::Lost,
        Trouble::LoginRefused => Trouble::LoginRefused,
        Trouble::Behind => Trouble::Behind,
        Trouble::Slow => Trouble::Slow,
        Trouble::Gap => Trouble::Gap,
        Trouble::GivenUp => Trouble::GivenUp,
        Trouble::MessageRefused => Trouble::MessageRefused,
        Trouble::HookFailed => Trouble::HookFailed,
        Trouble::SentAway => Trouble::SentAway,
    );
    all.extend(fates.map(|fate| Verdict::Member(bits, fate)));
    all.extend(afters.map(|after| Verdict::LostBefore(lost, after)));
    all.extend(places.map(|(place, (is_behind, bytes))| Verdict::Connected { session: bits, place, is_behind, bytes }));
    all.extend(troubles.into_iter().map(|trouble| Verdict::Troubles(trouble, 2, lost)));
    let english = all.iter().map(|verdict| assert_both(&said(&hub, key, |words| words.verdict(verdict))));
    assert_eq!(english.collect::<String>(), include_str!("verdicts.txt"));
}
