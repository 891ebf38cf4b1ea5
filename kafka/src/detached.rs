//! Values whose destruction blocks (clients join threads and close sockets), dropped on a thread of their own.
//!
//! Dropping the last handle of a client is therefore safe inside an async task.

use std::sync::Arc;

use crate::error::{Error, Result};

/// Shared ownership of a value that is destroyed on another thread.
pub(crate) struct Detached<T: Send + 'static> {
    holder: Arc<Holder<T>>,
}

struct Holder<T: Send + 'static> {
    value: Option<T>,
}

impl<T: Send + 'static> Detached<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { holder: Arc::new(Holder { value: Some(value) }) }
    }

    pub(crate) fn get(&self) -> Result<&T> {
        self.holder.value.as_ref().ok_or(Error::Closed)
    }
}

impl<T: Send + 'static> Clone for Detached<T> {
    fn clone(&self) -> Self {
        Self { holder: Arc::clone(&self.holder) }
    }
}

impl<T: Send + 'static> Drop for Holder<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        // Where no thread can be had, the closure with the value in it is dropped here: slower, but nothing leaks.
        let _ = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(value));
    }
}
