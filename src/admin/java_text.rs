//! Numbers, moments and addresses as Java prints them. Java: `Double.toString`, `Date.toString`,
//! `InetSocketAddress.toString`.

use std::net::SocketAddr;

use crate::config::Address;
use crate::sys;

/// A fractional number: always with a point, with an exponent from ten million on and below a
/// thousandth.
pub fn double(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || !size.is_finite() || (1e-3..1e7).contains(&size) {
        return match size.is_infinite() {
            true => format!("{}Infinity", if value < 0.0 { "-" } else { "" }),
            false => format!("{value:?}"),
        };
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// An average, with four digits after the point at most.
pub fn average(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// A moment in the time zone of the machine. Milliseconds since 1970.
pub fn date(unix_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Some(t) = sys::local_time(unix_ms.div_euclid(1000)) else { return unix_ms.to_string() };
    let (day, month) = (DAYS[t.weekday % 7], MONTHS[t.month % 12]);
    let (hour, minute, second) = (t.hour, t.minute, t.second);
    format!("{day} {month} {:02} {hour:02}:{minute:02}:{second:02} {} {}", t.day, t.zone, t.year)
}

/// A peer's address: `/127.0.0.1:2181`.
pub fn address(peer: SocketAddr) -> String {
    format!("/{}", Address::new(&peer.ip().to_string(), peer.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_like_java_s() {
        // jshell: Double.toString
        let table = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (15.7647, "15.7647"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (0.00012, "1.2E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in table {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn averages_have_four_digits_and_halves_go_up() {
        let table = [(2.0 / 3.0, 0.6667), (1.0 / 32.0, 0.0313), (47.0 / 18.0, 2.6111), (5.0, 5.0)];
        for (value, rounded) in table {
            assert_eq!(average(value), rounded);
        }
    }

    #[test]
    fn addresses_like_java_s() {
        let table = [
            ("127.0.0.1:2181", "/127.0.0.1:2181"),
            ("[::ffff:10.0.0.1]:9", "/10.0.0.1:9"),
            ("[::1]:2181", "/[0:0:0:0:0:0:0:1]:2181"),
        ];
        for (rust, java) in table {
            assert_eq!(address(rust.parse().unwrap()), java);
        }
    }
}
