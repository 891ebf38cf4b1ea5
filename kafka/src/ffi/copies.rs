//! Copies of what the C library lends, made with few allocations.

use std::ffi::CStr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// Small values share an allocation of this size. A value that is kept keeps all of it, so it must not be large.
const SHARED: usize = 16 << 10;
/// A value of at least this size has an allocation of its own.
const LARGE: usize = 2 << 10;
/// Names beyond this number are looked up no more: a reader of so many topics is rare, and its memory stays bounded.
const MAX_NAMES: usize = 64;

/// Copies values into memory that several of them share, and each topic's name once.
pub(crate) struct Copies {
    chunk: BytesMut,
    sharing: bool,
    names: Vec<Arc<str>>,
}

impl Copies {
    /// For values that are gone soon: they share memory.
    pub(crate) fn shared() -> Self {
        Self { chunk: BytesMut::new(), sharing: true, names: Vec::new() }
    }

    /// For values that may be kept: each has memory of its own.
    pub(crate) fn separate() -> Self {
        Self { sharing: false, ..Self::shared() }
    }

    /// Begins names anew. Records of different runs then count references in different places: two threads that count in
    /// the same place at the same time slow each other down.
    pub(crate) fn renew(&mut self) {
        self.names.clear();
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> Bytes {
        if value.is_empty() || value.len() >= LARGE || !self.sharing {
            return Bytes::copy_from_slice(value);
        }
        if self.chunk.capacity() < value.len() {
            self.chunk = BytesMut::with_capacity(SHARED);
        }
        self.chunk.extend_from_slice(value);
        self.chunk.split().freeze()
    }

    pub(super) fn topic(&mut self, name: &CStr) -> Arc<str> {
        if let Some(known) = self.names.iter().find(|known| known.as_bytes() == name.to_bytes()) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.to_string_lossy().into();
        if self.names.len() < MAX_NAMES {
            self.names.push(Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_what_was_copied() {
        for mut copies in [Copies::shared(), Copies::separate()] {
            let values: Vec<Vec<u8>> = [0, 1, 300, 2047, 2048, 5000].iter().cycle().take(60).map(|size| vec![7; *size]).collect();
            let copied: Vec<Bytes> = values.iter().map(|value| copies.bytes(value)).collect();
            assert_eq!(copied, values);
        }
    }

    #[test]
    fn a_topic_has_one_name() {
        let mut copies = Copies::shared();
        let first = copies.topic(c"orders");
        assert_eq!(&*copies.topic(c"payments"), "payments");
        assert!(Arc::ptr_eq(&first, &copies.topic(c"orders")));
    }
}
