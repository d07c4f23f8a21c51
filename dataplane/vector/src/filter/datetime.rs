//! Dates and times as the dialect writes them in payloads and in ranges.
//!
//! RFC 3339, and looser: a blank for the `T`, an offset as `+hhmm` or `+hh`, no offset at all (that is UTC), no seconds, no
//! time of day (that is midnight). A point in time is a whole number of microseconds, so that a comparison means the same
//! with an index as without; a finer fraction is cut off.

use jiff::civil;
use jiff::tz::Offset;

/// A point in time: microseconds since 1970-01-01 00:00 UTC, leap seconds not counted.
pub type DateTime = i64;

const MICROS_PER_SECOND: i64 = 1_000_000;

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
    let date = civil::Date::new(digits(year)?, number(month)?, number(day)?).ok()?;
    let (time, offset) = split_offset(time)?;
    let (second, micros) = time_of_day(time, offset.is_some())?;
    let midnight = offset.unwrap_or(Offset::UTC).to_timestamp(date.into()).ok()?;
    midnight.as_second().checked_add(second)?.checked_mul(MICROS_PER_SECOND)?.checked_add(micros)
}

/// A time of day and the offset behind it.
fn split_offset(text: &str) -> Option<(&str, Option<Offset>)> {
    // A blank may stand between the two, as in what many programs print.
    for utc in ["Z", "z", "UTC"] {
        if let Some(time) = text.strip_suffix(utc) {
            return Some((time.strip_suffix(' ').unwrap_or(time), Some(Offset::UTC)));
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
    let (hours, minutes): (i32, i32) = (digits(hours)?, digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    let offset = Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()?;
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
