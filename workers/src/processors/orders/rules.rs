//! The rules of an order. Pure: text in, an [`Order`] or every field at fault out.
//!
//! Where the contract is silent: a blank id is no id; a price may be 0 (a gift); no sum is compared with `amount` (discounts,
//! shipping); a UUID is taken in its hyphenated form of any version and case; unknown fields are ignored and not passed on, since
//! an event holds exactly the fields of its contract.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt::{Arguments, Write},
};

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Fields, Item, Malformed, Number, Order, fields};

/// The most items of one order.
pub const MAX_ITEMS: usize = 1_000;

/// The most bytes that [`list_faults`] spends, so that a dead letter stays far below the size that a topic takes.
const MAX_FAULT_BYTES: usize = 4_096;

const ORDER_FIELDS: &[&str; 5] = &["orderId", "userId", "amount", "currency", "items"];
const ITEM_FIELDS: &[&str; 3] = &["productId", "quantity", "price"];

/// A field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it stands, such as `items[0].quantity`.
    pub field: String,
    /// What is asked of it.
    pub message: String,
}

/// Why a text is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// It is not a JSON object.
    #[error("not a JSON object: {0}")]
    Malformed(#[from] Malformed),
    /// Fields break the rules: all of them, in the order of the contract.
    #[error("{}", list_faults(.0))]
    Invalid(Vec<Fault>),
}

/// Faults as one line: `amount must be greater than 0; currency …`. Beyond some 4 KiB the rest is counted only.
#[must_use]
pub fn list_faults(faults: &[Fault]) -> String {
    let mut line = String::new();
    for (n, Fault { field, message }) in faults.iter().enumerate() {
        if line.len() > MAX_FAULT_BYTES {
            // Writing to a String cannot fail.
            let _ = write!(line, "; and {} more", faults.len() - n);
            break;
        }
        let separator = if n == 0 { "" } else { "; " };
        let _ = write!(line, "{separator}{field} {message}");
    }
    line
}

/// Reads an order.
///
/// # Errors
/// Every field at fault, or that the text is not a JSON object.
pub fn order_of_body(text: &str) -> Result<Order<'_>, OrderRefusal> {
    let fields = Fields::parse(text, ORDER_FIELDS)?;
    let mut faults = Faults { list: Vec::new() };
    let order = read_order(&fields, "", &mut faults);
    order.filter(|_| faults.list.is_empty()).ok_or(OrderRefusal::Invalid(faults.list))
}

/// Reads the order that is the field `data` of an event.
///
/// # Errors
/// Every field at fault.
pub(super) fn order_of_data(data: Option<&RawValue>) -> Result<Order<'_>, Vec<Fault>> {
    let mut faults = Faults { list: Vec::new() };
    let order = faults.object(format_args!("data"), data, ORDER_FIELDS).and_then(|fields| read_order(&fields, "data.", &mut faults));
    order.filter(|_| faults.list.is_empty()).ok_or(faults.list)
}

/// Every field is read before the first fault ends it, so that all faults are found.
fn read_order<'a>(fields: &Fields<'a, { ORDER_FIELDS.len() }>, at: &str, faults: &mut Faults) -> Option<Order<'a>> {
    let order_id = faults.uuid(format_args!("{at}orderId"), fields.raw("orderId"));
    let user_id = faults.text(format_args!("{at}userId"), fields.raw("userId"));
    let amount =
        faults.number(format_args!("{at}amount"), fields.raw("amount"), "must be greater than 0", |n| n.sign() == Ordering::Greater);
    let currency = faults.currency(format_args!("{at}currency"), fields.raw("currency"));
    let items = faults.items(format_args!("{at}items"), fields.raw("items"));
    Some(Order { order_id: order_id?, user_id: user_id?, amount: amount?, currency: currency?, items: items? })
}

