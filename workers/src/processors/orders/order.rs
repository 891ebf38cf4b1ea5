//! An order that follows the rules. Pure.
//!
//! Only [`super::rules`] makes one from outside text, so whoever holds an [`Order`] need not check it again.

use serde::Serialize;
use uuid::Uuid;

use super::Number;

/// A valid order, in the form in which it stands in `data` of its event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id, written in lower case with hyphens everywhere, whatever form it was given in.
    pub order_id: Uuid,
    /// Who ordered; not blank.
    pub user_id: String,
    /// What is to be paid, in units of `currency`; above 0.
    pub amount: Number,
    /// Exactly 3 characters.
    pub currency: String,
    /// What is ordered; 1 to [`super::rules::MAX_ITEMS`].
    pub items: Vec<Item>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The product; not blank.
    pub product_id: String,
    /// How many; a whole number of 1 or more.
    pub quantity: Number,
    /// The price of one; 0 or more.
    pub price: Number,
}
