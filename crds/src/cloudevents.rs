//! What CloudEvents 1.0 allow as names and values of attributes. Pure.
//!
//! Here, because options name and give attributes, and the worker that reads events must not see them differently.

use std::ops::RangeInclusive;

/// How long the name of an attribute may be. CloudEvents advise against more than 20 characters, and forbid none.
pub const MAX_ATTRIBUTE_NAME: usize = 64;
/// The same, in words.
pub(crate) const ATTRIBUTE_NAME_LENGTH: &str = "1 to 64 characters";

/// Characters that no text may have: controls and those beyond (CloudEvents, section "Type System").
const CONTROLS: [RangeInclusive<char>; 2] = ['\u{0}'..='\u{1f}', '\u{7f}'..='\u{9f}'];

/// Whether that is the name of an attribute: of `a` to `z` and `0` to `9`. `data` is none.
#[must_use]
pub fn is_attribute_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    plain && (1..=MAX_ATTRIBUTE_NAME).contains(&name.len()) && name != "data"
}

/// Whether an attribute may have that text: without control characters and code points that are no characters.
#[must_use]
pub fn is_text(value: &str) -> bool {
    value.chars().all(|c| {
        let noncharacter = ('\u{fdd0}'..='\u{fdef}').contains(&c) || u32::from(c) & 0xfffe == 0xfffe;
        !noncharacter && CONTROLS.iter().all(|controls| !controls.contains(&c))
    })
}

/// Whether that is a URI or a relative reference (RFC 3986): made of its characters, with at most one `#`. Its parts are not looked
/// at.
#[must_use]
pub fn is_uri_reference(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    let mut escapes = text.split('%').skip(1);
    let whole = |escape: &str| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    !text.is_empty() && text.bytes().all(allowed) && escapes.all(whole) && text.matches('#').count() <= 1
}

/// Whether that is a URI with a scheme, such as `https://shop.example/order.json`.
#[must_use]
pub fn is_absolute_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    begins && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) && is_uri_reference(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, allowed) in [
            ("id", true),
            ("partitionkey", true),
            ("ce2", true),
            ("42", true),
            (&"a".repeat(64), true),
            ("", false),
            (&"a".repeat(65), false),
            ("data", false),
            ("database", true),
            ("Id", false),
            ("my-key", false),
            ("my_key", false),
            ("é", false),
        ] {
            assert_eq!(is_attribute_name(name), allowed, "{name}");
        }
    }

    #[test]
    fn texts() {
        for (text, allowed) in [
            ("", true),
            ("Grüße \u{1f37a}", true),
            ("a\nb", false),
            ("\u{0}", false),
            ("\u{7f}", false),
            ("\u{85}", false),
            ("\u{a0}", true),
            ("\u{fdd0}", false),
            ("\u{fffe}", false),
            ("\u{1ffff}", false),
            ("\u{fffd}", true),
        ] {
            assert_eq!(is_text(text), allowed, "{text:?}");
        }
    }

    #[test]
    fn references() {
        for (text, reference, absolute) in [
            ("https://shop.example/a?b=c#d", true, true),
            ("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", true, true),
            ("mailto:x@shop.example", true, true),
            ("/orders", true, false),
            ("shop.example", true, false),
            ("#part", true, false),
            ("a%20b", true, false),
            ("a%2", false, false),
            ("a%zz", false, false),
            ("a#b#c", false, false),
            ("a b", false, false),
            ("ä", false, false),
            ("{x}", false, false),
            ("", false, false),
            ("1a:b", true, false),
            (":b", true, false),
        ] {
            assert_eq!((is_uri_reference(text), is_absolute_uri(text)), (reference, absolute), "{text}");
        }
    }
}
