//! docs/protocol.md, Plain WebSocket, and RFC 6455: the upgrade, frames of every shape, pings, and every way to end.

mod end;
mod frames;
mod heartbeat;
mod upgrade;
