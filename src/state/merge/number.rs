//! Numbers by what they say: exact decimals, of any length and any exponent, and what becomes of one
//! that a tool reads into a double and writes again.
//!
//! Invariant: comparing costs time in the length of the texts, never in the size of the numbers, and
//! two numbers are never said to be equal because a double cannot tell them apart.

/// More digits than any double has.
const DOUBLE_DIGITS_MAX: usize = 800;

/// A number as sign, significant digits and place: 0.d₁d₂d₃… × 10^place.
///
/// Zero has no digits, no sign and one place, so that `-0`, `0.00` and `0e9` are one number.
#[derive(Debug)]
struct Decimal<'a> {
    is_negative: bool,
    /// From the first to the last that is not zero; the point may be among them.
    digits: &'a str,
    place: Place<'a>,
}

/// Where the digits begin.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    At(i128),
    /// The exponent does not fit 64 bits: its sign, its digits, and where the digits begin without
    /// it. Such numbers are equal only if all of these are.
    Far(bool, &'a str, i128),
}

impl<'a> Decimal<'a> {
    /// Reads a number whose grammar was checked.
    fn new(text: &'a str) -> Self {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
        let digits = mantissa.trim_matches(['0', '.']);
        if digits.is_empty() {
            return Decimal { is_negative: false, digits, place: Place::At(0) };
        }
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = whole.trim_start_matches('0').len();
        let zeros = fraction.len().saturating_sub(fraction.trim_start_matches('0').len());
        let length = |length: usize| i128::try_from(length).unwrap_or(i128::MAX);
        let start = if whole > 0 { length(whole) } else { length(zeros).saturating_neg() };
        let is_small = exponent.starts_with('-');
        let exponent = exponent.trim_start_matches(['+', '-']).trim_start_matches('0');
        let place = match exponent.parse::<i64>() {
            Ok(exponent) if is_small => Place::At(start.saturating_sub(i128::from(exponent))),
            Ok(exponent) => Place::At(start.saturating_add(i128::from(exponent))),
            Err(_) if exponent.is_empty() => Place::At(start),
            Err(_) => Place::Far(is_small, exponent, start),
        };
        Decimal { is_negative, digits, place }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.digits.bytes().filter(|byte| *byte != b'.')
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is_negative == other.is_negative
            && self.place == other.place
            && self.digits().eq(other.digits())
    }
}

/// Whether two numbers are the same decimal: `1`, `1.0` and `10e-1` are, as are `0` and `-0`.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    a == b || Decimal::new(a) == Decimal::new(b)
}

