//! The last inputs, for the report of a failure.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
};

/// Keeps the inputs that were sent last; shared by all peers of a run.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<VecDeque<Entry>>>);

struct Entry {
    case: u64,
    what: &'static str,
    bytes: Vec<u8>,
}

impl Journal {
    /// Adds what case number `case` sends.
    pub fn add(&self, case: u64, what: &'static str, bytes: &[u8]) {
        let mut entries = self.0.lock().unwrap();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Entry { case, what, bytes: bytes.to_vec() });
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry { case, what, bytes } in &*self.0.lock().unwrap() {
            let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
            writeln!(f, "case {case}, {what}, {} bytes: {shown}", bytes.len())?;
        }
        Ok(())
    }
}

/// Inputs that are kept, and bytes of each that are shown.
const KEPT: usize = 150;
const SHOWN: usize = 400;
