//! Decides what becomes of an order's payment. Pure: the same order always gets the same payment and the same answer.
//!
//! Ids and outcome are version 5 UUIDs (a hash) of the order's id, each in a namespace of its own. So a record that is handled
//! twice gives one payment, and two pipelines with the same success rate agree.

use sha1::{Digest, Sha1};
use uuid::Uuid;

/// The namespace of payment ids: the version 5 UUID of the URL `https://penstock.dev/payments/payment`.
pub const PAYMENT_NAMESPACE: Uuid = Uuid::from_u128(0x3024_fbe2_4ca5_5232_b0f5_c717_07cb_da81);
/// The namespace of the ids of `PAYMENT_COMPLETED` events: of `https://penstock.dev/payments/payment-completed-event`.
pub const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0xc2bf_02c5_e42f_5c3b_af61_fc42_2e09_23eb);
/// The namespace of the draw that decides: of `https://penstock.dev/payments/payment-outcome`.
const OUTCOME_NAMESPACE: Uuid = Uuid::from_u128(0x0cdf_d60b_ca9c_5bae_b297_e21f_6da1_4c96);

/// What becomes of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It succeeds.
    Completed {
        /// The id of the payment.
        payment_id: Uuid,
        /// The id of the event that tells of it.
        event_id: Uuid,
    },
    /// The bank says no.
    Declined,
}

/// Decides an order's payment: of many orders, the share `success_rate` (0 to 1) succeeds.
#[must_use]
pub fn decide(order_id: Uuid, success_rate: f64) -> Decision {
    if draw(order_id) < success_rate {
        Decision::Completed { payment_id: derive(PAYMENT_NAMESPACE, order_id), event_id: derive(EVENT_NAMESPACE, order_id) }
    } else {
        Decision::Declined
    }
}

/// A number from 0 up to, not including, 1. Evenly spread over order ids, however they were made.
fn draw(order_id: Uuid) -> f64 {
    let derived = derive(OUTCOME_NAMESPACE, order_id);
    let (random, ..) = derived.as_fields();
    f64::from(random) / (f64::from(u32::MAX) + 1.0)
}

/// The version 5 UUID of an order's id in a namespace (RFC 9562, section 5.5). The uuid crate's own takes five times as long: it
/// hashes without the processor's instructions for that.
fn derive(namespace: Uuid, order_id: Uuid) -> Uuid {
    let digest = Sha1::new().chain_update(namespace).chain_update(order_id).finalize();
    digest.first_chunk().map(|first| uuid::Builder::from_sha1_bytes(*first).into_uuid()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn namespaces_are_what_they_say() {
        for (namespace, name) in
            [(PAYMENT_NAMESPACE, "payment"), (EVENT_NAMESPACE, "payment-completed-event"), (OUTCOME_NAMESPACE, "payment-outcome")]
        {
            assert_eq!(namespace, Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("https://penstock.dev/payments/{name}").as_bytes()));
        }
    }

    #[test]
    fn a_derived_id_is_a_version_5_uuid() {
        for order in [Uuid::nil(), Uuid::max(), Uuid::from_u128(7)] {
            assert_eq!(derive(PAYMENT_NAMESPACE, order), Uuid::new_v5(&PAYMENT_NAMESPACE, order.as_bytes()));
        }
    }

    #[test]
    fn a_payment_never_changes_between_versions() {
        let id = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff".parse().unwrap();
        let Decision::Completed { payment_id, event_id } = decide(id, 1.0) else { panic!("declined at a rate of 1") };
        assert_eq!(payment_id.to_string(), "16b06965-a766-5071-b009-79652946d798");
        assert_eq!(event_id.to_string(), "4bf3e999-416e-5f64-b117-d4e66a507561");
    }

    #[test]
    fn the_share_that_succeeds_is_the_rate() {
        for rate in [0.0, 0.1, 0.5, 0.8, 1.0] {
            let orders = 20_000_u32;
            let paid = (0..orders).filter(|n| decide(Uuid::from_u128(u128::from(*n)), rate) != Decision::Declined).count();
            let share = f64::from(u32::try_from(paid).unwrap()) / f64::from(orders);
            assert!((share - rate).abs() < 0.015, "{rate}: {share}");
            assert!(rate > 0.0 || paid == 0, "none succeeds at 0");
            assert!(rate < 1.0 || share >= 1.0, "all succeed at 1");
        }
    }

    proptest! {
        #[test]
        fn a_replay_gives_the_same_payment_and_a_higher_rate_declines_no_more(order: u128, low in 0.0..=1.0, more in 0.0..=1.0) {
            let id = Uuid::from_u128(order);
            let decision = decide(id, low);
            prop_assert_eq!(decision, decide(id, low));
            if decision != Decision::Declined {
                prop_assert_eq!(decision, decide(id, f64::max(low, more)));
            }
        }
    }
}