/// Whether `text` is another decimal than `origin` only because `origin` went through a double.
///
/// That it reads as the same double is not enough: of a 20-digit number, a person may have changed the
/// last digit. It must be what a tool prints of that double: its shortest digits, or the double rounded
/// to as many digits as `text` has. Beyond the range of doubles, tools print the largest one.
pub(super) fn is_rounded(origin: &str, text: &str) -> bool {
    let (Ok(double), Ok(read)) = (origin.parse::<f64>(), text.parse::<f64>()) else { return false };
    let double = double.clamp(f64::MIN, f64::MAX);
    #[expect(clippy::float_cmp, reason = "the same double is meant, not one nearby")]
    if read != double || is_same(origin, text) {
        return false;
    }
    let decimal = Decimal::new(text);
    if decimal == Decimal::new(&format!("{double:e}")) {
        return true;
    }
    let further = decimal.digits().count().saturating_sub(1);
    further < DOUBLE_DIGITS_MAX && decimal == Decimal::new(&format!("{double:.further$e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_exact_decimals_however_they_are_written() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "10e-1"),
            ("1", "0.1E+1"),
            ("100", "1e2"),
            ("-0.0012", "-12e-4"),
            ("0", "-0"),
            ("0.000", "0e999999999999999999999999"),
            ("12.50", "1.25e01"),
            ("1e999999999999", "10E+000999999999998"),
            ("1e-9223372036854775807", "0.1e-9223372036854775806"),
            ("1e99999999999999999999", "1.0e+0099999999999999999999"),
        ] {
            assert!(is_same(a, b) && is_same(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("1", "-1"),
            ("1", "10"),
            ("0.1", "0.01"),
            ("1", "1.00000000000000000000000000001"),
            ("12", "1.2"),
            ("101", "11"),
            ("9007199254740993", "9007199254740992"),
            ("1e999999999999", "1e999999999998"),
            ("1e99999999999999999999", "1e-99999999999999999999"),
            ("1e99999999999999999999", "1e99999999999999999998"),
            ("1e99999999999999999999", "10e99999999999999999999"),
            ("0", "1e-99999999999999999999"),
        ] {
            assert!(!is_same(a, b) && !is_same(b, a), "{a} {b}");
        }
    }

    /// What jq 1.6 and 1.5, Python's `json` (also with `parse_int=float`), JavaScript and `%.17g`, `%.0f`
    /// made of the first.
    const ROUNDED: [(&str, &str); 24] = [
        ("12345678901234567890", "12345678901234567000"),
        ("12345678901234567890", "1.2345678901234567e+19"),
        ("12345678901234567890", "12345678901234567168"),
        ("9007199254740993", "9007199254740992"),
        ("9007199254740993", "9007199254740992.0"),
        ("1234567890123456789", "1234567890123456800"),
        ("1234567890123456789", "1.2345678901234568e+18"),
        ("1234567890123456789", "1234567890123456768"),
        ("9223372036854775807", "9223372036854776000"),
        ("9223372036854775807", "9.2233720368547758e+18"),
        ("0.1", "0.10000000000000001"),
        ("4.35", "4.3499999999999996"),
        ("0.30000000000000000001", "0.3"),
        ("0.30000000000000000001", "0.29999999999999999"),
        ("3.141592653589793238462643383279502884", "3.141592653589793"),
        ("3.141592653589793238462643383279502884", "3.1415926535897931"),
        ("123456789012345678901234567890", "123456789012345680000000000000"),
        ("123456789012345678901234567890", "1.2345678901234568e+29"),
        ("123456789012345678901234567890", "123456789012345677877719597056"),
        ("1e23", "9.9999999999999992e+22"),
        ("2.2250738585072011e-308", "2.225073858507201e-308"),
        ("1e400", "1.7976931348623157e+308"),
        ("-1e400", "-1.7976931348623157e+308"),
        ("1e-400", "0"),
    ];

    #[test]
    fn what_tools_print_of_a_number_that_went_through_a_double_is_known() {
        for (origin, printed) in ROUNDED {
            assert!(is_rounded(origin, printed), "{origin} {printed}");
            assert!(!is_same(origin, printed), "{origin} {printed}");
        }
    }

    #[test]
    fn what_no_tool_prints_of_a_number_was_written_by_a_person() {
        for (origin, text) in [
            ("12345678901234567890", "12345678901234567891"),
            ("9007199254740992", "9007199254740993"),
            ("0.1", "0.1000000000000000001"),
            ("0.12", "0.1"),
            ("12345678901234567890", "12345678901234570000"),
            ("12345678901234567890", "-12345678901234567000"),
            ("1e400", "1e500"),
            ("1e400", "-1.7976931348623157e+308"),
            ("1e-400", "1e-500"),
            ("1", "1.0"),
        ] {
            assert!(!is_rounded(origin, text), "{origin} {text}");
        }
    }

    #[test]
    fn numbers_of_absurd_length_and_size_cost_no_more_than_reading_them() {
        let long = format!("0.{}1e-{}", "3".repeat(1 << 20), "9".repeat(1 << 20));
        let other = format!("0.{}2e-{}", "3".repeat(1 << 20), "9".repeat(1 << 20));
        assert!(is_same(&long, &long.clone()) && !is_same(&long, &other));
        assert!(!is_rounded(&long, &other) && is_rounded(&long, "0"));
        let near = format!("1.{}1", "0".repeat(1 << 20));
        assert!(is_rounded(&near, "1") && !is_rounded("1", &near));
    }
}
