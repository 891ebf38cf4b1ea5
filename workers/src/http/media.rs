//! What a request says that its body is. Pure.

use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

/// A media type with its parameters, in lower case (RFC 9110, section 8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType(String);

impl MediaType {
    /// Reads a media type as it stands in a header.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// What the header `Content-Type` says; one that is absent, not text or given twice says nothing, and is of no kind.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let only = values.next().filter(|_| values.next().is_none());
        Self::parse(only.and_then(|value| value.to_str().ok()).unwrap_or_default())
    }

    /// It without parameters, such as `application/json`.
    #[must_use]
    pub fn essence(&self) -> &str {
        self.0.split(';').next().unwrap_or_default().trim()
    }

    /// Whether it is JSON, also under a name of its own such as `application/vnd.shop+json`.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let essence = self.essence();
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    }

    /// Whether it declares JSON for CloudEvents (JSON format, section 3.1): of any kind, such as `text/json` or `model/gltf+json`.
    #[must_use]
    pub fn declares_json(&self) -> bool {
        let essence = self.essence();
        essence.ends_with("/json") || (essence.contains('/') && essence.ends_with("+json"))
    }

    /// Whether it is in UTF-8, which it also is where it does not say.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        let mut parameters = self.0.split(';').skip(1).map(str::trim);
        parameters.all(|parameter| parameter.strip_prefix("charset=").is_none_or(|set| set.trim_matches('"') == "utf-8"))
    }
}

/// Whether the body is compressed, or we cannot tell.
#[must_use]
pub fn is_compressed(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or_default());
    encodings.any(|encoding| !encoding.eq_ignore_ascii_case("identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for (text, essence, json, utf8) in [
            ("application/json", "application/json", true, true),
            ("Application/JSON; charset=UTF-8", "application/json", true, true),
            ("application/json;charset=\"utf-8\"", "application/json", true, true),
            ("application/vnd.shop+json ; v=1", "application/vnd.shop+json", true, true),
            ("application/json; charset=latin1", "application/json", true, false),
            ("text/json", "text/json", false, true),
            ("image/svg+json", "image/svg+json", false, true),
            ("", "", false, true),
        ] {
            let media = MediaType::parse(text);
            assert_eq!((media.essence(), media.is_json(), media.is_utf8()), (essence, json, utf8), "{text}");
        }
    }

    #[test]
    fn what_is_compressed() {
        for (encodings, compressed) in
            [(&[][..], false), (&["identity"], false), (&["Identity"], false), (&["gzip"], true), (&["identity", "gzip"], true)]
        {
            let mut headers = HeaderMap::new();
            for text in encodings {
                headers.append(CONTENT_ENCODING, text.parse().unwrap());
            }
            assert_eq!(is_compressed(&headers), compressed, "{encodings:?}");
        }
    }

    #[test]
    fn what_is_said_twice_is_not_said() {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_TYPE, "application/json".parse().unwrap());
        assert!(MediaType::of(&headers).is_json());
        headers.append(CONTENT_TYPE, "application/json".parse().unwrap());
        assert_eq!(MediaType::of(&headers).essence(), "");
    }
}
