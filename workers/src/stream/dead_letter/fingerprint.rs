//! A short name for a cause: equal for errors that differ only in the values they speak of. Pure.
//!
//! It is a hash of the error's type and of its message with every value masked: numbers, UUIDs, hexadecimal digits, long words
//! of letters and digits, e-mail addresses, URLs, and what stands between quotes. What stands between backticks stays: there
//! libraries name fields and types. Neither pipeline nor stack is part of it: the one stands beside it, the other changes with
//! each build.

use penstock_crds::name;

use super::{MAX_MESSAGE, MAX_TYPE, capped};
use crate::processor::Failure;

/// What stands for a value.
const MASK: char = '#';
/// How much of a masked message counts.
const MAX_MASKED: usize = 1 << 10;
/// The shortest word of letters and digits that is taken for hexadecimal digits.
const SHORTEST_HEX: usize = 6;
/// The shortest word, and its fewest digits, that is taken for somebody's id.
const SHORTEST_ID: (usize, usize) = (16, 3);
/// The lengths of the groups of a UUID.
const UUID: [usize; 5] = [8, 4, 4, 4, 12];

/// The fingerprint of a failure: 32 hexadecimal digits. Costs at most as much as the part of a message that a letter holds.
#[must_use]
pub fn fingerprint(failure: &Failure) -> String {
    let masked = Masking::new(&capped(&failure.message, MAX_MESSAGE)).run();
    name::fingerprint(format!("{}\n{masked}", capped(&failure.error_type, MAX_TYPE)).as_bytes())
}

/// A message on its way from the left to the right.
struct Masking<'a> {
    rest: &'a str,
    /// The character before the rest.
    before: Option<char>,
    masked: String,
}

impl<'a> Masking<'a> {
    fn new(message: &'a str) -> Self {
        Self { rest: message.trim(), before: None, masked: String::new() }
    }

    fn run(mut self) -> String {
        while self.masked.len() < MAX_MASKED
            && let Some(next) = self.rest.chars().next()
        {
            let follows_word = self.before.is_some_and(char::is_alphanumeric);
            match next {
                '"' | '\'' if !follows_word => self.quoted(next),
                '+' | '-' if !follows_word && self.rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => {
                    self.skip(1);
                }
                _ if next.is_whitespace() => self.gap(),
                _ if next.is_alphanumeric() => self.word(),
                _ => self.keep(next.len_utf8()),
            }
        }
        self.masked
    }

    /// Passes over so many bytes.
    fn skip(&mut self, length: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.before = passed.chars().next_back().or(self.before);
        self.rest = rest;
        passed
    }

    fn keep(&mut self, length: usize) {
        let kept = self.skip(length);
        self.masked.push_str(kept);
    }

    fn mask(&mut self, length: usize) {
        self.skip(length);
        self.masked.push(MASK);
    }

    fn gap(&mut self) {
        self.skip(length_while(self.rest, char::is_whitespace));
        self.masked.push(' ');
    }

    /// From a quote to the one that ends it; without an end, because the message was cut, to the end of the message.
    fn quoted(&mut self, quote: char) {
        let mut escaped = false;
        let mut inner = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = inner.next() {
            let ends_word = inner.peek().is_none_or(|(_, next)| !next.is_alphanumeric());
            if c == quote && !escaped && ends_word {
                return self.mask(at + c.len_utf8());
            }
            escaped = c == '\\' && !escaped;
        }
        self.mask(self.rest.len());
    }

    fn word(&mut self) {
        let begins_token = self.before.is_none_or(ends_token);
        if begins_token && let Some(length) = address(self.rest) {
            return self.mask(length);
        }
        if let Some(length) = uuid(self.rest) {
            return self.mask(length);
        }
        let length = length_while(self.rest, char::is_alphanumeric);
        let word = self.rest.get(..length).unwrap_or_default();
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let has_letters = digits < word.len();
        let (shortest_id, fewest_digits) = SHORTEST_ID;
        if digits == 0 {
            self.keep(length);
        } else if has_letters && (is_hex(word) || word.len() >= shortest_id && digits >= fewest_digits) {
            self.mask(length);
        } else {
            self.digits();
        }
    }

    /// A word whose digits are masked, and the letters kept; a number with its decimals is one value.
    fn digits(&mut self) {
        let letters = length_while(self.rest, |c| c.is_alphanumeric() && !c.is_ascii_digit());
        if letters > 0 {
            return self.keep(letters);
        }
        let mut length = 0;
        for (at, c) in self.rest.char_indices() {
            let follows = self.rest.get(at + 1..).and_then(|rest| rest.chars().next());
            let is_point = matches!(c, '.' | ',') && follows.is_some_and(|next| next.is_ascii_digit());
            if !c.is_ascii_digit() && !is_point {
                break;
            }
            length = at + 1;
        }
        self.mask(length);
    }
}

