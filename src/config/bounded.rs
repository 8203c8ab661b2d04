//! Values with a range, checked where they are read: a value out of its range never becomes a setting.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::time::Duration;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number<const MIN: u64, const MAX: u64>(u64);

/// A count of bytes from `MIN` to `MAX`: a number, or text with a unit such as `"64 KiB"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes<const MIN: u64, const MAX: u64>(u64);

/// A span of time from `MIN` to `MAX` seconds: a number of seconds, or text with a unit such as `"500 ms"` or `"1 h"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Number<MIN, MAX> {
    /// The number `value`, which must be in the range: for built-in defaults.
    pub const fn new(value: u64) -> Self {
        assert!(value >= MIN && value <= MAX);
        Number(value)
    }

    /// The number itself, in a type that holds the whole range.
    pub fn get<T: TryFrom<u64>>(self) -> T {
        let Ok(value) = T::try_from(self.0) else {
            unreachable!("the range of a setting fits the type that it sets")
        };
        value
    }
}

impl<const MIN: u64, const MAX: u64> Bytes<MIN, MAX> {
    /// `bytes` bytes, which must be in the range: for built-in defaults.
    pub const fn new(bytes: u64) -> Self {
        assert!(bytes >= MIN && bytes <= MAX);
        Bytes(bytes)
    }

    /// The bytes, in a type that holds the whole range.
    pub fn get<T: TryFrom<u64>>(self) -> T {
        Number::<MIN, MAX>(self.0).get()
    }
}

impl<const MIN: u64, const MAX: u64> Span<MIN, MAX> {
    /// `span`, which must be in the range: for built-in defaults.
    pub fn new(span: Duration) -> Self {
        assert!(in_range::<MIN, MAX>(span));
        Span(span)
    }

    /// The span itself.
    pub fn get(self) -> Duration {
        self.0
    }
}

fn in_range<const MIN: u64, const MAX: u64>(span: Duration) -> bool {
    span >= Duration::from_secs(MIN) && span <= Duration::from_secs(MAX)
}

/// `value` with thousands separated, as the configuration files write it.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// Splits `"64 KiB"` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let number = text[..end].replace('_', "").parse().ok()?;
    Some((number, text[end..].trim()))
}

struct NumberVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for NumberVisitor<MIN, MAX> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", grouped(MIN), grouped(MAX))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        if (MIN..=MAX).contains(&value) {
            return Ok(value);
        }
        Err(E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor::<MIN, MAX>).map(Number)
    }
}

struct BytesVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for BytesVisitor<MIN, MAX> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (grouped(MIN), grouped(MAX));
        write!(f, "bytes from {min} to {max}, as a number or as text with a unit (\"64 KiB\")")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        if (MIN..=MAX).contains(&value) {
            return Ok(value);
        }
        Err(E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let bytes = number_and_unit(text).and_then(|(number, unit)| {
            let factor = match unit {
                "" | "B" => 1,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            number.checked_mul(factor)
        });
        match bytes {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Ok(bytes),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bytes<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor::<MIN, MAX>).map(Bytes)
    }
}

struct SpanVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for SpanVisitor<MIN, MAX> {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (grouped(MIN), grouped(MAX));
        write!(
            f,
            "a time from {min} s to {max} s, as a number of seconds or as text with a unit (ms, s, min, h, d)"
        )
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Duration, E> {
        let span = Duration::from_secs(value);
        if in_range::<MIN, MAX>(span) {
            return Ok(span);
        }
        Err(E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Duration, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        let span = number_and_unit(text).and_then(|(number, unit)| {
            let millis = match unit {
                "ms" => 1,
                "" | "s" => 1_000,
                "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            number.checked_mul(millis).map(Duration::from_millis)
        });
        match span {
            Some(span) if in_range::<MIN, MAX>(span) => Ok(span),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Span<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor::<MIN, MAX>).map(Span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(ron::from_str::<Bytes<0, 100_000>>("\"64 KiB\""), Ok(Bytes(65_536)));
        assert_eq!(ron::from_str::<Bytes<0, 100_000>>("1_024"), Ok(Bytes(1_024)));
        assert_eq!(ron::from_str::<Span<0, 9_000>>("\"2 h\""), Ok(Span(Duration::from_secs(7_200))));
        assert_eq!(ron::from_str::<Span<0, 9_000>>("\"250ms\""), Ok(Span(Duration::from_millis(250))));
        assert_eq!(ron::from_str::<Span<0, 9_000>>("5"), Ok(Span(Duration::from_secs(5))));
    }

    #[test]
    fn what_is_out_of_range_names_the_range() {
        for text in ["0", "-3", "1_000_001", "\"many\"", "1.5"] {
            let error = ron::from_str::<Number<1, 1_000_000>>(text).unwrap_err().to_string();
            assert!(error.contains("a whole number from 1 to 1_000_000"), "{text}: {error}");
        }
        for text in ["\"1 parsec\"", "\"0 s\"", "99999999999999999999"] {
            assert!(ron::from_str::<Span<1, 60>>(text).is_err(), "{text}");
        }
        assert!(ron::from_str::<Bytes<1, 9>>("\"99999999999 GiB\"").is_err());
    }
}
