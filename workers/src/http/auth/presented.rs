//! Finds the bearer token of a request (RFC 6750, section 2.1): in its header `Authorization`, and nowhere else. Pure.

use http::{HeaderMap, header::AUTHORIZATION};

/// What a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No bearer token.
    Nothing,
    /// This token.
    Token(&'a str),
    /// Something that is meant as a token and cannot be read as one, or more than one.
    Unclear,
}

/// The longest token that is looked at.
pub const MAX_TOKEN: usize = 8 << 10;

/// What the headers of a request show.
#[must_use]
pub fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Presented::Nothing };
    if values.next().is_some() {
        return Presented::Unclear;
    }
    let Ok(text) = value.to_str() else { return Presented::Unclear };
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Presented::Nothing;
    }
    let token = rest.trim_matches(' ');
    if token.len() <= MAX_TOKEN && is_b64token(token) { Presented::Token(token) } else { Presented::Unclear }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_in_one_header() {
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        for (values, expected) in [
            (&[][..], Presented::Nothing),
            (&["Bearer a.b-c_~+/=="], Presented::Token("a.b-c_~+/==")),
            (&["bearer  a "], Presented::Token("a")),
            (&["Basic dTpw"], Presented::Nothing),
            (&["a.b.c"], Presented::Nothing),
            (&["Bearer"], Presented::Unclear),
            (&["Bearer "], Presented::Unclear),
            (&["Bearer a, Bearer b"], Presented::Unclear),
            (&["Bearer a b"], Presented::Unclear),
            (&["Bearer a\"b"], Presented::Unclear),
            (&["Bearer a", "Bearer a"], Presented::Unclear),
            (&["Basic dTpw", "Bearer a"], Presented::Unclear),
            (&[&long[..MAX_TOKEN + 7]], Presented::Token(&long[7..MAX_TOKEN + 7])),
            (&[&long], Presented::Unclear),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(presented(&headers), expected, "{values:?}");
        }
    }
}
