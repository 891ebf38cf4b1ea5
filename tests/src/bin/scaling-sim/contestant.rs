//! Who decides how many workers there are.

use crate::{keda::Keda, numaflow::Numaflow, ours::Ours, trace::Trace, world::World};

/// Who decides.
pub trait Contestant {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Looks at the world once a second, and says how many workers there shall be, if that is news.
    fn look(&mut self, world: &World) -> Option<u32>;
}

/// All of them.
pub fn contestants(trace: &Trace) -> [Box<dyn Contestant>; 3] {
    [Box::new(Ours::new(trace)), Box::new(Keda::new(trace)), Box::new(Numaflow::new(trace))]
}