fn length_while(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

fn ends_token(c: char) -> bool {
    c.is_whitespace() || "\"'`<>()[]{},;|".contains(c)
}

/// The length of the URL or e-mail address that a text begins with.
fn address(text: &str) -> Option<usize> {
    let length = length_while(text, |c| !ends_token(c));
    let token = text.get(..length)?;
    let is_mail = token.split_once('@').is_some_and(|(_, host)| host.starts_with(char::is_alphanumeric));
    // A colon or full stop at its end belongs to the sentence.
    (is_mail || token.contains("://")).then(|| token.trim_end_matches(['.', ':', '!', '?']).len())
}

/// The length of the UUID that a text begins with.
fn uuid(text: &str) -> Option<usize> {
    let mut rest = text;
    for (n, group) in UUID.into_iter().enumerate() {
        if n > 0 {
            rest = rest.strip_prefix('-')?;
        }
        if length_while(rest, |c| c.is_ascii_hexdigit()) != group {
            return None;
        }
        rest = rest.get(group..)?;
    }
    (!rest.starts_with(char::is_alphanumeric)).then_some(text.len() - rest.len())
}

fn is_hex(word: &str) -> bool {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let is_all = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.map_or_else(|| word.len() >= SHORTEST_HEX && is_all(word), is_all)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn masked(message: &str) -> String {
        Masking::new(message).run()
    }

    #[test]
    fn values_are_masked_and_words_stay() {
        for (message, expected) in [
            ("amount must be greater than 0", "amount must be greater than #"),
            ("items[12].quantity is -3, not 1,000.50", "items[#].quantity is #, not #"),
            ("order 6f9619ff-8b86-4d01-b42d-00cf4fc964ff is gone", "order # is gone"),
            ("order-6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "order-#"),
            ("6f9619ff-8b86-4d01-b42d-00cf4fc964ffx", "#-#b#-#d#-b#d-#cf#fc#ffx"),
            ("address 0x7ffe10 of deadbeef01 and cafe", "address # of # and cafe"),
            ("12345678 1234567a", "# #"),
            ("ulid 01ARZ3NDEKTSV4RRFFQ69G5FAV, key ch_3MmlLrLkdIwHu7ix0snN0EH4", "ulid #, key ch_#"),
            ("utf8 v1.2.3 ORD00123 user_42", "utf# v# ORD# user_#"),
            ("at 2026-01-02T03:04:05.678Z", "at #-#-#T#:#:#Z"),
            ("at 2026-01-02T03:04:05Z", "at #-#-#T#:#:#Z"),
            ("connect to 10.0.0.12:9092", "connect to #:#"),
            (r#"invalid type: string "a \"b\" c", expected u64"#, "invalid type: string #, expected u#"),
            ("KeyError: 'it's here' now", "KeyError: # now"),
            ("can't find bob's order", "can't find bob's order"),
            ("missing field `orderId` at line 1 column 20", "missing field `orderId` at line # column #"),
            (r#"body was {"a":"b"#, "body was {#:#"),
            ("tell bob.smith@example.com now", "tell # now"),
            ("get https://shop.example/o/abc?x=y: refused", "get #: refused"),
            ("std::io @ home", "std::io @ home"),
            ("  two\n\tlines  ", "two lines"),
            ("größe 12µs – zu groß", "größe #µs – zu groß"),
            ("", ""),
            ("\"", "#"),
            ("-", "-"),
        ] {
            assert_eq!(masked(message), expected, "{message}");
        }
    }

    #[test]
    fn a_cause_has_one_fingerprint_and_each_its_own() {
        // Each row is one cause.
        let causes: &[&[(&str, &str)]] = &[
            &[("ValidationError", "amount must be > 0, not -5"), ("ValidationError", "amount must be > 0, not 0.00")],
            &[("ValidationError", "amount must be < 0, not -5")],
            &[("Declined", "amount must be > 0, not -5")],
            &[("Malformed", "missing field `orderId` at line 1 column 3"), ("Malformed", "missing field `orderId` at line 20 column 1")],
            &[("Malformed", "missing field `amount` at line 1 column 3")],
            &[
                ("Duplicate", "order 6f9619ff-8b86-4d01-b42d-00cf4fc964ff exists"),
                ("Duplicate", "order 00000000-0000-0000-0000-000000000000 exists"),
                ("Duplicate", "order 12 exists"),
            ],
            &[("Unknown", "no customer \"Ada\""), ("Unknown", "no customer 'Bob the 2nd'")],
            &[("Panic", "index out of bounds: the len is 3 but the index is 7")],
            &[("", "")],
        ];
        let fingerprint = |(error_type, message): &(&str, &str)| super::fingerprint(&Failure::new(*error_type, *message));
        let mut seen = HashSet::new();
        for cause in causes {
            let found: HashSet<String> = cause.iter().map(fingerprint).collect();
            assert_eq!(found.len(), 1, "{cause:?}");
            assert!(found.iter().all(|fingerprint| fingerprint.len() == 32 && seen.insert(fingerprint.clone())), "{cause:?}");
        }
        let with_stack = Failure::new("Panic", "x").with_stack("main.rs:12");
        assert_eq!(super::fingerprint(&with_stack), super::fingerprint(&Failure::new("Panic", "x")));
    }

    #[test]
    fn long_messages_cost_no_more_and_still_differ() {
        let quoted = |size: usize| Failure::new("Malformed", format!("the body is \"{}\"", "x y".repeat(size)));
        assert_eq!(super::fingerprint(&quoted(10)), super::fingerprint(&quoted(100_000)));
        for text in ["x".repeat(1 << 20), "\"a\" ".repeat(1 << 20), "a@".repeat(1 << 20), "1-".repeat(1 << 20)] {
            let capped = super::capped(&text, MAX_MESSAGE);
            assert!(masked(&capped).len() <= MAX_MESSAGE + 8);
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_fingerprint(message in ".*", error_type in ".*") {
            prop_assert_eq!(super::fingerprint(&Failure::new(error_type, message)).len(), 32);
        }
    }
}