fn read_item<'a>(raw: &'a RawValue, at: Arguments<'_>, faults: &mut Faults) -> Option<Item<'a>> {
    let fields = faults.object(at, Some(raw), ITEM_FIELDS)?;
    let product_id = faults.text(format_args!("{at}.productId"), fields.raw("productId"));
    let quantity = faults.number(format_args!("{at}.quantity"), fields.raw("quantity"), "must be a whole number of 1 or more", |n| {
        n.sign() == Ordering::Greater && n.is_safe_integer()
    });
    let price = faults.number(format_args!("{at}.price"), fields.raw("price"), "must be 0 or more", |n| n.sign() != Ordering::Less);
    Some(Item { product_id: product_id?, quantity: quantity?, price: price? })
}

/// Where a field stands is written only if it is at fault.
struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    /// Notes a fault; none, so that a reader can end with it.
    fn note<T>(&mut self, field: Arguments<'_>, message: impl Into<String>) -> Option<T> {
        self.list.push(Fault { field: field.to_string(), message: message.into() });
        None
    }

    fn present<'a>(&mut self, field: Arguments<'_>, raw: Option<&'a RawValue>) -> Option<&'a RawValue> {
        raw.or_else(|| self.note(field, "is required"))
    }

    fn string<'a>(&mut self, field: Arguments<'_>, raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
        let raw = self.present(field, raw)?;
        fields::string(raw).or_else(|| self.note(field, "must be a string"))
    }

    fn text<'a>(&mut self, field: Arguments<'_>, raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
        let text = self.string(field, raw)?;
        if text.trim().is_empty() { self.note(field, "must not be empty") } else { Some(text) }
    }

    fn uuid(&mut self, field: Arguments<'_>, raw: Option<&RawValue>) -> Option<Uuid> {
        let text = self.string(field, raw)?;
        parse_order_id(&text).or_else(|| self.note(field, "must be a UUID"))
    }

    fn currency<'a>(&mut self, field: Arguments<'_>, raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
        let text = self.string(field, raw)?;
        if text.chars().count() == 3 { Some(text) } else { self.note(field, "must be exactly 3 characters") }
    }

    fn number<'a>(
        &mut self,
        field: Arguments<'_>,
        raw: Option<&'a RawValue>,
        rule: &str,
        allowed: impl Fn(Number<'a>) -> bool,
    ) -> Option<Number<'a>> {
        let raw = self.present(field, raw)?;
        match Number::from_json(raw) {
            Some(number) if allowed(number) => Some(number),
            Some(_) => self.note(field, rule),
            None if raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) => self.note(field, "is beyond the range of a double"),
            None => self.note(field, "must be a number"),
        }
    }

    fn object<'a, const N: usize>(
        &mut self,
        field: Arguments<'_>,
        raw: Option<&'a RawValue>,
        names: &'static [&'static str; N],
    ) -> Option<Fields<'a, N>> {
        let text = self.present(field, raw)?.get();
        if !text.starts_with('{') {
            return self.note(field, "must be an object");
        }
        Fields::parse(text, names).or_else(|why| self.note(field, format!("is malformed: {why}")).ok_or(why)).ok()
    }

    fn items<'a>(&mut self, field: Arguments<'_>, raw: Option<&'a RawValue>) -> Option<Vec<Item<'a>>> {
        let raw = self.present(field, raw)?;
        let Ok(values) = serde_json::from_str::<Vec<&'a RawValue>>(raw.get()) else {
            return self.note(field, "must be an array");
        };
        match values.len() {
            0 => self.note(field, "must not be empty"),
            n if n > MAX_ITEMS => self.note(field, format!("must have at most {MAX_ITEMS} elements, not {n}")),
            _ => {
                let items: Vec<_> =
                    values.iter().enumerate().map(|(n, value)| read_item(value, format_args!("{field}[{n}]"), self)).collect();
                items.into_iter().collect()
            }
        }
    }
}

/// An order id as people write it: a UUID with hyphens, in either case.
#[must_use]
pub fn parse_order_id(text: &str) -> Option<Uuid> {
    // The uuid crate also takes braces, URNs and bare hex digits; a contract that says "a UUID" means none of them.
    if text.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests;
