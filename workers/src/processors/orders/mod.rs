//! What both processors of the orders system share: the order and its rules, and the events that speak of it. Pure: no I/O, no clock.
//!
//! The gateway and the payments worker judge an order by the same code, so what one accepts the other accepts too.

mod event;
mod fields;
mod number;
mod order;
mod rules;

pub use event::{EventRefusal, ORDER_CREATED, OrderCreated, PAYMENT_COMPLETED, PaymentCompleted, iso, order_of_event};
pub use fields::{Fields, Malformed};
pub use number::{MAX_SAFE_INTEGER, Number};
pub use order::{Item, Order};
pub use rules::{Fault, MAX_ITEMS, OrderRefusal, list_faults, order_of_body, parse_order_id};
