//! What an order looks like, and when it is suspicious. Pure.

use serde::{Deserialize, Serialize};

/// From this score on a user is risky.
const RISKY: f64 = 0.8;

/// An order, as it comes. Other fields do not matter here.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// Who has placed it.
    pub user_id: String,
    /// What it costs.
    pub amount: f64,
}

/// What is written about an order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The order.
    pub order_id: String,
    /// Whether a person should look at it.
    pub suspicious: bool,
    /// Why.
    pub reasons: Vec<String>,
}

impl Order {
    /// Reads an order.
    ///
    /// # Errors
    /// What is wrong with it, for whoever reads the dead letter.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        if order.amount.is_finite() && order.amount > 0.0 { Ok(order) } else { Err("amount must be more than 0".to_owned()) }
    }

    /// Judges it; `score` is how risky its user is, from 0 to 1, where that is known.
    #[must_use]
    pub fn judge(&self, max_amount: f64, score: Option<f64>) -> Verdict {
        let reasons: Vec<_> = [
            (self.amount > max_amount).then(|| format!("the amount is more than {max_amount}")),
            score.filter(|score| *score >= RISKY).map(|score| format!("the user has a risk of {score}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        Verdict { order_id: self.order_id.clone(), suspicious: !reasons.is_empty(), reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_judged_by_its_amount_and_its_user() {
        for (amount, score, reasons) in
            [(10.0, None, 0), (10.0, Some(0.79), 0), (1_000.0, Some(0.8), 1), (1_000.1, None, 1), (9e9, Some(1.0), 2)]
        {
            let order = Order { order_id: "o".to_owned(), user_id: "u".to_owned(), amount };
            let verdict = order.judge(1_000.0, score);
            assert_eq!((verdict.reasons.len(), verdict.suspicious), (reasons, reasons > 0), "{amount} {score:?}");
        }
    }

    #[test]
    fn what_is_no_order_says_why() {
        for (payload, part) in [
            ("", "EOF"),
            (r#"{"orderId": "o", "userId": "u"}"#, "amount"),
            (r#"{"orderId": "o", "userId": "u", "amount": 0}"#, "more than 0"),
        ] {
            let why = Order::parse(payload.as_bytes()).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
