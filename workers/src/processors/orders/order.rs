//! An order that follows the rules. Pure.
//!
//! Only [`super::rules`] makes one from outside text, so whoever holds an [`Order`] need not check it again.

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

use super::Number;

/// A valid order, in the form in which it stands in `data` of its event. Borrows from the text it was read from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order<'a> {
    /// Its id, written in lower case with hyphens everywhere, whatever form it was given in.
    pub order_id: Uuid,
    /// Who ordered; not blank.
    pub user_id: Cow<'a, str>,
    /// What is to be paid, in units of `currency`; above 0.
    pub amount: Number<'a>,
    /// Exactly 3 characters.
    pub currency: Cow<'a, str>,
    /// What is ordered; 1 to [`super::rules::MAX_ITEMS`].
    pub items: Vec<Item<'a>>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item<'a> {
    /// The product; not blank.
    pub product_id: Cow<'a, str>,
    /// How many; a whole number of 1 or more.
    pub quantity: Number<'a>,
    /// The price of one; 0 or more.
    pub price: Number<'a>,
}

impl Order<'_> {
    /// All that it says, part by part in one form: those of two orders are equal exactly where the orders are.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        let Self { order_id, user_id, amount, currency, items } = self;
        let head = [order_id.to_string(), user_id.to_string(), amount.normal(), currency.to_string()];
        let item = |Item { product_id, quantity, price }: &Item<'_>| [product_id.to_string(), quantity.normal(), price.normal()];
        head.into_iter().chain(items.iter().flat_map(item)).collect()
    }
}
