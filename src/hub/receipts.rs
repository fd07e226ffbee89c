//! Receipts: counts who gets a notification, here and at other relays, and gives the answers to backends and other relays.

use core::time::Duration;
use std::rc::Rc;

use smallvec::SmallVec;

use super::Hub;
use crate::{
    cluster::{CountQuery, CountedRoom},
    message::MessageId,
    names::{RoomId, Rooms},
    receipts::{Answer, Asker, Count, Open, Receipt, ReceiptRequest, RoomReceipt, Waiting},
    state::{Effect, Keyed, TenantId, client::Mode},
};

impl Hub {
    /// Appends the receipt of a message, which was [published](Hub::publish) right before under this id, to an answer. With
    /// `keyed`, it will be in the answer to a repeated request. If other relays or clients are waited for, the receipt is
    /// appended later, once [`Answers::wait`](crate::receipts::Answers::wait) has the answer.
    pub fn give_receipt(
        &mut self,
        (tenant, rooms): (TenantId, &Rooms<'_>),
        id: MessageId,
        request: ReceiptRequest,
        keyed: Option<Keyed>,
        answer: &mut Answer,
    ) {
        self.state.stats.receipts_asked += 1;
        let names: SmallVec<[&str; 2]> = rooms.iter().map(RoomId::as_str).collect();
        let counted = |(part, room): (usize, &&str)| RoomReceipt {
            room: (*room).into(),
            kept: self.is_kept(tenant, room, id.stamp() + part as u64),
            counts: Vec::new(),
        };
        let rooms: Vec<RoomReceipt> = names.iter().enumerate().map(counted).collect();
        let mut receipt =
            Receipt { id: id.to_string().into(), names: request.names, complete: true, rooms, acked: None };
        let mut sessions = 0;
        for room in &mut receipt.rooms {
            let count = self.count(tenant, &room.room, request.names);
            sessions += count.sessions;
            room.counts.push(count);
        }
        // What other relays have is not known.
        receipt.complete = self.cluster.health().reason().is_none();
        let has_room = self.receipts.has_room();
        let wait = request.wait.filter(|_| has_room && self.receipts.may_wait_for(sessions));
        receipt.complete &= wait.is_some() == request.wait.is_some();
        let stamp = id.stamp() + names.len() as u64 - 1;
        let waiting = wait.map(|wait| self.waiting_for((tenant, &names), stamp, wait));
        let number = self.receipts.next_number();
        let relays = match has_room {
            true => self.cluster.ask_count(&mut self.state, (tenant, &names), request.names, wait, number),
            false => {
                receipt.complete &= !self.cluster.has_nodes();
                Default::default()
            }
        };
        let place = answer.next_place();
        let asker = Asker::Backend { answer: answer.number, place, keyed };
        let open = Open::new(asker, receipt, relays, waiting, self.state.now.time);
        if open.is_done(self.state.now.time) {
            let receipt = self.finish(&open, keyed.as_ref());
            return answer.push_receipt(&receipt);
        }
        // Its connection may be lost, so that this is all that a repeated request can get.
        self.remember(&open.snapshot(), keyed.as_ref());
        answer.push_open(number);
        self.receipts.open(open, &mut self.state);
    }

    /// Answers another relay that asks who gets the message that came before.
    pub(crate) fn answer_count(&mut self, query: &CountQuery) {
        let counts: Vec<Rc<Count>> = match query.tenant {
            Some(tenant) => query.rooms.iter().map(|room| self.count(tenant, room, query.names)).collect(),
            None => vec![Rc::default(); query.rooms.len()],
        };
        let sessions: u64 = counts.iter().map(|count| count.sessions).sum();
        let may_wait = self.receipts.has_room() && self.receipts.may_wait_for(sessions);
        let wait = query.wait.filter(|_| sessions > 0 && may_wait).zip(query.tenant);
        let rooms: Vec<CountedRoom<&str>> = counts.iter().map(|count| counted(count)).collect();
        self.cluster.send_counted(&mut self.state, &query.node, query.number, &rooms, wait.is_some());
        let Some((wait, tenant)) = wait else { return };
        let names: Vec<&str> = query.rooms.iter().map(|room| &**room).collect();
        let waiting = self.waiting_for((tenant, &names), self.state.ids.last(), wait);
        let receipt = Receipt { names: query.names, ..Receipt::default() };
        let asker = Asker::Relay(query.node.clone(), query.number);
        let open = Open::new(asker, receipt, Default::default(), Some(waiting), self.state.now.time);
        self.receipts.open(open, &mut self.state);
    }

    /// Handles new proofs of clients, and answers the receipts that are done. With `all`, all of them are answered as they are,
    /// because relay stops.
    pub fn update_receipts(&mut self, all: bool) {
        self.hear_answers();
        self.receipts.counter.end_turn();
        if self.receipts.is_empty() {
            return;
        }
        let done = match all {
            true => self.receipts.take_all(&mut self.state),
            false => self.receipts.take_done(&mut self.state),
        };
        for open in done {
            match &open.asker {
                Asker::Backend { answer, place, keyed } => {
                    let receipt = self.finish(&open, keyed.as_ref());
                    if let Some((conn, body)) = self.receipts.answers.fill(*answer, *place, &receipt) {
                        self.state.effects.push_back(Effect::Answer { conn, body });
                    }
                }
                Asker::Relay(node, number) => {
                    let Some((sessions, users)) = open.snapshot().acked else { continue };
                    let users = (&*users.to_strs(), users.more);
                    self.cluster.send_acked(&mut self.state, (node, *number), sessions, users);
                }
            }
        }
    }

    /// The receipt that a backend gets.
    fn finish(&mut self, open: &Open, keyed: Option<&Keyed>) -> Receipt {
        let receipt = open.snapshot();
        match receipt.complete {
            true => self.state.stats.receipts_complete += 1,
            false => self.state.stats.receipts_incomplete += 1,
        }
        self.remember(&receipt, keyed);
        receipt
    }

    fn remember(&mut self, receipt: &Receipt, keyed: Option<&Keyed>) {
        if let Some(keyed) = keyed {
            self.state.remember_receipt(keyed, &receipt.text(), &receipt.short());
        }
    }

    fn count(&mut self, tenant: TenantId, room: &str, names: bool) -> Rc<Count> {
        // Who comes back gets what the history has.
        let is_kept = self.history.is_on() && self.history.has_rule(&self.state, tenant, room);
        let away = &self.returns.away;
        let users = || away.in_room(tenant, room).map(|session| &*session.userid).filter(|user| !user.is_empty());
        let away = || if is_kept { users().collect() } else { Vec::new() };
        self.receipts.counter.count(&self.state, (tenant, room), names, away)
    }

    /// Whether the history has the message to a room that has this stamp.
    fn is_kept(&self, tenant: TenantId, room: &str, stamp: u64) -> bool {
        let mut newer = self.history.entries_after(&self.state, tenant, &[room], stamp - 1);
        self.history.is_on() && newer.next().is_some_and(|found| found.entry.stamp() == stamp)
    }

    /// The clients that get a message to rooms. They must have all messages up to a stamp.
    fn waiting_for(&self, (tenant, rooms): (TenantId, &[&str]), stamp: u64, wait: Duration) -> Waiting {
        let members = rooms.iter().flat_map(|room| self.state.members(tenant, room));
        let gets = |client| self.state.clients.get(client).is_some_and(|client| client.mode != Mode::Ending);
        let sessions = members.filter(|member| gets(member.client)).map(|member| (member.client, member.session));
        Waiting::new(stamp, self.state.now.time.after(wait), sessions.collect())
    }
}

/// A count as it is sent to another relay.
fn counted(count: &Count) -> CountedRoom<&str> {
    let (users, away) = (&count.users, &count.away);
    (count.sessions, count.guests, users.to_strs(), users.more, away.to_strs(), away.more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Now, Time},
        key::{ConnKey, Handle, Key, SessionKey},
        message::Data,
        state::testing::{CONFIG, Login, config, session},
    };

