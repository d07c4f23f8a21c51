//! Dates and times as the dialect writes them in payloads and in ranges.
//!
//! RFC 3339, and looser: a blank for the `T`, an offset as `+hhmm` or `+hh`, no offset at all (that is UTC), no seconds, no
//! time of day (that is midnight). A point in time is a whole number of microseconds, so that a comparison means the same
//! with an index as without; a finer fraction is cut off.

use jiff::civil::Date;

/// A point in time: microseconds since 1970-01-01 00:00 UTC, leap seconds not counted.
pub type DateTime = i64;

const MICROS_PER_SECOND: i64 = 1_000_000;
const EPOCH: Date = Date::constant(1970, 1, 1);

/// Reads a date and time; `None` for what is none.
pub fn parse_datetime(text: &str) -> Option<DateTime> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, "00:00"),
    };
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    if date.next().is_some() || year.len() != 4 {
        return None;
    }
    let date = Date::new(digits(year)?, number(month)?, number(day)?).ok()?;
    let (time, offset) = split_offset(time)?;
    let (second, micros) = time_of_day(time, offset.is_some())?;
    // Of at most four digits for a year, this is far from overflowing.
    let seconds = date.duration_since(EPOCH).as_secs() + second - offset.unwrap_or(0);
    Some(seconds * MICROS_PER_SECOND + micros)
}

/// A time of day, and the offset behind it in seconds to the east.
fn split_offset(text: &str) -> Option<(&str, Option<i64>)> {
    // A blank may stand between the two, as in what many programs print.
    for utc in ["Z", "z", "UTC"] {
        if let Some(time) = text.strip_suffix(utc) {
            return Some((time.strip_suffix(' ').unwrap_or(time), Some(0)));
        }
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, None)) };
    let (time, offset) = text.split_at(at);
    let (sign, offset) = offset.split_at(1);
    let (hours, minutes) = match (offset.split_once(':'), offset.len()) {
        (Some((hours, minutes)), _) => (hours, minutes),
        (None, 4) => (offset.get(..2)?, offset.get(2..)?),
        (None, _) => (offset, "00"),
    };
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits(hours)?, digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    let offset = if sign == "-" { -seconds } else { seconds };
    Some((time.strip_suffix(' ').unwrap_or(time), Some(offset)))
}

/// Seconds since midnight, and microseconds behind them. Where an offset is given, seconds are too.
fn time_of_day(text: &str, with_seconds: bool) -> Option<(i64, i64)> {
    let mut parts = text.split(':');
    let (hour, minute): (i64, i64) = (number(parts.next()?)?, number(parts.next()?)?);
    let (second, micros) = match parts.next() {
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            (number(whole)?, fraction_of_a_second(fraction)?)
        }
        None if with_seconds => return None,
        None => (0, 0),
    };
    // A second 60 is a leap second, which is counted as the one behind it.
    let exists = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    exists.then_some(((hour * 60 + minute) * 60 + second, micros))
}

fn fraction_of_a_second(digits: &str) -> Option<i64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let six = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
    Some(six.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// A number of one or two digits.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.len() <= 2 { digits(text) } else { None }
}

/// A number without a sign, which `parse` would take.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = MICROS_PER_SECOND;
    const HOUR: i64 = 3600 * SECOND;

    #[test]
    fn all_forms_of_a_time_mean_it() {
        // 2024-02-29 13:07:05 UTC.
        let time = 1_709_212_025 * SECOND;
        for text in [
            "2024-02-29T13:07:05Z",
            "2024-02-29t13:07:05z",
            "2024-02-29 13:07:05",
            "2024-02-29T13:07:05",
            "2024-2-29 13:7:5",
            "2024-02-29T15:07:05+02:00",
            "2024-02-29 15:07:05+0200",
            "2024-02-29 15:07:05 +02",
            "2024-02-29T09:37:05-03:30",
            "2024-02-29 13:07:05 UTC",
            "2024-03-01T00:07:05+11:00",
        ] {
            assert_eq!(parse_datetime(text), Some(time), "{text}");
        }
        assert_eq!(parse_datetime("2024-02-29 13:07"), Some(time - 5 * SECOND));
        assert_eq!(parse_datetime("2024-02-29T13:07"), Some(time - 5 * SECOND));
        assert_eq!(
            parse_datetime("2024-02-29"),
            Some(time - 5 * SECOND - 13 * HOUR - 420 * SECOND)
        );
    }

    #[test]
    fn fractions_are_cut_to_microseconds() {
        let fraction = |text: &str| parse_datetime(&format!("1970-01-01T00:00:00.{text}Z"));
        assert_eq!(fraction("5"), Some(500_000));
        assert_eq!(fraction("000001"), Some(1));
        assert_eq!(fraction("1234569999"), Some(123_456));
        assert_eq!(parse_datetime("1969-12-31T23:59:59.9999999Z"), Some(-1));
        assert_eq!(parse_datetime("1969-12-31T23:59:59.5"), Some(-SECOND / 2));
    }

    #[test]
    fn the_ends_of_time_and_leap_seconds_are_times() {
        assert_eq!(parse_datetime("0001-01-01"), Some(-62_135_596_800 * SECOND));
        assert_eq!(parse_datetime("9999-12-31 23:59:59"), Some(253_402_300_799 * SECOND));
        assert_eq!(parse_datetime("2016-12-31T23:59:60Z"), parse_datetime("2017-01-01"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "T",
            "now",
            "2024",
            "2024-02",
            "2024-02-30",
            "2024-13-01",
            "24-02-29",
            "+2024-02-29",
            "2024-02-29-01",
            "2024-02-29T",
            "2024-02-29 24:00",
            "2024-02-29 23:60",
            "2024-02-29 1:2:61",
            "2024-02-29 13:07:05.",
            "2024-02-29 13:07:05.x",
            "2024-02-29 13:07:05:01",
            "2024-02-29 13",
            "2024-02-29T13:07Z",
            "2024-02-29 13:07:05+",
            "2024-02-29 13:07:05+2",
            "2024-02-29 13:07:05+24:00",
            "2024-02-29 13:07:05+02:60",
            "2024-02-29 13:07:05 CET",
            "2024-02-29  13:07:05",
            "2024-02-29 -1:07",
            "1709212025",
            "2024-002-01",
            "2024-02-29 013:07",
            "é024-02-29",
            "2024-02-29T13:07:05+ü0",
        ] {
            assert_eq!(parse_datetime(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_another_program_prints_reads_back(micros in -62_135_596_800_000_000i64..253_402_300_799_000_000) {
            let time = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(parse_datetime(&time.to_string()), Some(micros));
        }

        #[test]
        fn any_text_is_a_time_or_none(text in "[0-9TtZz:+. -]{0,30}|.{0,20}") {
            let _ = parse_datetime(&text);
        }
    }
}
