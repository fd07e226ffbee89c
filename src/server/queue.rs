//! A queue between two threads. The standard library's (`std::sync::mpsc`) has three kinds in one, which the daemon would
//! carry all, 28 kB, for a few jobs a second.

use core::time::Duration;
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// One of two ends; what either has put in, the other takes out in its order.
pub struct End<T>(Arc<Shared<T>>);

struct Shared<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

struct Waiting<T> {
    items: VecDeque<T>,
    /// One end is gone.
    closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue: where items are put in, and where they are taken out.
pub fn queue<T>() -> (End<T>, End<T>) {
    let waiting = Waiting { items: VecDeque::new(), closed: false };
    let shared = Arc::new(Shared { waiting: waiting.into(), changed: Condvar::new() });
    (End(shared.clone()), End(shared))
}

impl<T> End<T> {
    /// Puts something in; whether anybody can still take it out.
    pub fn put(&self, item: T) -> bool {
        let mut waiting = self.0.lock();
        waiting.items.push_back(item);
        self.0.changed.notify_one();
        !waiting.closed
    }

    /// What waits, if anything does.
    pub fn poll(&self) -> Option<T> {
        self.0.lock().items.pop_front()
    }

    /// Waits for something; nothing comes any more once the other end is gone, or for now if `patience` is over.
    pub fn wait(&self, patience: Option<Duration>) -> Option<T> {
        let mut waiting = self.0.lock();
        let empty = |waiting: &mut Waiting<T>| waiting.items.is_empty() && !waiting.closed;
        waiting = match patience {
            None => self.0.changed.wait_while(waiting, empty).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.0.changed.wait_timeout_while(waiting, patience, empty);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        waiting.items.pop_front()
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;

    #[test]
    fn between_threads() {
        let (jobs, inbox) = queue();
        let (outbox, done) = queue();
        let worker = thread::spawn(move || {
            while let Some(job) = inbox.wait(None) {
                assert!(outbox.put(job * 2));
            }
        });
        assert!(done.poll().is_none());
        assert!((0..1000).all(|job| jobs.put(job)));
        drop(jobs);
        worker.join().unwrap();
        assert!((0..1000).all(|job| done.poll() == Some(job * 2)));
    }

    #[test]
    fn whose_other_end_is_gone() {
        let (sender, receiver) = queue();
        assert!(sender.put(1));
        let began = Instant::now();
        assert_eq!(receiver.wait(Some(Duration::from_secs(9))), Some(1));
        assert_eq!(receiver.wait(Some(Duration::from_millis(20))), None);
        assert!(began.elapsed() >= Duration::from_millis(20));
        drop(receiver);
        assert!(!sender.put(2));
        let (sender, receiver) = queue::<u8>();
        drop(sender);
        assert_eq!(receiver.wait(None), None);
    }
}
