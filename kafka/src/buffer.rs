//! A queue between a polling thread and async readers, bounded by items and by bytes.
//!
//! The thread pushes without losing anything and then waits for room; readers await items. Entries can be taken out of
//! the middle, which a channel cannot do: records of a partition that went away must not be handed out any more.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// A bounded queue with one writing thread.
pub(crate) struct Buffer<T> {
    state: Mutex<State<T>>,
    room: Condvar,
    item: Notify,
    capacity: usize,
    max_bytes: usize,
}

struct State<T> {
    /// Each with its size in bytes.
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> Buffer<T> {
    pub(crate) fn new(capacity: usize, max_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, closed: false };
        Self { state: Mutex::new(state), room: Condvar::new(), item: Notify::new(), capacity: capacity.max(1), max_bytes: max_bytes.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item of that size, also beyond the bounds: the writer asks for room afterwards. Ignored once closed.
    pub(crate) fn push(&self, item: T, bytes: usize) {
        self.push_quietly(item, bytes);
        self.announce();
    }

    /// As `push`, for the first of several: nobody is woken before `announce`. True if there is room for another one.
    pub(crate) fn push_quietly(&self, item: T, bytes: usize) -> bool {
        let mut state = self.lock();
        if !state.closed {
            state.items.push_back((item, bytes));
            state.bytes += bytes;
        }
        !self.is_full(&state)
    }

    /// Wakes a reader.
    pub(crate) fn announce(&self) {
        self.item.notify_one();
    }

    fn is_full(&self, state: &State<T>) -> bool {
        !state.closed && (state.items.len() >= self.capacity || state.bytes >= self.max_bytes)
    }

    /// Returns at once while there is room. Waits for a full buffer until half of it is empty, so that the writer is not
    /// woken for every item, until it is closed, or until the time is over. True if there is room.
    pub(crate) fn wait_for_room(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        if self.is_full(&state) {
            let waited = self.room.wait_timeout_while(state, timeout, |state| !state.closed && !self.is_half(state));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !self.is_full(&state)
    }

    fn is_half(&self, state: &State<T>) -> bool {
        state.items.len() <= self.capacity / 2 && state.bytes <= self.max_bytes / 2
    }

    /// True if at most half of both bounds is in use.
    pub(crate) fn is_half_empty(&self) -> bool {
        self.is_half(&self.lock())
    }

    /// Waits for the next item; `None` once the buffer is closed and empty. Nothing is lost if the wait is cancelled.
    pub(crate) async fn pop(&self) -> Option<T> {
        self.pop_many(1, |_| false).await.pop()
    }

    /// Waits for the next item and takes with it up to `max` in all, for as long as each of them `joins` others. Empty once
    /// the buffer is closed and empty. Nothing is lost if the wait is cancelled.
    pub(crate) async fn pop_many(&self, max: usize, joins: fn(&T) -> bool) -> Vec<T> {
        loop {
            let changed = self.item.notified();
            tokio::pin!(changed);
            // From here on no push is missed.
            changed.as_mut().enable();
            if let Some(taken) = self.take(max, joins) {
                return taken;
            }
            changed.await;
        }
    }

    fn take(&self, max: usize, joins: fn(&T) -> bool) -> Option<Vec<T>> {
        let mut state = self.lock();
        let mut taken = Vec::with_capacity(state.items.len().min(max));
        while let Some((item, bytes)) = state.items.pop_front() {
            state.bytes = state.bytes.saturating_sub(bytes);
            let goes_on = joins(&item);
            taken.push(item);
            if !goes_on || taken.len() >= max || !state.items.front().is_some_and(|(next, _)| joins(next)) {
                break;
            }
        }
        // One wake-up is handed on from reader to reader for as long as there is something to know.
        let (wake, room, closed) = (state.closed || !state.items.is_empty(), self.is_half(&state), state.closed);
        drop(state);
        if wake {
            self.item.notify_one();
        }
        if room {
            self.room.notify_all();
        }
        (closed || !taken.is_empty()).then_some(taken)
    }

    /// Drops the items that are not wanted any more.
    pub(crate) fn retain(&self, mut wanted: impl FnMut(&T) -> bool) {
        let mut state = self.lock();
        state.items.retain(|(item, _)| wanted(item));
        state.bytes = state.items.iter().map(|(_, bytes)| bytes).sum();
        drop(state);
        self.room.notify_all();
    }

    /// Ends the queue: what is in it can still be taken, nothing can be added.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
        self.item.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn items_keep_their_order_and_close_ends_them() {
        let buffer = Buffer::new(2, usize::MAX);
        for item in 1..=3 {
            buffer.push(item, 1);
        }
        assert!(!buffer.wait_for_room(Duration::ZERO));
        buffer.close();
        buffer.push(4, 1);
        for expected in [Some(1), Some(2), Some(3), None, None] {
            assert_eq!(buffer.pop().await, expected);
        }
    }

    #[tokio::test]
    async fn bytes_bound_it_too() {
        let buffer = Buffer::new(100, 10);
        buffer.push('a', 9);
        assert!(buffer.wait_for_room(Duration::ZERO) && !buffer.is_half_empty());
        buffer.push('b', 9);
        assert!(!buffer.wait_for_room(Duration::ZERO));
        buffer.retain(|item| *item == 'b');
        assert!(buffer.wait_for_room(Duration::ZERO) && !buffer.is_half_empty());
        assert_eq!(buffer.pop().await, Some('b'));
        assert!(buffer.is_half_empty());
    }

    #[tokio::test]
    async fn items_that_join_others_are_taken_together() {
        let buffer = Buffer::new(10, usize::MAX);
        for item in [2, 4, 6, 1, 8] {
            assert!(buffer.push_quietly(item, 1));
        }
        buffer.close();
        let expected: [&[i32]; 5] = [&[2, 4], &[6], &[1], &[8], &[]];
        for expected in expected {
            assert_eq!(buffer.pop_many(2, |item| item % 2 == 0).await, expected);
        }
    }

    #[tokio::test]
    async fn unwanted_items_are_taken_out_of_the_middle() {
        let buffer = Buffer::new(3, usize::MAX);
        for item in 1..=5 {
            buffer.push(item, 1);
        }
        buffer.retain(|item| item % 2 == 1);
        buffer.close();
        for expected in [Some(1), Some(3), Some(5), None] {
            assert_eq!(buffer.pop().await, expected);
        }
    }

    #[tokio::test]
    async fn a_full_buffer_holds_the_writer_until_a_reader_comes() {
        let buffer = Arc::new(Buffer::new(1, usize::MAX));
        let writer = Arc::clone(&buffer);
        let writer = thread::spawn(move || {
            for item in 0..1000 {
                writer.push(item, 1);
                assert!(writer.wait_for_room(LONG));
            }
            writer.close();
        });
        let mut expected = 0;
        while let Some(item) = buffer.pop().await {
            assert_eq!(item, expected);
            expected += 1;
        }
        assert_eq!(expected, 1000);
        writer.join().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn several_readers_get_every_item_once() {
        let buffer = Arc::new(Buffer::new(4, usize::MAX));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let buffer = Arc::clone(&buffer);
                tokio::spawn(async move {
                    let mut sum = 0u64;
                    while let Some(item) = buffer.pop().await {
                        sum += item;
                    }
                    sum
                })
            })
            .collect();
        let writer = Arc::clone(&buffer);
        tokio::task::spawn_blocking(move || {
            for item in 1..=1000 {
                writer.push(item, 1);
                assert!(writer.wait_for_room(LONG));
            }
            writer.close();
        })
        .await
        .unwrap();
        let mut sum = 0;
        for reader in readers {
            sum += reader.await.unwrap();
        }
        assert_eq!(sum, 500_500);
    }
}
