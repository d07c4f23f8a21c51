//! Kubernetes quantities (`500m`, `1Gi`) as numbers, to compare what the API server writes differently than we did.
//!
//! Invariant: a value is exact in units of 10^-9, or saturated; it is used to compare, never to write.

/// Units of a value: one whole is 10^9.
const NANO: i128 = 1_000_000_000;
/// The value of `1`.
pub const ONE: i128 = NANO;

/// The value of a quantity in units of 10^-9, or `None` where the text is none.
pub fn parse(text: &str) -> Option<i128> {
    let digits_end = text
        .char_indices()
        .find(|&(i, c)| !(c.is_ascii_digit() || c == '.' || (i == 0 && (c == '+' || c == '-'))))
        .map_or(text.len(), |(i, _)| i);
    let (number, suffix) = text.split_at(digits_end);
    let (numerator, denominator) = scale(suffix)?;
    decimal(number)?.saturating_mul(numerator).checked_div(denominator)
}

/// Whether two texts are the same quantity.
pub fn same(left: &str, right: &str) -> bool {
    left == right || matches!((parse(left), parse(right)), (Some(l), Some(r)) if l == r)
}

/// A decimal number in units of 10^-9; digits past the ninth are dropped.
fn decimal(number: &str) -> Option<i128> {
    let (negative, unsigned) = match number.as_bytes().first()? {
        b'-' => (true, number.get(1..)?),
        b'+' => (false, number.get(1..)?),
        _ => (false, number),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let value = whole.saturating_mul(NANO).saturating_add(nanos);
    Some(if negative { -value } else { value })
}

/// What a suffix multiplies by, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (1_000 * NANO, 1),
        "P" => (1_000_000 * NANO, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent(suffix),
    })
}

/// `e3`, `E-2`.
fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let factor = 10_i128.checked_pow(power.unsigned_abs().min(30))?;
    Some(if power < 0 { (1, factor) } else { (factor, 1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_value_written_in_many_ways_is_the_same() {
        for (left, right) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1Gi", "1024Mi"),
            ("1Gi", "1073741824"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1.5Gi", "1536Mi"),
            ("+2", "2"),
            ("100e-2", "1"),
        ] {
            assert!(same(left, right), "{left} and {right}");
        }
        assert!(!same("1Gi", "1G"));
        assert!(!same("1", "1m"));
        assert!(parse("20Gi") > parse("10Gi"));
        assert!(parse("-1") < parse("0"));
    }

    #[test]
    fn what_is_no_quantity_is_only_the_same_as_itself() {
        for text in ["", "-", ".", "1.2.3", "Gi", "1 Gi", "one", "1e", "1Zi"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(same("one", "one"));
        assert!(!same("one", "two"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,3}[-0-9]{0,12}") {
            let _ = parse(&text);
        }

        #[test]
        fn order_is_kept_whatever_the_unit(a in 0u32..4_000_000, b in 0u32..4_000_000) {
            prop_assert_eq!(a.cmp(&b), parse(&format!("{a}Ki")).cmp(&parse(&format!("{}", u64::from(b) * 1024))));
        }
    }
}
