//! Mends a defect of librdkafka 2.12.1, which 2.15.1 still has: a member of a KIP-848 group that never hears what it was given.
//!
//! A heartbeat's answer tells a member its partitions only if they changed with that heartbeat, or if the heartbeat said all that the
//! member knows (KIP-848). So a member whose heartbeat got no answer must say it all in the next one: what the coordinator had to tell
//! may have been in the lost answer. The library does so after a connection broke, and not after a time-out, which it comes to after
//! one interval between heartbeats: a coordinator whose log waits for a replica takes longer than that. The member then has partitions
//! that it does not read. Later, when another one shall have them, it does not give them up either, since it never had them; nobody
//! reads them until the coordinator throws it out (`max.poll.interval.ms`).
//!
//! The linker puts `__wrap_…` in the place of the function that sends a heartbeat (`--wrap`, see `.cargo/config.toml`). It has the
//! library take a time-out for a broken connection: then it asks who the coordinator is, and says it all in the next heartbeat.

use std::{
    ffi::c_void,
    mem,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use rdkafka::bindings::{self as sys, rd_kafka_resp_err_t as Err};

/// `rd_kafka_replyq_t`, which is passed by value.
#[derive(Clone, Copy)]
#[repr(C)]
struct ReplyQueue {
    queue: *mut c_void,
    version: i32,
}

/// `rd_kafka_resp_cb_t`: what the library calls with an answer, or with the reason why there is none. Client, broker, reason, answer,
/// request, and what it was given. The reason is a number: a broker may send one that this enumeration does not have.
type Answered = unsafe extern "C" fn(*mut sys::rd_kafka_t, *mut c_void, i32, *mut c_void, *mut c_void, *mut c_void);

/// What the library itself does with an answer to a heartbeat: always the same function.
static OWN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

unsafe extern "C" {
    /// The library's own function.
    fn __real_rd_kafka_ConsumerGroupHeartbeatRequest(
        broker: *mut c_void,
        group: *const c_void,
        member: *const c_void,
        epoch: i32,
        instance: *const c_void,
        rack: *const c_void,
        rebalance_timeout_ms: i32,
        topics: *const sys::rd_kafka_topic_partition_list_t,
        pattern: *mut c_void,
        assignor: *const c_void,
        assignment: *const sys::rd_kafka_topic_partition_list_t,
        reply: ReplyQueue,
        answered: Option<Answered>,
        given: *mut c_void,
    );
}

/// Sends a heartbeat. One that leaves the group (epoch -1, or -2 of a static member) is sent as it is.
///
/// # Safety
/// Only the library calls it, as it would the function that it stands for.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafka_ConsumerGroupHeartbeatRequest(
    broker: *mut c_void,
    group: *const c_void,
    member: *const c_void,
    epoch: i32,
    instance: *const c_void,
    rack: *const c_void,
    rebalance_timeout_ms: i32,
    topics: *const sys::rd_kafka_topic_partition_list_t,
    pattern: *mut c_void,
    assignor: *const c_void,
    assignment: *const sys::rd_kafka_topic_partition_list_t,
    reply: ReplyQueue,
    answered: Option<Answered>,
    given: *mut c_void,
) {
    let answered = match answered {
        Some(own) if epoch >= 0 => {
            OWN.store(own as *mut c_void, Ordering::Release);
            Some(tell as Answered)
        }
        other => other,
    };
    // SAFETY: what was given is passed on.
    unsafe {
        __real_rd_kafka_ConsumerGroupHeartbeatRequest(
            broker,
            group,
            member,
            epoch,
            instance,
            rack,
            rebalance_timeout_ms,
            topics,
            pattern,
            assignor,
            assignment,
            reply,
            answered,
            given,
        );
    }
}

/// Hands an answer on to the library.
///
/// # Safety
/// Only the library calls it, for a heartbeat that was sent above.
unsafe extern "C" fn tell(
    client: *mut sys::rd_kafka_t,
    broker: *mut c_void,
    reason: i32,
    answer: *mut c_void,
    request: *mut c_void,
    given: *mut c_void,
) {
    // SAFETY: it is null, or holds a function of that type; `Option` of one is null where there is none.
    let own = unsafe { mem::transmute::<*mut c_void, Option<Answered>>(OWN.load(Ordering::Acquire)) };
    if let Some(own) = own {
        // SAFETY: the library's function, with what the library gave for it.
        unsafe { own(client, broker, understood(reason), answer, request, given) };
    }
}

/// A time-out is a broken connection; any other reason is itself.
fn understood(reason: i32) -> i32 {
    let timed_out = [Err::RD_KAFKA_RESP_ERR__TIMED_OUT, Err::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE];
    if timed_out.iter().any(|&known| known as i32 == reason) { Err::RD_KAFKA_RESP_ERR__TRANSPORT as i32 } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        /// Stands for whatever the linker has put here.
        fn rd_kafka_ConsumerGroupHeartbeatRequest();
    }

    #[test]
    fn the_function_is_in_its_place() {
        let (called, ours) =
            (rd_kafka_ConsumerGroupHeartbeatRequest as *const (), __wrap_rd_kafka_ConsumerGroupHeartbeatRequest as *const ());
        assert_eq!(called, ours, "built without the flags of .cargo/config.toml?");
    }

    #[test]
    fn only_a_time_out_is_taken_for_something_else() {
        for (reason, understood_as) in
            [(-185, -195), (-166, -195), (-195, -195), (0, 0), (16, 16), (110, 110), (-197, -197), (9_999, 9_999)]
        {
            assert_eq!(understood(reason), understood_as, "{reason}");
        }
    }
}
