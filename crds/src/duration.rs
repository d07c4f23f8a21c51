//! Times as specs write them: a whole number with a unit. Pure.

use std::time::Duration;

/// What a time of a spec looks like to the API server.
pub(crate) const PATTERN: &str = "^[0-9]{1,8}(ms|s|m|h)$";

/// A time such as `5s`, `800ms`, `5m` or `1h`.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(unit).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_whole_number_with_a_unit() {
        let ms = |text| parse(text).map(|time| time.as_millis());
        assert_eq!([ms("800ms"), ms("5s"), ms("2m")], [Some(800), Some(5_000), Some(120_000)]);
        assert_eq!(ms("1h"), Some(3_600_000));
        for wrong in ["", "5", "s", "5 s", "-5s", "1.5s", "5d", "99999999999999999999s"] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
        assert_eq!(ms("18446744073709551615h"), None);
    }
}
