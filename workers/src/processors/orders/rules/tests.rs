//! The rules as a table: each row changes a good order in one way and names the faults it must cause.

use serde_json::{Value, json};

use super::*;

const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

fn good() -> Value {
    json!({"orderId": ID, "userId": "u-1", "amount": 20, "currency": "EUR", "items": [{"productId": "p-1", "quantity": 2, "price": 10}]})
}

/// A good order with the value at a JSON pointer replaced by a text, which may be what `Value` cannot hold.
fn with(pointer: &str, text: &str) -> String {
    let mut order = good();
    *order.pointer_mut(pointer).unwrap() = json!("@@");
    order.to_string().replace("\"@@\"", text)
}

fn without(pointer: &str) -> String {
    let mut order = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    order.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    order.to_string()
}

fn faults(body: &str) -> Vec<String> {
    match order_of_body(body) {
        Ok(_) => vec![],
        Err(OrderRefusal::Invalid(faults)) => faults.into_iter().map(|f| format!("{} {}", f.field, f.message)).collect(),
        Err(OrderRefusal::Malformed(why)) => panic!("{body}: {why}"),
    }
}

#[test]
fn each_rule() {
    for (pointer, text, fault) in [
        ("/orderId", r#""6F9619FF-8B86-4D01-B42D-00CF4FC964FF""#, None),
        ("/orderId", r#""00000000-0000-0000-0000-000000000000""#, None),
        ("/orderId", r#""6f9619ff8b864d01b42d00cf4fc964ff""#, Some("orderId must be a UUID")),
        ("/orderId", r#""{6f9619ff-8b86-4d01-b42d-00cf4fc964ff}""#, Some("orderId must be a UUID")),
        ("/orderId", r#""urn:uuid:6f9619ff-8b86-4d01-b42d-00cf4fc964ff""#, Some("orderId must be a UUID")),
        ("/orderId", r#""6f9619ff-8b86-4d01-b42d-00cf4fc964fg""#, Some("orderId must be a UUID")),
        ("/orderId", r#""""#, Some("orderId must be a UUID")),
        ("/orderId", "7", Some("orderId must be a string")),
        ("/orderId", "null", Some("orderId is required")),
        ("/userId", r#""""#, Some("userId must not be empty")),
        ("/userId", r#"" \t""#, Some("userId must not be empty")),
        ("/userId", "1", Some("userId must be a string")),
        ("/userId", r#""\ud800""#, Some("userId must be a string")),
        ("/userId", r#""Zoë 🛒""#, None),
        ("/amount", "0.01", None),
        ("/amount", "1e2", None),
        ("/amount", "0", Some("amount must be greater than 0")),
        ("/amount", "-0.0", Some("amount must be greater than 0")),
        ("/amount", "-1", Some("amount must be greater than 0")),
        ("/amount", "1e400", Some("amount is beyond the range of a double")),
        ("/amount", "1e-400", Some("amount is beyond the range of a double")),
        ("/amount", r#""20""#, Some("amount must be a number")),
        ("/amount", "null", Some("amount is required")),
        ("/amount", "true", Some("amount must be a number")),
        ("/currency", r#""EU""#, Some("currency must be exactly 3 characters")),
        ("/currency", r#""EURO""#, Some("currency must be exactly 3 characters")),
        ("/currency", r#""€€€""#, None),
        ("/currency", "978", Some("currency must be a string")),
        ("/items", "[]", Some("items must not be empty")),
        ("/items", "{}", Some("items must be an array")),
        ("/items", r#""p-1""#, Some("items must be an array")),
        ("/items", "null", Some("items is required")),
        ("/items/0", "1", Some("items[0] must be an object")),
        ("/items/0", "null", Some("items[0] must be an object")),
        ("/items/0", r#"{"price":1,"price":2}"#, Some("items[0] is malformed: `price` is given twice")),
        ("/items/0/productId", r#""""#, Some("items[0].productId must not be empty")),
        ("/items/0/productId", "5", Some("items[0].productId must be a string")),
        ("/items/0/quantity", "1", None),
        ("/items/0/quantity", "2.0", None),
        ("/items/0/quantity", "0", Some("items[0].quantity must be a whole number of 1 or more")),
        ("/items/0/quantity", "-2", Some("items[0].quantity must be a whole number of 1 or more")),
        ("/items/0/quantity", "1.5", Some("items[0].quantity must be a whole number of 1 or more")),
        ("/items/0/quantity", "9007199254740993", Some("items[0].quantity must be a whole number of 1 or more")),
        ("/items/0/quantity", r#""2""#, Some("items[0].quantity must be a number")),
        ("/items/0/price", "0", None),
        ("/items/0/price", "-0.01", Some("items[0].price must be 0 or more")),
        ("/items/0/price", "[]", Some("items[0].price must be a number")),
    ] {
        let found = faults(&with(pointer, text));
        match fault {
            None => assert!(found.is_empty(), "{pointer} = {text}: {found:?}"),
            Some(fault) => assert!(found.len() == 1 && found[0].starts_with(fault), "{pointer} = {text}: {found:?}"),
        }
    }
}

#[test]
fn each_field_is_required() {
    for (pointer, field) in [
        ("/orderId", "orderId"),
        ("/userId", "userId"),
        ("/amount", "amount"),
        ("/currency", "currency"),
        ("/items", "items"),
        ("/items/0/productId", "items[0].productId"),
        ("/items/0/quantity", "items[0].quantity"),
        ("/items/0/price", "items[0].price"),
    ] {
        assert_eq!(faults(&without(pointer)), [format!("{field} is required")]);
    }
}

#[test]
fn every_field_at_fault_is_named_at_once() {
    let body = r#"{"orderId":"x","userId":"","amount":-1,"currency":"E","items":[{"productId":"p","quantity":0,"price":1},{"quantity":1,"price":"1"}]}"#;
    let named: Vec<_> = faults(body).iter().map(|f| f.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(named, ["orderId", "userId", "amount", "currency", "items[0].quantity", "items[1].productId", "items[1].price"]);
    assert_eq!(faults("{}").len(), 5);
}

#[test]
fn items_are_bounded() {
    let item = r#"{"productId":"p","quantity":1,"price":1}"#;
    let items = |n: usize| with("/items", &format!("[{}]", vec![item; n].join(",")));
    assert!(faults(&items(MAX_ITEMS)).is_empty());
    assert_eq!(faults(&items(MAX_ITEMS + 1)), ["items must have at most 1000 elements, not 1001"]);
}

#[test]
fn an_order_is_written_as_it_was_given() {
    let body = with("/amount", "10.10").replace("\"userId\"", "\"coupon\":\"X\",\"userId\"").replace(ID, &ID.to_uppercase());
    let written = serde_json::to_string(&order_of_body(&body).unwrap()).unwrap();
    let expected = format!(
        r#"{{"orderId":"{ID}","userId":"u-1","amount":10.10,"currency":"EUR","items":[{{"productId":"p-1","quantity":2,"price":10}}]}}"#
    );
    assert_eq!(written, expected);
}

#[test]
fn a_long_list_of_faults_is_cut() {
    let item = r#"{"productId":"","quantity":0,"price":-1}"#;
    let found = match order_of_body(&with("/items", &format!("[{}]", vec![item; MAX_ITEMS].join(",")))) {
        Err(OrderRefusal::Invalid(found)) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found.len(), 3 * MAX_ITEMS);
    let line = list_faults(&found);
    assert!(line.len() < 2 * MAX_FAULT_BYTES && line.ends_with(" more"), "{}", line.len());
}
