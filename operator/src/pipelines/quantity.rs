//! Amounts as Kubernetes writes them (`500m`, `0.5`, `1Gi`): whether a text is one, and whether two are the same, since the
//! apiserver writes them in a form of its own. Pure. The grammar is that of `k8s.io/apimachinery/pkg/api/resource.Quantity`.

/// Whether two texts are the same amount. Texts that are no amounts are never the same.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    match (value(a), value(b)) {
        // Both come from decimal texts of a few digits, so that only rounding can part them.
        (Some(a), Some(b)) => (a - b).abs() <= a.abs().max(b.abs()) * 1e-12,
        _ => false,
    }
}

/// Whether a text is an amount of something that can be set aside.
#[must_use]
pub fn is_amount(text: &str) -> bool {
    value(text).is_some_and(|v| v >= 0.0)
}

fn value(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at_checked(end)?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        // A decimal exponent, as in `1e3`.
        _ => return text.parse().ok().filter(|v: &f64| v.is_finite()),
    };
    digits.parse::<f64>().ok().map(|v| v * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (a, b, expected) in [
            ("500m", "0.5", true),
            ("300m", "0.3", true),
            ("1", "1000m", true),
            ("1e3", "1k", true),
            ("1024Mi", "1Gi", true),
            ("1Gi", "1G", false),
            ("64Mi", "65Mi", false),
            ("0", "0m", true),
            ("lots", "lots", false),
            ("inf", "inf", false),
            ("", "", false),
            ("1Zi", "1Zi", false),
        ] {
            assert_eq!(same(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn texts() {
        for (text, expected) in [
            ("1", true),
            ("0", true),
            ("1.5Gi", true),
            ("1e3", true),
            ("lots", false),
            ("-1", false),
            ("", false),
            ("1 Gi", false),
            ("1GB", false),
        ] {
            assert_eq!(is_amount(text), expected, "{text}");
        }
    }
}
