//! The commands that this relay publishes.

use super::{
    channel::Channel,
    command::{Reach, RefreshTarget},
    publisher::Publisher,
};
use crate::{
    json::write_strings,
    message::{Event, Target, bytes::pack},
    state::{State, TenantId},
};

impl Publisher {
    /// `refresh`: clients should reload their page.
    pub fn refresh(&mut self, state: &mut State, target: &RefreshTarget<'_>) {
        let name = |tenant: &TenantId| state.tenants[tenant.index()].name.clone();
        let (to, source, room) = match target {
            RefreshTarget::All => ("all", None, ""),
            RefreshTarget::Source(tenant) => ("source", Some(name(tenant)), ""),
            RefreshTarget::Room(tenant, room) => ("room", Some(name(tenant)), &**room),
            RefreshTarget::Session(tenant, session) => ("session", tenant.as_ref().map(name), &**session),
            RefreshTarget::Prefixed(prefixed) => ("prefixed", None, &**prefixed),
        };
        self.command(state, "refresh", Channel::Commands, false, |line| {
            line.text("to", to);
            line.nonempty("source", source.as_deref().unwrap_or_default());
            line.text("name", room);
        });
    }

    /// `disconnect`: ends the sessions of a user, in one source or in all, or the session with that `socket_id`.
    pub fn disconnect(&mut self, state: &mut State, tenant: Option<TenantId>, userid: &str, socket_id: &str) {
        let source = tenant.map(|tenant| state.tenants[tenant.index()].name.clone());
        self.command(state, "disconnect", Channel::Commands, false, |line| {
            line.nonempty("source", source.as_deref().unwrap_or_default());
            line.nonempty("userid", userid);
            line.nonempty("socket_id", socket_id);
        });
    }

    /// `emit`: an event for sessions. With a `number`, other relays report under it how many sessions the event
    /// reached, and with `ack` also the first acknowledgement.
    pub fn event(
        &mut self,
        state: &mut State,
        (tenant, namespace): (TenantId, &str),
        reach: Reach<'_>,
        event: &Event<'_>,
        (number, ack): (Option<u64>, bool),
    ) {
        if !self.is_on() {
            return;
        }
        let source = state.tenants[tenant.index()].name.clone();
        let names;
        let (to, list): (&str, &[&str]) = match reach {
            Reach::Rooms(rooms) => ("rooms", rooms),
            Reach::Target(target) | Reach::Backend(target) => {
                let (to, name) = match *target {
                    Target::Room(room) => ("rooms", room),
                    Target::User(user) => ("user", user),
                    Target::Session(name) => ("session", name),
                    Target::Namespace => ("all", ""),
                };
                names = [name];
                (to, &names)
            }
        };
        self.command(state, "emit", Channel::Commands, event.volatile, |line| {
            line.text("source", &source);
            line.text("nsp", namespace);
            line.text("to", to);
            line.raw("names", |out| write_strings(out, list));
            line.text("event", event.name);
            line.raw("args", |out| {
                out.push(b'[');
                pack(out, event.args, event.attachments);
                out.push(b']');
            });
            if !event.attachments.is_empty() {
                line.raw("binary", write_true);
            }
            if event.volatile {
                line.raw("volatile", write_true);
            }
            if matches!(reach, Reach::Backend(_)) {
                line.raw("backend", write_true);
            }
            if let Some(number) = number {
                line.display("re", number);
            }
            if ack {
                line.raw("ack", write_true);
            }
        });
    }

    /// `find`: asks whether other relays have sessions of a user.
    pub fn find(&mut self, state: &mut State, (tenant, namespace, userid): (TenantId, &str, &str), number: u64) {
        let source = state.tenants[tenant.index()].name.clone();
        self.command(state, "find", Channel::Commands, true, |line| {
            line.text("source", &source);
            line.text("nsp", namespace);
            line.text("name", userid);
            line.display("re", number);
        });
    }

    /// `found`: reports how many sessions another relay's `find` or `emit` found here.
    pub fn found(&mut self, state: &mut State, node: &str, number: u64, sessions: usize) {
        self.command(state, "found", Channel::Relay(node.into()), true, |line| {
            line.display("re", number);
            line.display("sessions", sessions);
        });
    }

    /// `ack`: a client's acknowledgement of another relay's event.
    pub fn ack(&mut self, state: &mut State, node: &str, number: u64, list: &str, attachments: &[Vec<u8>]) {
        self.command(state, "ack", Channel::Relay(node.into()), true, |line| {
            line.display("re", number);
            line.raw("args", |out| pack(out, list, attachments));
            if !attachments.is_empty() {
                line.raw("binary", write_true);
            }
        });
    }
}

fn write_true(out: &mut Vec<u8>) {
    out.extend_from_slice(b"true");
}
