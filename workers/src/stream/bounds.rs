//! How much of a stream is in memory, and how much may be. Pure.

/// How much may be in memory at once, those not counted that were held back: they wait for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub records: usize,
    pub bytes: usize,
}

/// What is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub records: usize,
    pub bytes: usize,
    /// The size of what follows from them, where that is decided.
    pub decided: usize,
}

impl Tally {
    pub fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    /// Removes a record with what was decided of it.
    pub fn remove(&mut self, bytes: usize, decided: usize) {
        self.records -= 1;
        self.bytes -= bytes;
        self.decided -= decided;
    }
}
