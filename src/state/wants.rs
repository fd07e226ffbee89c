//! What a session asks for besides messages.

/// What a login asks for. One byte, so that a session needs no more memory for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants(u8);

impl Wants {
    /// The values of `watch_quit` and `presence` of a login.
    pub fn new(quit: bool, presence: bool) -> Wants {
        Wants(if quit { QUIT } else { 0 } | if presence { PRESENCE } else { 0 })
    }

    /// Whether its rooms get a message when it ends (docs/protocol.md, user_quit).
    pub fn quit(self) -> bool {
        self.0 & QUIT != 0
    }

    /// Whether it gets the event `presence` (docs/protocol.md, Presence).
    pub fn presence(self) -> bool {
        self.0 & PRESENCE != 0
    }
}

const QUIT: u8 = 1;
const PRESENCE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_independent() {
        for (quit, presence) in [(false, false), (true, false), (false, true), (true, true)] {
            let wants = Wants::new(quit, presence);
            assert_eq!((wants.quit(), wants.presence()), (quit, presence));
        }
        assert_eq!(Wants::default(), Wants::new(false, false));
    }
}
