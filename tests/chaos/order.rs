//! The orders of a run: good ones, bad ones and poison, made from a seed. Pure: the same seed gives the same orders.
//!
//! Each says itself, in headers, which one it is and how its processor shall behave; so a record can be known again whatever
//! its value is.

use bytes::Bytes;
use penstock_kafka::Header;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use uuid::Uuid;

/// The header with the number of an order, from 0, in decimal.
pub const NUMBER: &str = "chaos-number";
/// The header that tells the processor what to pretend.
pub const BEHAVIOUR: &str = "chaos-behaviour";
/// Keys are this many: few enough that orders of a key follow one another closely.
const KEYS: u32 = 48;
/// More than the dead letter topic of the rig takes in one record.
pub const OVERSIZE: usize = 300_000;

/// What an order is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It is paid.
    Good,
    /// It is paid at the second attempt.
    Flaky,
    /// It is paid at the third attempt: where there are delays, the first one after such.
    Late,
    /// It is paid after seconds, which may be longer than a worker has to hand its partition over.
    Slow,
    /// It is paid, and its headers are of the strange kind: null, empty, repeated, binary.
    StrangeHeaders,
    /// Its processor asks for a retry each time.
    Hopeless,
    /// It breaks the rules of an order.
    Invalid,
    /// Its value is not UTF-8.
    BadUtf8,
    /// Its value is JSON of 20,000 levels.
    Deep,
    /// Its value is null.
    Null,
    /// Its value is empty.
    Empty,
    /// Its value is an array of 10,000 numbers.
    HugeArray,
    /// Its value fits the topic of orders, but not the one of dead letters.
    Oversize,
}

impl Kind {
    /// All kinds, with how many of a thousand orders are of it.
    const SHARES: [(Self, u32); 13] = [
        (Self::Good, 904),
        (Self::Slow, 1),
        (Self::Flaky, 17),
        (Self::Late, 3),
        (Self::StrangeHeaders, 20),
        (Self::Invalid, 30),
        (Self::BadUtf8, 5),
        (Self::Deep, 4),
        (Self::Null, 5),
        (Self::Empty, 5),
        (Self::HugeArray, 2),
        (Self::Oversize, 2),
        (Self::Hopeless, 2),
    ];

    fn draw(rng: &mut impl Rng, poison: bool) -> Self {
        let mut place = rng.random_range(0..1_000_u32);
        // A burst of poison: three of four are.
        if poison && rng.random_ratio(3, 4) {
            place = rng.random_range(975..1_000);
        }
        let mut drawn = Self::Good;
        for (kind, share) in Self::SHARES {
            drawn = kind;
            match place.checked_sub(share) {
                Some(rest) => place = rest,
                None => break,
            }
        }
        drawn
    }

    /// How an order of this kind must end.
    #[must_use]
    pub fn end(self) -> End {
        match self {
            Self::Good | Self::Flaky | Self::Late | Self::Slow | Self::StrangeHeaders => End::Payment,
            Self::Hopeless | Self::Invalid | Self::BadUtf8 | Self::Deep | Self::Null | Self::Empty | Self::HugeArray | Self::Oversize => {
                End::DeadLetter
            }
        }
    }
}

/// The end of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// A record on the topic of payments.
    Payment,
    /// A record on the dead letter topic.
    DeadLetter,
}

/// One order, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its place among all orders of the run.
    pub number: u64,
    /// The id in its value, if that can be read.
    pub id: Uuid,
    /// What it is like.
    pub kind: Kind,
    /// Orders of one key are paid one after the other.
    pub key: Bytes,
    /// Its value.
    pub payload: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
}

/// The orders of a seed, without an end.
#[derive(Debug)]
pub struct Orders {
    rng: StdRng,
    next: u64,
    /// Whether most of the next orders are poison.
    pub poison: bool,
}