    fn hub() -> Hub {
        Hub::new(config(CONFIG), MessageId::first(1000, 7), [0; 32])
    }

    /// Publishes to a room, and waits for its clients. Returns the receipt if it is done at once.
    fn publish(hub: &mut Hub, room: &str, wait: u64) -> Option<String> {
        let tenant = hub.state.tenant("one").unwrap();
        let rooms = Rooms::parse(room, 128, 0).unwrap();
        let id = hub.publish(tenant, &rooms, Data::Json("1"), "");
        let request = ReceiptRequest { names: true, wait: Some(Duration::from_millis(wait)) };
        let mut answer = hub.receipts.answers.begin();
        hub.give_receipt((tenant, &rooms), id, request, None, &mut answer);
        if !answer.is_open() {
            return Some(String::from_utf8(answer.into_text()).unwrap());
        }
        hub.receipts.answers.wait(ConnKey::wrap(Key::from_bits(1 << 32).unwrap()), answer);
        None
    }

    fn pong(hub: &mut Hub, key: SessionKey) {
        let client = hub.state.sessions.get(key).unwrap().client;
        let payload = [&hub.state.ids.last().to_be_bytes()[..], &[0; 4]].concat();
        hub.state.handle_pong(client, &payload);
    }

    fn answers(hub: &mut Hub) -> Vec<String> {
        hub.update_receipts(false);
        core::iter::from_fn(|| hub.poll_effect())
            .filter_map(|effect| match effect {
                Effect::Answer { body, .. } => Some(String::from_utf8(body).unwrap()),
                _ => None,
            })
            .collect()
    }

