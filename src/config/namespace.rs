//! Namespaces, and their rules for events from clients (`docs/protocol.md`, Namespaces and rules).

use serde_json::Value;

/// The configuration of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// How clients are admitted.
    pub auth: Auth,
    /// The source of clients that are admitted without a signature; `None`: the name of the namespace without its slash.
    pub source: Option<String>,
    /// Whether clients may join and leave rooms without a signature.
    pub join: bool,
    /// The namespace that this one is paired with.
    pub pairing: Option<String>,
    /// The events that are forwarded to the same user in the paired namespace.
    pub forward: Vec<String>,
    /// The event that a client gets when it is admitted.
    pub welcome: Option<Welcome>,
    /// The rules, in the order of the file; the first that matches applies.
    pub rules: Vec<Rule>,
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace {
            auth: Auth::default(),
            source: None,
            join: false,
            pairing: None,
            forward: ["call_up", "call_in"].map(String::from).into(),
            welcome: None,
            rules: Vec::new(),
        }
    }
}

/// How a namespace admits clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// With a valid signature.
    #[default]
    Sign,
    /// Without a check.
    Open,
    /// If the backend allows it.
    Hook,
}

/// An event that is sent when a client is admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// The name.
    pub event: String,
    /// The argument; `None`: the client's own auth payload (`$auth` in the file).
    pub data: Option<Value>,
}

/// A rule for an event from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name of the event, or `*` for every event without a rule of its own.
    pub event: String,
    /// The receivers.
    pub send: Send,
    /// The namespace of the receivers of [`Send::User`]; `None`: that of the sender.
    pub to: Option<String>,
    /// The name that the receivers get; `None`: unchanged.
    pub rename: Option<String>,
    /// The acknowledgement that the sender gets; `None`: none, unless `send` is [`Send::Hook`].
    pub ack: Option<Ack>,
    /// Whether the event is dropped for clients that still have unsent data.
    pub volatile: bool,
}

impl Namespace {
    /// Whether the backend is asked about clients or events. Then it also gets connects and disconnects.
    pub fn uses_hooks(&self) -> bool {
        self.auth == Auth::Hook || self.rules.iter().any(|rule| rule.send == Send::Hook)
    }

    /// The source of clients that are admitted without a signature; `name` is the name of this namespace.
    pub fn open_source<'a>(&'a self, name: &'a str) -> &'a str {
        self.source.as_deref().unwrap_or(name.trim_start_matches('/'))
    }

    /// The rule for an event: the first that names it, else the first `*`. A `*` does not match [`OWN_EVENTS`], so that
    /// clients can forge them only if a rule names them.
    pub fn rule(&self, event: &str) -> Option<&Rule> {
        let named = self.rules.iter().find(|rule| rule.event == event);
        let any = || self.rules.iter().find(|rule| rule.event == "*" && !OWN_EVENTS.contains(&event));
        named.or_else(any)
    }
}

/// The events that relay itself sends.
pub const OWN_EVENTS: [&str; 8] =
    ["newMsg", "sys_error", "refreshPage", "ack", "pong", "error_message", "login_info", "check_app_status"];

/// The receivers of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// The members of the sender's rooms, without the sender.
    Others,
    /// The members of the sender's rooms.
    Rooms,
    /// The sender.
    SelfOnly,
    /// All clients of the namespace.
    Namespace,
    /// All sessions of a user.
    User,
    /// The backend, whose answer may name receivers.
    Hook,
    /// None.
    Drop,
}

impl Send {
    /// All values with their names in the file.
    pub const NAMES: [(&'static str, Send); 7] = [
        ("others", Send::Others),
        ("rooms", Send::Rooms),
        ("self", Send::SelfOnly),
        ("namespace", Send::Namespace),
        ("user", Send::User),
        ("hook", Send::Hook),
        ("drop", Send::Drop),
    ];
}

/// The acknowledgement of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Ack {
    /// The arguments of the event.
    Echo,
    /// The answer of the first receiver.
    Peer,
    /// The answer of the backend.
    Hook,
    /// This value.
    Value(Value),
}