impl Orders {
    /// The orders of that seed, counted from `first`.
    #[must_use]
    pub fn new(seed: u64, first: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), next: first, poison: false }
    }

    /// The next one.
    pub fn next(&mut self) -> Order {
        let number = self.next;
        self.next += 1;
        let kind = Kind::draw(&mut self.rng, self.poison);
        let id = Uuid::from_u128(self.rng.random());
        let key = key(self.rng.random_range(0..KEYS));
        let payload = self.payload(kind, id);
        Order { number, id, kind, key, payload, headers: headers(number, kind) }
    }

    /// One more for each key.
    pub fn of_every_key(&mut self) -> Vec<Order> {
        (0..KEYS).map(|number| Order { key: key(number), ..self.next() }).collect()
    }

    fn payload(&mut self, kind: Kind, id: Uuid) -> Option<Bytes> {
        let event = |amount: u32| {
            let item = json!({"productId": "p-1", "quantity": 1, "price": amount});
            let data = json!({"orderId": id, "userId": "u-1", "amount": amount, "currency": "EUR", "items": [item]});
            let timestamp = "2026-01-31T12:00:00.000Z";
            json!({"eventType": "ORDER_CREATED", "eventId": id, "timestamp": timestamp, "data": data}).to_string().into()
        };
        Some(match kind {
            Kind::Good | Kind::Flaky | Kind::Late | Kind::Slow | Kind::StrangeHeaders | Kind::Hopeless => {
                event(self.rng.random_range(1..1_000))
            }
            Kind::Invalid => event(0),
            Kind::BadUtf8 => Bytes::from([b"{\"eventType\": \"", &[0xff, 0xfe, 0x00][..], &self.rng.random::<[u8; 16]>()].concat()),
            Kind::Deep => Bytes::from(["[".repeat(20_000), "]".repeat(20_000)].concat()),
            Kind::Null => return None,
            Kind::Empty => Bytes::new(),
            Kind::HugeArray => {
                let numbers: Vec<u32> = (0..10_000).map(|_| self.rng.random_range(0..1_000)).collect();
                json!({"eventType": "ORDER_CREATED", "data": numbers}).to_string().into()
            }
            Kind::Oversize => {
                // Bytes of chance: no compression makes them fit.
                let mut bytes = vec![0; OVERSIZE];
                self.rng.fill(bytes.as_mut_slice());
                bytes.into()
            }
        })
    }
}

fn key(number: u32) -> Bytes {
    format!("customer-{number}").into()
}

fn headers(number: u64, kind: Kind) -> Vec<Header> {
    let header = |name: &str, value: Option<&[u8]>| Header { name: name.to_owned(), value: value.map(Bytes::copy_from_slice) };
    let mut headers = vec![header(NUMBER, Some(number.to_string().as_bytes()))];
    match kind {
        Kind::Flaky => headers.push(header(BEHAVIOUR, Some(b"flaky"))),
        Kind::Late => headers.push(header(BEHAVIOUR, Some(b"late"))),
        Kind::Slow => headers.push(header(BEHAVIOUR, Some(b"slow"))),
        Kind::Hopeless => headers.push(header(BEHAVIOUR, Some(b"hopeless"))),
        Kind::StrangeHeaders | Kind::BadUtf8 => headers.extend([
            header("unknown", None),
            header("unknown", Some(b"")),
            header("unknown", Some(&[0, 0xff, 0xfe])),
            header("trace/ä b", Some("ü".as_bytes())),
            header("", Some(b"no name")),
        ]),
        _ => {}
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn first(seed: u64, count: usize, poison: bool) -> Vec<Order> {
        let mut orders = Orders::new(seed, 0);
        orders.poison = poison;
        (0..count).map(|_| orders.next()).collect()
    }

    #[test]
    fn shares_are_of_a_thousand() {
        assert_eq!(Kind::SHARES.iter().map(|(_, share)| share).sum::<u32>(), 1_000);
    }

    #[test]
    fn a_seed_is_a_history_and_another_seed_another() {
        assert_eq!(first(7, 300, false), first(7, 300, false));
        assert_ne!(first(7, 300, false), first(8, 300, false));
    }

    #[test]
    fn every_kind_comes_up_and_poison_when_asked_for() {
        let orders = first(1, 6_000, false);
        let kinds: BTreeSet<Kind> = orders.iter().map(|order| order.kind).collect();
        assert_eq!(kinds.len(), Kind::SHARES.len());
        assert_eq!(orders.iter().map(|order| order.id).collect::<BTreeSet<_>>().len(), orders.len());
        assert!(orders.iter().zip(0..).all(|(order, number)| order.number == number));
        let dead = |orders: &[Order]| orders.iter().filter(|order| order.kind.end() == End::DeadLetter).count();
        assert!((200..600).contains(&dead(&orders)), "{}", dead(&orders));
        assert!(dead(&first(1, 1_000, true)) > 700);
    }
}
