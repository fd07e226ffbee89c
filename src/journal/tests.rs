use super::*;
use crate::key::Key;

/// A reason that is the same in each language.
fn free(text: &str) -> Reason<'_> {
    Reason::free(text)
}

fn whys(journal: &Journal) -> Vec<&str> {
    journal.records().map(|record| journal.why(record, Language::English)).collect()
}

fn session(number: u64) -> SessionKey {
    SessionKey::wrap(Key::from_bits(number << 32).unwrap())
}

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn journal() -> Journal {
    let mut journal = Journal::default();
    journal.begin();
    journal
}

#[test]
fn the_oldest_records_are_dropped() {
    let mut journal = Journal::default();
    journal.note(Time::START, What::Came, (0, "u"), session(1), More::default());
    assert_eq!(journal.records().count(), 0, "it is off");
    journal.begin();
    for number in 0..MOST_EVENTS as u64 + 5 {
        let time = Time::from_micros(number);
        journal.note(time, What::Came, (0, "u"), session(number + 1), More::default());
        assert_eq!(journal.since().is_some(), number + 1 > MOST_EVENTS as u64);
    }
    assert_eq!((journal.records().count(), journal.since()), (MOST_EVENTS, Some(Time::from_micros(5))));
    assert_eq!(journal.bytes(), MOST_EVENTS * 40, "no more memory than it needs");
}

#[test]
fn refusals_push_out_refusals_only() {
    let mut journal = journal();
    journal.note(at(1), What::Came, (0, "u"), session(1), More::default());
    for number in 0..100_000 {
        journal.note_refused_login(at(2), (0, &format!("stranger {number}")), &free("sign verify failed!"));
    }
    journal.note(at(3), What::Ended, (0, "u"), session(1), More::default());
    let whats: Vec<What> = journal.records().map(|record| record.what).collect();
    assert_eq!((whats[0], whats[1], *whats.last().unwrap()), (What::Came, What::Refused, What::Ended));
    assert_eq!((whats.len(), journal.since(), journal.refusals_since()), (MOST_REFUSALS + 2, None, Some(at(2))));
    assert!(journal.bytes() <= (MOST_REFUSALS + FIRST) * 40);
}

#[test]
fn equal_refusals_of_a_minute_are_one_record() {
    let mut journal = journal();
    for second in 0..150 {
        journal.note_refused_login(at(second), (0, "7"), &free("sign verify failed!"));
        journal.note_refused_login(at(second), (1, "7"), &free("sign verify failed!"));
        let user = (0, journal.user(0, "7"));
        journal.note_failure(at(second), What::MessageRefused, user, session(1), &free("too fast"));
    }
    let found: Vec<_> = journal.records().filter(|record| record.tenant == 0 && record.what == What::Refused).collect();
    let counts: Vec<_> = found.iter().map(|record| (record.time, record.count, record.stamp)).collect();
    assert_eq!(counts, [(at(0), 60, 59_000_000), (at(60), 60, 119_000_000), (at(120), 30, 149_000_000)]);
    assert_eq!(journal.records().count(), 9);
    assert!(journal.records().is_sorted_by_key(|record| record.time));
}

#[test]
fn reasons_are_bounded_and_unused_ones_are_dropped() {
    let mut journal = journal();
    for number in 0..2 * MOST_REASONS {
        journal.note_refused_login(at(0), (0, ""), &free(&format!("reason {number}")));
    }
    let whys = whys(&journal);
    assert_eq!((whys[0], whys[98], whys[99]), ("reason 0", "reason 98", "another reason"));
    assert_eq!(whys.len(), MOST_FOREIGN, "those with another reason are equal");
    // The places of relay's own reasons are others.
    journal.note_refused_login(at(0), (0, "7"), &Reason::fixed("own", "自有"));
    assert_eq!(self::whys(&journal).last(), Some(&"own"));
    journal.note_refused_login(at(0), (0, "7"), &free("reason 7"));
    journal.note_refused_login(at(0), (0, "7"), &free(""));
    assert_eq!(self::whys(&journal)[MOST_FOREIGN + 1..], ["reason 7", ""]);
    // Once their records are gone, there is room for others.
    for number in 0..2 * MOST_REFUSALS {
        journal.note_refused_login(at(1), (0, &number.to_string()), &free("reason 98"));
    }
    journal.note_refused_login(at(2), (0, ""), &free(&format!("new{}", "x".repeat(500))));
    journal.note_refused_login(at(3), (0, ""), &free("reason 98"));
    assert_eq!(self::whys(&journal)[MOST_REFUSALS - 2..], [&*format!("new{}", "x".repeat(117)), "reason 98"]);
}

#[test]
fn a_cause_stands_for_a_reason_that_is_missing() {
    let mut journal = journal();
    journal.cause = Reason::fixed("the backend", "后台");
    journal.note(at(1), What::Joined, (0, "7"), session(1), More::default());
    journal.note(at(1), What::Ended, (0, "7"), session(1), More { reason: free("of its own"), ..More::default() });
    journal.cause = Reason::default();
    journal.note(at(1), What::Left, (0, "7"), session(1), More::default());
    let whys = whys(&journal);
    assert_eq!(whys, ["the backend", "of its own", ""]);
}

#[test]
fn publications_name_the_relay_that_has_made_them() {
    let mut journal = journal();
    for node in [None, Some(7), Some(9), Some(7)].into_iter().chain((100..400).map(Some)) {
        journal.note_publication(at(1), Publication { room: 1, stamp: 1, id: 1, node, ..Publication::default() });
    }
    let origins: Vec<_> = journal.records().map(|record| journal.origin(record)).collect();
    assert_eq!(origins[..4], [None, Some(7), Some(9), Some(7)]);
    assert_eq!((origins[4], *origins.last().unwrap()), (Some(100), Some(0)), "there is no room for so many");
    assert!(whys(&journal).iter().all(|why| why.is_empty()));
    for (name, back) in [("a1b2c3", "a1b2c3"), ("", ""), ("123456789", "12345678")] {
        assert_eq!(unpack(pack(name)), back);
    }
}

#[test]
fn a_source_is_forgotten() {
    let mut journal = journal();
    for tenant in [0, 1, EVERY] {
        journal.note(at(1), What::Came, (tenant, "7"), session(1), More::default());
        journal.note_refused_login(at(1), (tenant, "7"), &free("no"));
    }
    journal.forget(&HashSet::from([0]));
    let left: Vec<u16> = journal.records().map(|record| record.tenant).collect();
    assert_eq!((left, journal.since()), (vec![1, EVERY, 1, EVERY], None));
}

#[test]
fn users_of_different_sources_differ() {
    let journal = Journal::default();
    assert_ne!(journal.user(0, "1"), journal.user(1, "1"));
    assert_ne!(journal.user(0, "1"), journal.user(0, "2"));
    assert_eq!(journal.user(0, "1"), journal.user(0, "1"));
}
