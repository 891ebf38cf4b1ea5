//! The records that are sent: carts that every handler can handle, those of examples/handlers too. Pure.
//!
//! A cart is its number, which is its key, so that whoever reads an output knows what it came from.

/// The key of a cart.
pub fn key(number: u32) -> String {
    format!("cart-{number}")
}

/// The number of the cart with that key; none if it is not one of ours.
pub fn number_of(key: &[u8]) -> Option<u32> {
    std::str::from_utf8(key).ok()?.strip_prefix("cart-")?.parse().ok()
}

/// The cart.
pub fn value(number: u32) -> String {
    format!(
        r#"{{"cartId":"{}","country":"AT","items":[{{"sku":"tea","price":4.5,"quantity":2}}],"net":9.0,"tax":1.8,"total":10.8}}"#,
        key(number)
    )
}

/// Key and value.
pub fn record(number: u32) -> (String, String) {
    (key(number), value(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_number() {
        for (text, number) in [(key(0), Some(0)), (key(99_999), Some(99_999)), ("cart-".to_owned(), None), ("7".to_owned(), None)] {
            assert_eq!(number_of(text.as_bytes()), number, "{text}");
        }
        assert!(serde_json::from_str::<serde_json::Value>(&value(7)).is_ok());
    }
}
