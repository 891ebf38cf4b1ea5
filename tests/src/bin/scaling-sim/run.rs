//! Replays a trace for one contestant, and measures.

use crate::{contestant::Contestant, trace::Trace, world::World};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub name: &'static str,
    /// Seconds in which a record waited for longer than `drainSeconds`.
    pub over_goal: u64,
    /// Seconds of workers, from their declaration on.
    pub worker_seconds: u64,
    /// How often their number was changed.
    pub steps: u64,
    /// How long a record waited at most, in seconds.
    pub largest_age: u64,
    /// How many workers were declared, second by second.
    pub workers: Vec<u32>,
    /// How many records waited, second by second.
    pub lag: Vec<u64>,
}

/// Replays a trace.
pub fn replay(trace: &Trace, contestant: &mut dyn Contestant) -> Run {
    let mut world = World::new(trace);
    let mut run = Run { name: contestant.name(), ..Run::default() };
    for _ in 0..trace.ends {
        world.pass(trace);
        if let Some(desired) = contestant.look(&world)
            && desired != world.declared()
        {
            world.declare(desired);
            run.steps += 1;
        }
        let age = world.age();
        run.over_goal += u64::from(age > trace.scaling.drain_seconds);
        run.largest_age = run.largest_age.max(age);
        run.worker_seconds += u64::from(world.declared());
        run.workers.push(world.declared());
        run.lag.push(world.lag());
    }
    run
}