    /// A track makes each delivery look for it, so none must be left.
    #[test]
    fn clients_are_tracked_while_a_receipt_waits_for_them() {
        let mut hub = hub();
        let members = [(); 3].map(|()| session(&mut hub.state, Login { rooms: "a", ..Login::default() }));
        assert_eq!(publish(&mut hub, "a", 1000), None);
        assert_eq!((hub.state.tracks.len(), hub.receipts.len()), (3, 1));
        assert_eq!(publish(&mut hub, "a", 500), None);
        pong(&mut hub, members[0]);
        assert_eq!(answers(&mut hub), [""; 0]);
        assert_eq!(hub.state.tracks.len(), 2, "one pong is enough for both");
        let client = hub.state.sessions.get(members[1]).unwrap().client;
        hub.remove(client, false);
        hub.begin_turn(Now { time: Time::from_micros(500_000), ..Now::default() });
        let done = answers(&mut hub);
        assert!(done.len() == 1 && done[0].contains(r#""acked":1,"acked_users":["7"]}"#), "{done:?}");
        assert_eq!((hub.state.tracks.len(), hub.receipts.len()), (1, 1));
        pong(&mut hub, members[2]);
        let done = answers(&mut hub);
        assert!(done.len() == 1 && done[0].contains(r#""acked":2,"acked_users":["7"]}"#), "{done:?}");
        assert!(hub.state.tracks.is_empty() && hub.receipts.is_empty());
        assert_eq!(hub.receipts.deadline(), Time::NEVER);
    }

    #[test]
    fn receipts_wait_for_100_000_clients_together() {
        let mut hub = hub();
        for _ in 0..30_000 {
            session(&mut hub.state, Login { rooms: "a", ..Login::default() });
        }
        session(&mut hub.state, Login { rooms: "few", ..Login::default() });
        for _ in 0..3 {
            assert_eq!(publish(&mut hub, "a", 1000), None);
        }
        let refused = publish(&mut hub, "a", 1000).unwrap();
        assert!(refused.contains("\"complete\":false") && !refused.contains("acked"), "{refused}");
        assert_eq!(publish(&mut hub, "few", 1000), None, "there is room for one");
        hub.begin_turn(Now { time: Time::from_micros(1_000_000), ..Now::default() });
        assert_eq!(answers(&mut hub).len(), 4);
        assert!(hub.state.tracks.is_empty());
        assert_eq!(publish(&mut hub, "a", 1000), None);
    }
}
